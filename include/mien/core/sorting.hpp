// Sorting, and names that stand twice. Private.
//
// Plain functions, out of line: each std::sort would add 3 kB to every program.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "mien/core/config.hpp"

namespace mien::detail {

/// Fills `order` with the indices 0 to `count`-1 such that none is `less` than the one before it; equal ones keep
/// their order (merge sort). Once for all element types, behind a function pointer.
std::vector<std::size_t> sorted_indices(std::size_t count, const void* context,
                                        bool (*less)(const void*, std::size_t, std::size_t));

/// The first element of `names` that stands in it twice, or null. O(n log n).
const std::string* find_twice(const std::vector<std::string>& names);

}  // namespace mien::detail

#ifndef MIEN_PRECOMPILED
#include "mien/core/impl/sorting.hpp"
#endif
