// The transformations of Winograd's minimal filtering for 3x3 windows, a vector of channels at a time. Lavin and Gray,
// "Fast algorithms for convolutional neural networks" (2015).
//
// M x M outputs of a window g come from (M + 2) x (M + 2) pixels d by as many products instead of 9 M M:
//   Y = A' [(G g G') * (B' d B)] A, where * multiplies element by element.
// In one dimension that is the product of two polynomials by their values at M + 1 points and at infinity (Cook and
// Toom): G and A hold powers of the points, B' what interpolates. The points are
//   M = 3: 3/8, -3/8, 5/4, -5/4                25 products for 9 outputs instead of 81
//   M = 4: 0, 11/16, -11/16, 3/2, -3/2         36 products for 16 outputs instead of 144
// Their squares are exact in float. Of a grid of sixteenths and eighths these were among the best: the root mean square
// error over normal data of 64 channels was 1.05 times (M = 3) and 1.8 times (M = 4) that of sums taken one by one;
// with the usual 0, 1, -1, 2, -2 it is 3.8 times.
//
// The gradient of the weights swaps the parts: its outputs are 3x3, its "window" the M x M gradients of a tile.
//
// Rounding: |result - exact| <= K (n + 36) u sum over the n channels (n tiles, for weights) of D G, with D the sum of
// |d| over the tile, G that of |g| over the window, u the unit roundoff, and K = 12 for M = 3, K = 33 for M = 4: K is
// the square of the largest sum over points of |A'||B'||G|, and the sums before and after the n products cost no more
// than 6 u in each of two dimensions of three transformations. So an error of one pixel of a tile reaches all of its
// outputs.
#pragma once

#include <cstdint>

#include "mien/core/bfloat16.hpp"
#include "mien/core/config.hpp"
#include "mien/core/shape.hpp"
#include "mien/kernels/parallel.hpp"

namespace mien::kernels::detail {

/// Floats of one register, and as many bfloat16; anywhere in memory, which GCC forgets where the type is an argument of
/// a template or deduced, and clang behind a reference.
template <int Lanes>
struct WinogradLanes;

template <>
struct WinogradLanes<16> {
  using Vector __attribute__((vector_size(64), aligned(4), may_alias)) = float;
  using Bits __attribute__((vector_size(64))) = std::uint32_t;
  using Halves __attribute__((vector_size(32), aligned(2), may_alias)) = std::uint16_t;
};

template <>
struct WinogradLanes<8> {
  using Vector __attribute__((vector_size(32), aligned(4), may_alias)) = float;
  using Bits __attribute__((vector_size(32))) = std::uint32_t;
  using Halves __attribute__((vector_size(16), aligned(2), may_alias)) = std::uint16_t;
};

/// *to = Lanes values from `from` on.
template <int Lanes>
MIEN_INLINE inline void winograd_load(const float* from, typename WinogradLanes<Lanes>::Vector* to) {
  *to = *reinterpret_cast<const typename WinogradLanes<Lanes>::Vector*>(from);
}
template <int Lanes>
MIEN_INLINE inline void winograd_load(const bfloat16* from, typename WinogradLanes<Lanes>::Vector* to) {
  using Lane = WinogradLanes<Lanes>;
  const auto bits = __builtin_convertvector(*reinterpret_cast<const typename Lane::Halves*>(from), typename Lane::Bits);
  *to = reinterpret_cast<typename Lane::Vector>(bits << 16);
}

/// to[0..Lanes) = the finite *value, rounded to nearest even; `rounds` where the processor has an instruction for that,
/// which comes to the same.
template <int Lanes>
MIEN_INLINE inline void winograd_store(const typename WinogradLanes<Lanes>::Vector* value, float* to, bool) {
  *reinterpret_cast<typename WinogradLanes<Lanes>::Vector*>(to) = *value;
}
template <int Lanes>
MIEN_INLINE inline void winograd_store(const typename WinogradLanes<Lanes>::Vector* value, bfloat16* to, bool rounds) {
  using Halves = typename WinogradLanes<Lanes>::Halves;
#if MIEN_HAS_X86_KERNELS
  if constexpr (Lanes == 16) {
    if (rounds) {
#if defined(__clang__)  // which takes no such registers as operands of a function that is compiled for any processor
      __asm__("vcvtneps2bf16 %1, %%ymm15\n\tvmovdqu %%ymm15, %0"
              : "=m"(*reinterpret_cast<Halves*>(to))
              : "m"(*value)
              : "xmm15");
#else
      Halves halves;
      __asm__("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(*value));
      *reinterpret_cast<Halves*>(to) = halves;
#endif
      return;
    }
  }
#endif
  (void)rounds;
  const auto bits = reinterpret_cast<typename WinogradLanes<Lanes>::Bits>(*value);
  *reinterpret_cast<Halves*>(to) = __builtin_convertvector((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16, Halves);
}

/// The transformations in one dimension.
template <int M, int Lanes>
struct Winograd;

template <int Lanes>
struct Winograd<3, Lanes> {
  using Vector = typename WinogradLanes<Lanes>::Vector;
  static constexpr double bound_factor = 12;
  static constexpr float a = 0.375f, a2 = a * a, b = 1.25f, b2 = b * b;
  // What B' has been freed of: the values of the interpolating polynomials at their points.
  static constexpr float scale_a = 1 / (2 * a * (a2 - b2)), scale_b = 1 / (2 * b * (b2 - a2));

  /// B' d: 5 of 5.
  MIEN_INLINE static void input(const Vector* d, Vector* to) {
    const Vector odd_a = d[3] - b2 * d[1], even_a = a * (d[2] - b2 * d[0]);
    to[0] = even_a + odd_a;
    to[1] = even_a - odd_a;
    const Vector odd_b = d[3] - a2 * d[1], even_b = b * (d[2] - a2 * d[0]);
    to[2] = even_b + odd_b;
    to[3] = even_b - odd_b;
    to[4] = a2 * b2 * d[0] - (a2 + b2) * d[2] + d[4];
  }
  /// G g: 5 of 3 weights or gradients.
  template <int N>
  MIEN_INLINE static void window(const Vector* g, Vector* to) {
    static_assert(N == 3);
    const Vector even_a = scale_a * g[0] + (scale_a * a2) * g[2], odd_a = (scale_a * a) * g[1];
    to[0] = even_a + odd_a;
    to[1] = even_a - odd_a;
    const Vector even_b = scale_b * g[0] + (scale_b * b2) * g[2], odd_b = (scale_b * b) * g[1];
    to[2] = even_b + odd_b;
    to[3] = even_b - odd_b;
    to[4] = g[2];
  }
  /// A' m: 3 outputs or weights of 5.
  template <int N>
  MIEN_INLINE static void output(const Vector* m, Vector* to) {
    static_assert(N == 3);
    to[0] = m[0] + m[1] + (m[2] + m[3]);
    to[1] = a * (m[0] - m[1]) + b * (m[2] - m[3]);
    to[2] = a2 * (m[0] + m[1]) + b2 * (m[2] + m[3]) + m[4];
  }
};

template <int Lanes>
struct Winograd<4, Lanes> {
  using Vector = typename WinogradLanes<Lanes>::Vector;
  static constexpr double bound_factor = 33;
  static constexpr float a = 0.6875f, a2 = a * a, b = 1.5f, b2 = b * b;
  // What B' has been freed of: the values of the interpolating polynomials at their points.
  static constexpr float scale_0 = 1 / (a2 * b2), scale_a = 1 / (2 * a2 * (a2 - b2)),
                         scale_b = 1 / (2 * b2 * (b2 - a2));

  /// B' d: 6 of 6.
  MIEN_INLINE static void input(const Vector* d, Vector* to) {
    to[0] = a2 * b2 * d[0] - (a2 + b2) * d[2] + d[4];
    const Vector even_a = d[4] - b2 * d[2], odd_a = a * (d[3] - b2 * d[1]);
    to[1] = even_a + odd_a;
    to[2] = even_a - odd_a;
    const Vector even_b = d[4] - a2 * d[2], odd_b = b * (d[3] - a2 * d[1]);
    to[3] = even_b + odd_b;
    to[4] = even_b - odd_b;
    to[5] = a2 * b2 * d[1] - (a2 + b2) * d[3] + d[5];
  }
  /// G g: 6 of N = 3 weights, or of N = 4 gradients.
  template <int N>
  MIEN_INLINE static void window(const Vector* g, Vector* to) {
    to[0] = scale_0 * g[0];
    Vector odd_a = (scale_a * a) * g[1], odd_b = (scale_b * b) * g[1];
    if constexpr (N == 4) {
      odd_a += (scale_a * a * a2) * g[3];
      odd_b += (scale_b * b * b2) * g[3];
    }
    const Vector even_a = scale_a * g[0] + (scale_a * a2) * g[2];
    to[1] = even_a + odd_a;
    to[2] = even_a - odd_a;
    const Vector even_b = scale_b * g[0] + (scale_b * b2) * g[2];
    to[3] = even_b + odd_b;
    to[4] = even_b - odd_b;
    to[5] = g[N - 1];
  }
  /// A' m: N = 4 outputs of 6, or N = 3 weights.
  template <int N>
  MIEN_INLINE static void output(const Vector* m, Vector* to) {
    const Vector even_a = m[1] + m[2], odd_a = a * (m[1] - m[2]);
    const Vector even_b = m[3] + m[4], odd_b = b * (m[3] - m[4]);
    to[0] = m[0] + even_a + even_b;
    to[1] = odd_a + odd_b;
    to[2] = a2 * even_a + b2 * even_b;
    if constexpr (N == 4) {
      to[3] = a2 * odd_a + b2 * odd_b + m[5];
    } else {
      to[2] += m[5];
    }
  }
};

/// `one` along both dimensions: In x In values to Out x Out.
template <int In, int Out, int Lanes, class One>
MIEN_INLINE inline void winograd_both(const typename WinogradLanes<Lanes>::Vector* from,
                                      typename WinogradLanes<Lanes>::Vector* to, One&& one) {
  using Vector = typename WinogradLanes<Lanes>::Vector;
  alignas(64) Vector half[Out * In];
  for (int s = 0; s < In; ++s) {
    Vector column[In], result[Out];
#pragma GCC unroll 6
    for (int r = 0; r < In; ++r) column[r] = from[In * r + s];
    one(column, result);
#pragma GCC unroll 6
    for (int r = 0; r < Out; ++r) half[In * r + s] = result[r];
  }
  for (int r = 0; r < Out; ++r) one(half + In * r, to + Out * r);
}

}  // namespace mien::kernels::detail
