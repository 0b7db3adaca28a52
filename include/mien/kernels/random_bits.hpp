// Philox for many counters at once: what random layers draw in training.
// IWYU pragma: private
#pragma once

#include "mien/core/random.hpp"
#include "mien/kernels/parallel.hpp"

namespace mien::kernels {

/// Blocks that philox_blocks computes side by side.
inline constexpr index_t philox_lanes = 16;

/// words[4 l + k] = word k of random.block(first + l), l below philox_lanes; to be called from a MIEN_INLINE lambda. A
/// round is written as separate loops over lanes because these are what GCC vectorizes at -O2.
MIEN_INLINE inline void philox_blocks(const Random& random, std::uint64_t first, std::uint32_t* words) {
  constexpr int lanes = static_cast<int>(philox_lanes);
  std::uint32_t a[lanes], b[lanes], c[lanes], d[lanes];
  for (int l = 0; l < lanes; ++l) {
    const auto counter = random.counter(first + static_cast<std::uint64_t>(l));
    a[l] = counter[0];
    b[l] = counter[1];
    c[l] = counter[2];
    d[l] = counter[3];
  }
  auto key = random.key();
  for (int round = 0; round < 10; ++round) {
    for (int l = 0; l < lanes; ++l) {
      const std::uint64_t first_product = std::uint64_t{philox_multipliers[0]} * a[l];
      const std::uint64_t second_product = std::uint64_t{philox_multipliers[1]} * c[l];
      a[l] = static_cast<std::uint32_t>(second_product >> 32) ^ b[l] ^ key[0];
      b[l] = static_cast<std::uint32_t>(second_product);
      c[l] = static_cast<std::uint32_t>(first_product >> 32) ^ d[l] ^ key[1];
      d[l] = static_cast<std::uint32_t>(first_product);
    }
    key = philox_next_key(key);
  }
  for (int l = 0; l < lanes; ++l) {
    words[4 * l] = a[l];
    words[4 * l + 1] = b[l];
    words[4 * l + 2] = c[l];
    words[4 * l + 3] = d[l];
  }
}

}  // namespace mien::kernels
