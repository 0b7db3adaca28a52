// AVX2: the inner loops over float. Explicit instructions, because standard C++ mode forbids compilers to fuse a
// product with a sum, and so that a plain -O2 build of a program runs them at the machine's limit. Written out beside
// avx512/ because clang must know an instruction's registers where it is written: the function's target decides them.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/blocks.hpp"

#define MIEN_AVX2 __attribute__((target("avx2,fma"), noinline))

namespace mien::kernels::detail::avx2 {

using Vector __attribute__((vector_size(32), aligned(4), may_alias)) = float;
constexpr int lanes = 8;

template <int P, int V>
MIEN_AVX2 void correlate(const float* const* pixels, const Segment* segments, index_t count, const float* panel,
                         const float* start, float* const* out) {
  Vector sum[P][V];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      sum[p][v] = *reinterpret_cast<const Vector*>((start != nullptr ? start : out[p]) + lanes * v);
  for (index_t i = 0; i < count; ++i) {
    const float* x[P];
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) x[p] = pixels[p] + segments[i].x;
    const index_t length = segments[i].length;
    const float* w = panel + segments[i].w;
    for (index_t c = 0; c < length; ++c, w += lanes * V) {
      Vector weights[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) weights[v] = *reinterpret_cast<const Vector*>(w + lanes * v);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        Vector value;
        __asm__("vbroadcastss %1, %0" : "=x"(value) : "m"(x[p][c]));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum[p][v]) : "x"(value), "x"(weights[v]));
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) *reinterpret_cast<Vector*>(out[p] + lanes * v) = sum[p][v];
}

// The last block takes pixels of the one before again, so that all blocks are whole.
template <int P, int V>
MIEN_AVX2 void window(const float* x, index_t row, index_t pixels, const float* panel, const float* start, float* out,
                      index_t pitch) {
  for (index_t j = 0; j < pixels; j += P) {
    if (j > pixels - P) j = pixels - P;
    Vector sum[P][V];
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[p][v] = *reinterpret_cast<const Vector*>(start + lanes * v);
    const float* w = panel;
    const float* from = x + j;
    for (int r = 0; r < 3; ++r, from += row, w += 3 * lanes * V) {
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) {
        Vector weights[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) weights[v] = *reinterpret_cast<const Vector*>(w + lanes * (V * s + v));
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
          // volatile: values are loaded again for the next tap, where keeping them would take registers of sums.
          Vector value;
          __asm__ volatile("vbroadcastss %1, %0" : "=v"(value) : "m"(from[p + s]));
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum[p][v]) : "v"(value), "v"(weights[v]));
        }
      }
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) *reinterpret_cast<Vector*>(out + (j + p) * pitch + lanes * v) = sum[p][v];
  }
}

template <int R>
MIEN_AVX2 void dots_of(const float* w, index_t pitch, const float* x, index_t depth, float* out) {
  Vector sum[R][2] = {};
  index_t c = 0;
  for (; c + 2 * lanes <= depth; c += 2 * lanes) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const Vector value = *reinterpret_cast<const Vector*>(x + c + lanes * half);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
        __asm__("vfmadd231ps %2, %1, %0"
                : "+v"(sum[r][half])
                : "v"(value), "m"(*reinterpret_cast<const Vector*>(w + r * pitch + c + lanes * half)));
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const Vector both = sum[r][0] + sum[r][1];
    float total = 0;
    for (int k = 0; k < lanes; ++k) total += both[k];
    for (index_t rest = c; rest < depth; ++rest) total += w[r * pitch + rest] * x[rest];
    out[r] = total;
  }
}

inline void dots(const float* w, index_t pitch, index_t rows, const float* x, index_t depth, float* out) {
  index_t k = 0;
  for (; k + 4 <= rows; k += 4) dots_of<4>(w + k * pitch, pitch, x, depth, out + k);
  for (; k < rows; ++k) dots_of<1>(w + k * pitch, pitch, x, depth, out + k);
}

template <int J, int V>
MIEN_AVX2 void weights(const WeightsBlock<float>& block, float* into) {
  Vector sum[J][V];
#pragma GCC unroll 16
  for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[j][v] = *reinterpret_cast<const Vector*>(into + lanes * (V * j + v));
  for (index_t n = 0; n < block.images; ++n)
    for (index_t i = 0; i < block.rows; ++i) {
      const float* x = block.x + n * block.x_image + i * block.x_row;
      const float* dy = block.dy + n * block.dy_image + i * block.dy_row;
      for (index_t c = 0; c < block.columns; ++c, x += block.x_pixel, dy += block.dy_pixel) {
        Vector gradient[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) gradient[v] = *reinterpret_cast<const Vector*>(dy + lanes * v);
#pragma GCC unroll 16
        for (int j = 0; j < J; ++j) {
          Vector value;
          __asm__("vbroadcastss %1, %0" : "=x"(value) : "m"(x[j]));
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v)
            __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum[j][v]) : "x"(value), "x"(gradient[v]));
        }
      }
    }
#pragma GCC unroll 16
  for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) *reinterpret_cast<Vector*>(into + lanes * (V * j + v)) = sum[j][v];
}

inline const BlockKernels<float>& float_blocks() {
  static constexpr BlockKernels<float> table{
      lanes,
      1,
      {10, 6},
      {correlate<10, 1>, correlate<6, 2>},
      {{weights<6, 1>, weights<4, 1>, weights<1, 1>}, {weights<6, 2>, weights<4, 2>, weights<1, 2>}},
      {6, 4, 1},
      {window<10, 1>, window<6, 2>},
      dots};
  return table;
}

}  // namespace mien::kernels::detail::avx2

#undef MIEN_AVX2

#endif  // MIEN_HAS_X86_KERNELS
