// Shrinking the image: bilinear in fixed point, bit for bit OpenCV's INTER_LINEAR_EXACT on one 8-bit channel.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cascade/geometry.hpp"

namespace mien::cascade::detail {

/// Target pixel = (256 - weight) / 256 of source pixel `index` and weight / 256 of the next.
struct Tap {
  std::int32_t index = 0;
  std::int32_t weight = 0;  // 0 at the ends, where the next one may not exist
};

/// Taps of an axis of `n` source and `m` target pixels. The target's centre d + 0.5 falls on (d + 0.5) * n / m, where
/// n / m is 1 / (m / n): two roundings, both kept.
inline void make_taps(int n, int m, Tap* taps) {
  const double inverse = rounded(static_cast<double>(m) / n);
  const double scale = rounded(1.0 / inverse);
  for (int d = 0; d < m; ++d) {
    const double centre = rounded(scale * (d + 0.5)) - 0.5;
    const double base = std::floor(centre);
    if (base < 0.0 || n == 1) {
      taps[d] = {0, 0};
    } else if (base >= n - 1) {
      taps[d] = {n - 1, 0};
    } else {
      taps[d] = {static_cast<std::int32_t>(base), round_even(rounded(centre - base) * 256.0)};
    }
  }
}

/// One target row out of the two source rows that `vertical` names (`below` is not read if its weight is 0).
inline void resize_row(const std::uint8_t* above, const std::uint8_t* below, Tap vertical, const Tap* taps,
                       int /*source_width*/, int width, std::uint8_t* out) {
  const std::int32_t v1 = vertical.weight;
  const std::int32_t v0 = 256 - v1;
  if (v1 == 0) below = above;
  for (int x = 0; x < width; ++x) {
    const std::int32_t i = taps[x].index;
    const std::int32_t h1 = taps[x].weight;
    const std::int32_t h0 = 256 - h1;
    const std::int32_t next = i + (h1 > 0 ? 1 : 0);
    const std::int32_t top = above[i] * h0 + above[next] * h1;
    const std::int32_t bottom = below[i] * h0 + below[next] * h1;
    out[x] = static_cast<std::uint8_t>((top * v0 + bottom * v1 + 32768) >> 16);
  }
}

}  // namespace mien::cascade::detail
