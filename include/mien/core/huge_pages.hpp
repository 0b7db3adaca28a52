// Large pages for large blocks of memory.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace mien::detail {

/// Asks the system to back what it can of a new block by pages of 2 MB, where it has them for the asking (Linux,
/// "madvise"). Passes run through blocks of hundreds of megabytes, and finding each page of 4 kB anew takes a tenth of
/// a training step, more in virtual machines. Blocks below 4 MB stay as they are; a refusal changes nothing.
inline void prefer_huge_pages([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t page = std::uintptr_t{2} << 20;
  if (bytes < 2 * page) return;
  const std::uintptr_t before = (page - reinterpret_cast<std::uintptr_t>(block) % page) % page;
  madvise(static_cast<std::byte*>(block) + before, (bytes - before) / page * page, MADV_HUGEPAGE);
#endif
}

}  // namespace mien::detail
