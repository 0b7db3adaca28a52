// Files: read whole with limits, and written so that a crash, a full disk or a kill never costs what was there before.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_FILES

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mien/core/error.hpp"

namespace mien {

/// The whole content of a regular file. Throws FileError, with the path and what to do, if it is missing, a folder or
/// a device, unreadable, larger than `max_bytes` (found out before memory is taken), or changes while it is read.
std::vector<std::byte> read_file(const std::string& path, std::size_t max_bytes);

/// Replaces the file at `path` (or creates it) by the concatenated `chunks`, atomically and durably: whatever happens,
/// `path` holds the old bytes or all of the new ones, and once this returns the new ones survive a loss of power.
///
/// Writes `.NAME.PID.RANDOM.tmp` beside the target (behind symbolic links), flushes it, renames it, flushes the
/// folder. An existing file's permissions are kept. On an error the temporary file is removed and FileError says
/// what failed; one left behind by a process that was killed is removed by the next save of the same target. Refuses
/// to replace what is no regular file or is write-protected.
void write_file_atomically(const std::string& path, std::span<const std::span<const std::byte>> chunks);

/// The same for one chunk of bytes.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

/// The same for text.
void write_file_atomically(const std::string& path, std::string_view text);

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/io/impl/atomic_file.hpp"
#endif

#endif  // MIEN_HAS_FILES
