// Backward weights of windows of one pixel over few pixels, as in a dense layer: dw = dy^T x is the forward pass of a
// dense layer whose pixels are the filters, so its register blocks serve, and dw, the largest operand, is written once.
#pragma once

#include "mien/kernels/correlate.hpp"
#include "mien/kernels/geometry.hpp"

namespace mien::kernels::detail {

inline bool has_dense_gradients(const ConvGeometry& g) {
  const index_t pixels = g.batch * g.height * g.width;
  const bool one_pixel = g.kernel_h == 1 && g.kernel_w == 1 && g.stride_h == 1 && g.stride_w == 1 && g.groups == 1;
  return one_pixel && !g.is_padded() && pixels <= 512 && g.channels >= 64 && g.filters >= 64;
}

/// dw as a forward pass: pixels are filters, channels pixels, outputs channels.
inline Correlation gradient_correlation(const ConvGeometry& g) {
  ConvGeometry other;
  other.width = g.filters;
  other.channels = g.batch * g.height * g.width;
  other.filters = g.channels;
  Correlation c = forward_correlation(other);
  c.layout = {1, g.channels, 1, false};
  return c;
}

template <class S, class T>
struct DenseGradientScratch {
  DenseGradientScratch(const ConvGeometry& g, const BlockKernels<T>& kernels, int threads, std::byte* base) {
    Carver carver(base);
    const index_t pixels = g.batch * g.height * g.width;
    turned = carver.take<T>(g.filters * pixels);
    x = carver.take<T>(std::is_same_v<S, T> ? 0 : g.channels * pixels);
    rest = carver.take<std::byte>(
        static_cast<index_t>(correlation_scratch_bytes<T>(gradient_correlation(g), kernels, threads)));
    bytes = carver.used();
  }
  T* turned;  // dy as [filter][pixel]
  T* x;       // as T, where S is another type
  std::byte* rest;
  std::size_t bytes;
};

/// As detail::run_weight_gradients, where has_dense_gradients().
template <class S, class T>
void run_dense_gradients(const ConvGeometry& g, const BlockKernels<T>& kernels, const S* x, const S* dy, T* dw,
                         T* dbias, std::byte* memory, const Threads& threads) {
  const DenseGradientScratch<S, T> scratch(g, kernels, threads.count(), memory);
  const index_t pixels = g.batch * g.height * g.width;
  constexpr index_t chunk = 64;
  threads.parallel_for((g.filters + chunk - 1) / chunk, [&](index_t piece) {
    const index_t first = piece * chunk, last = first + chunk < g.filters ? first + chunk : g.filters;
    for (index_t p = 0; p < pixels; ++p)
      for (index_t k = first; k < last; ++k) scratch.turned[k * pixels + p] = T(dy[p * g.filters + k]);
    for (index_t k = first; dbias != nullptr && k < last; ++k) {
      T sum{0};
      for (index_t p = 0; p < pixels; ++p) sum += scratch.turned[k * pixels + p];
      dbias[k] = sum;
    }
  });
  if (dw == nullptr) return;
  const T* values;
  if constexpr (std::is_same_v<S, T>) {
    values = x;
  } else {
    threads.parallel_for(pixels,
                         [&](index_t p) { copy_values(x + p * g.channels, g.channels, scratch.x + p * g.channels); });
    values = scratch.x;
  }
  run_correlation<T, T, T>(gradient_correlation(g), kernels, scratch.turned, values, nullptr, dw, scratch.rest,
                           threads);
}

}  // namespace mien::kernels::detail
