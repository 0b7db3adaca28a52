// What the readers and writers of files share: UTF-8 and messages. Private to mien/io.
//
// These are plain functions, and where a caller needs nothing back from an optimizer they are kept out of line: every
// user of mien.hpp pays for what is instantiated and inlined here.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "mien/core/error.hpp"
#include "mien/core/sorting.hpp"

namespace mien::detail {

/// Bytes of the well-formed UTF-8 sequence that begins at `text[at]`: 1 to 4, or 0 if it is malformed (overlong,
/// a surrogate, beyond U+10FFFF, cut). Unicode 15, table 3-7. `at` must lie inside the text.
std::size_t utf8_length(std::string_view text, std::size_t at);

bool is_utf8(std::string_view text);

void append_hex(std::string& out, std::uint64_t value, int digits);

/// Text from outside as it may stand in an error message: quoted, cut to `limit` bytes, and without what would steer
/// a terminal (control characters, malformed UTF-8).
std::string in_quotes(std::string_view text, std::size_t limit = 100);

/// Neither NaN nor infinite; by its bits, as this must hold under -ffast-math too.
inline bool is_finite(double value) { return (std::bit_cast<std::uint64_t>(value) >> 52 & 0x7ffU) != 0x7ffU; }

}  // namespace mien::detail

#ifndef MIEN_PRECOMPILED
#include "mien/io/impl/support.hpp"
#endif
