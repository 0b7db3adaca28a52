// The inner loops in plain C++, for any machine and scalar.
#pragma once

#include "mien/kernels/blocks.hpp"

namespace mien::kernels::detail::portable {

template <class T, int P, int W>
void correlate(const T* const* pixels, const Segment* segments, index_t count, const T* panel, const T* start,
               T* const* out, const T* /*ahead*/) {
  T sum[P][W];
  for (int p = 0; p < P; ++p)
    for (int v = 0; v < W; ++v) sum[p][v] = (start != nullptr ? start : out[p])[v];
  for (index_t i = 0; i < count; ++i) {
    const T* w = panel + segments[i].w;
    for (index_t c = 0; c < segments[i].length; ++c, w += W)
      for (int p = 0; p < P; ++p) {
        const T value = pixels[p][segments[i].x + c];
        for (int v = 0; v < W; ++v) sum[p][v] += value * w[v];
      }
  }
  for (int p = 0; p < P; ++p)
    for (int v = 0; v < W; ++v) out[p][v] = sum[p][v];
}

template <class T, int J, int W>
void weights(const WeightsBlock<T>& block, T* into) {
  T sum[J][W];
  for (int j = 0; j < J; ++j)
    for (int v = 0; v < W; ++v) sum[j][v] = block.start ? T{} : into[W * j + v];
  for (index_t n = 0; n < block.images; ++n)
    for (index_t i = 0; i < block.rows; ++i) {
      const T* x = block.x + n * block.x_image + i * block.x_row;
      const T* dy = block.dy + n * block.dy_image + i * block.dy_row;
      for (index_t c = 0; c < block.columns; ++c, x += block.x_pixel, dy += block.dy_pixel)
        for (int j = 0; j < J; ++j)
          for (int v = 0; v < W; ++v) sum[j][v] += x[j] * dy[v];
    }
  for (int j = 0; j < J; ++j)
    for (int v = 0; v < W; ++v) into[W * j + v] = sum[j][v];
}

/// One panel of 8 and few sizes: every one of them is compiled into every program.
template <class T>
const BlockKernels<T>& blocks() {
  static constexpr BlockKernels<T> table{8,     0, {2}, {correlate<T, 2, 8>}, {{weights<T, 2, 8>, weights<T, 1, 8>}},
                                         {2, 1}};
  return table;
}

}  // namespace mien::kernels::detail::portable
