// Sorting: definitions for mien/core/sorting.hpp. Private.
#pragma once

#include "mien/core/sorting.hpp"

namespace mien::detail {

MIEN_COLD MIEN_BODY std::vector<std::size_t> sorted_indices(std::size_t count, const void* context,
                                                            bool (*less)(const void*, std::size_t, std::size_t)) {
  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  std::vector<std::size_t> merged(count);
  for (std::size_t width = 1; width < count; width *= 2) {
    for (std::size_t start = 0; start < count; start += 2 * width) {
      std::size_t left = start;
      const std::size_t middle = start + width < count ? start + width : count;
      std::size_t right = middle;
      const std::size_t end = middle + width < count ? middle + width : count;
      for (std::size_t out = start; out < end; ++out) {
        const bool take_right = left == middle || (right < end && less(context, order[right], order[left]));
        merged[out] = take_right ? order[right++] : order[left++];
      }
    }
    order.swap(merged);
  }
  return order;
}

MIEN_COLD MIEN_BODY const std::string* find_twice(const std::vector<std::string>& names) {
  const auto order = sorted_indices(names.size(), &names, [](const void* context, std::size_t a, std::size_t b) {
    const auto& all = *static_cast<const std::vector<std::string>*>(context);
    return all[a] < all[b];
  });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (names[order[i - 1]] == names[order[i]]) return &names[order[i]];
  return nullptr;
}

}  // namespace mien::detail
