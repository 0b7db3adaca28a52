// Integral images: sums over rectangles from four values.
#pragma once

#include <cstdint>

namespace mien::cascade::detail {

/// S(X, Y), the sum of the pixels left of X and above Y, for one more row: `above` and `out` hold X = 0 to `width`.
/// Sums are modulo 2^32; differences over a window are exact.
inline void integral_row(const std::uint8_t* pixels, int width, const std::uint32_t* above, std::uint32_t* out) {
  std::uint32_t sum = 0;
  out[0] = above[0];
  for (int x = 0; x < width; ++x) {
    sum += pixels[x];
    out[x + 1] = above[x + 1] + sum;
  }
}

/// The same of the pixels' squares.
inline void square_integral_row(const std::uint8_t* pixels, int width, const std::uint32_t* above, std::uint32_t* out) {
  std::uint32_t sum = 0;
  out[0] = above[0];
  for (int x = 0; x < width; ++x) {
    sum += static_cast<std::uint32_t>(pixels[x]) * pixels[x];
    out[x + 1] = above[x + 1] + sum;
  }
}

/// T(X, Y), the sum over the triangle that opens upwards from (X, Y): pixels (x, y) with y < Y and
/// |x - X + 1| <= Y - y - 1, those outside the image counting 0. Row Y from rows Y-1 (`above`) and Y-2 (`above2`) of T
/// and rows Y-1 (`pixels`) and Y-2 (`pixels2`) of the image, by
///   T(X,Y) = T(X-1,Y-1) + T(X+1,Y-1) - T(X,Y-2) + I(X-1,Y-1) + I(X-1,Y-2).
/// The first row has all zeros above it. `width` >= 1.
inline void tilted_row(const std::uint8_t* pixels, const std::uint8_t* pixels2, int width, const std::uint32_t* above,
                       const std::uint32_t* above2, std::uint32_t* out) {
  // At the edges the general formula would ask for a column that does not exist; the triangle minus what lies outside
  // the image is the neighbouring one.
  out[0] = above[1];
  for (int x = 1; x < width; ++x) {
    out[x] = above[x - 1] + above[x + 1] - above2[x] + pixels[x - 1] + pixels2[x - 1];
  }
  out[width] = above[width - 1] + pixels[width - 1] + pixels2[width - 1];
}

}  // namespace mien::cascade::detail
