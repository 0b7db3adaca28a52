// Sizes, rectangles and the two roundings that the cascade's results hang on.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "mien/core/shape.hpp"

namespace mien::cascade {

/// Width and height in pixels.
struct Size {
  int width = 0;
  int height = 0;
  friend bool operator==(const Size&, const Size&) = default;
};

/// Upright rectangle in pixels: columns [x, x + width), rows [y, y + height).
struct Rect {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;
  friend bool operator==(const Rect&, const Rect&) = default;
};

namespace detail {

/// A value that the compiler can neither contract with what follows (fused multiply-add) nor move across: under
/// -ffp-contract=fast or -ffast-math, which are the user's to choose, the scaled images would otherwise differ.
template <class T>
inline T rounded(T value) {
#if defined(__GNUC__) && defined(__SSE2__)
  __asm__ volatile("" : "+x"(value));
  return value;
#elif defined(__GNUC__)
  __asm__ volatile("" : "+m"(value));
  return value;
#else
  volatile T copy = value;
  return copy;
#endif
}

/// std::isfinite that -ffast-math does not turn into `true`.
inline bool is_finite(float value) { return (std::bit_cast<std::uint32_t>(value) & 0x7F800000U) != 0x7F800000U; }

/// Nearest integer, ties to even; values beyond int give the nearest end.
inline int round_even(double value) {
  if (!(value > -2147483648.0)) return -2147483647 - 1;
  if (value >= 2147483647.0) return 2147483647;
  const double down = std::floor(value);
  const double rest = value - down;
  const int base = static_cast<int>(down);
  if (rest < 0.5) return base;
  if (rest > 0.5) return base + 1;
  return base + (base & 1);
}

/// `a * b` rounded to float, then to the nearest integer: how window positions and sizes are scaled.
inline int scaled(int a, float b) { return round_even(rounded(static_cast<float>(a) * b)); }

}  // namespace detail
}  // namespace mien::cascade
