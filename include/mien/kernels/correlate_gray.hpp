// Forward of the first layer of networks for gray images: windows of 3x3 over one channel. Nine products per output
// leave no time for segments and tables of pixels; here neighbouring pixels share one pointer, and a row of y one pass.
#pragma once

#include <type_traits>

#include "mien/core/threads.hpp"
#include "mien/kernels/correlate_pixels.hpp"
#include "mien/kernels/scratch.hpp"

namespace mien::kernels::detail {

template <class T>
struct GrayPlan {
  MIEN_COLD GrayPlan(const Correlation& c, const BlockKernels<T>& kernels) {
    fits = kernels.window[0] != nullptr && c.depth == 1 && c.groups == 1 && c.kernel_h == 3 && c.kernel_w == 3 &&
           c.stride_h == 1 && c.stride_w == 1 && c.dilation_h == 1 && c.dilation_w == 1 && c.place.step_h == 1 &&
           c.place.step_w == 1;
    for (index_t first = 0; first < c.outputs;) {
      const int index = panel_index(kernels, c.outputs - first);
      fits &= c.outputs - first >= kernels.lanes << index && c.out_width >= kernels.pixels[index];
      first += kernels.lanes << index;
    }
    constexpr index_t wanted_pieces = 8;
    const index_t split = (wanted_pieces + c.batch - 1) / c.batch;
    rows = (c.out_height + split - 1) / split;
    row_pieces = (c.out_height + rows - 1) / rows;
    copy_size = (rows + 2) * c.place.padded_width;
  }
  bool fits = false;
  index_t rows, row_pieces, copy_size;
};

template <class S, class T>
struct GrayScratch {
  MIEN_COLD GrayScratch(const Correlation& c, const GrayPlan<T>& plan, int threads, std::byte* base) {
    Carver carver(base);
    const int workers = Threads::workers(threads, c.batch * plan.row_pieces);
    weights = carver.take<T>(9 * c.outputs);
    copy = carver.take_each<T>(plan.copy_size, workers);
    stage = carver.take_each<T>(std::is_same_v<S, T> ? 0 : c.out_width * BlockKernels<T>::max_panel, workers);
    bytes = carver.used();
  }
  T* weights;
  WorkerBuffers<T> copy, stage;
  std::size_t bytes;
};

/// As detail::run_correlation, where plan.fits.
template <class S, class T>
bool correlate_gray(const Correlation& c, const GrayPlan<T>& plan, const BlockKernels<T>& kernels, const S* x,
                    const T* w, const T* bias, S* y, std::byte* memory, const Threads& threads,
                    const Epilogue<T>& epilogue) {
  const GrayScratch<S, T> scratch(c, plan, threads.count(), memory);
  for (index_t first = 0; first < c.outputs;) {
    const index_t panel = kernels.lanes << panel_index(kernels, c.outputs - first);
    if (!pack_weights<S>(c.layout, w, first, panel, 1, panel, !c.place.is_identity(), scratch.weights + 9 * first))
      return false;
    first += panel;
  }
  const index_t width = c.place.padded_width;
  threads.parallel_for(c.batch * plan.row_pieces, [&](index_t piece, int worker) {
    T* copy = scratch.copy[worker];
    const index_t n = piece / plan.row_pieces, i0 = piece % plan.row_pieces * plan.rows;
    const index_t i1 = i0 + plan.rows < c.out_height ? i0 + plan.rows : c.out_height;
    copy_padded(c.place, x + n * c.place.height * c.place.width, i0, i1 + 2, copy);
    alignas(64) static constexpr T zero[BlockKernels<T>::max_panel] = {};
    for (index_t i = i0; i < i1; ++i)
      for (index_t first = 0; first < c.outputs;) {
        const int index = panel_index(kernels, c.outputs - first);
        const index_t panel = kernels.lanes << index;
        S* to = y + (n * c.out_height + i) * c.out_width * c.outputs + first;
        const auto run = [&](T* sums, index_t pitch) {
          kernels.window[index](copy + (i - i0) * width, width, c.out_width, scratch.weights + 9 * first,
                                bias != nullptr ? bias + first : zero, sums, pitch);
          finish_rows(epilogue, first, c.out_width, panel, sums, pitch);
        };
        if constexpr (std::is_same_v<S, T>) {
          run(to, c.outputs);
        } else {
          T* sums = scratch.stage[worker];
          run(sums, panel);
          copy_rows(sums, panel, c.out_width, panel, to, c.outputs);
        }
        first += panel;
      }
  });
  return true;
}

}  // namespace mien::kernels::detail
