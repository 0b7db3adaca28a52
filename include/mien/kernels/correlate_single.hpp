// Convolutions that give one channel, such as the gradient of a gray image. One output would fill one lane of a vector,
// so the taps take the place of outputs: the register block finds each pixel's product with every tap, and an output is
// the sum of those of the pixels around it. Padding is left out.
#pragma once

#include <type_traits>

#include "mien/core/threads.hpp"
#include "mien/kernels/correlate_pixels.hpp"
#include "mien/kernels/scratch.hpp"

namespace mien::kernels::detail {

template <class T>
struct SinglePlan {
  static constexpr index_t budget = 32768;  // products of a piece, to stay in the second cache
  static constexpr index_t wanted_pieces = 8;

  MIEN_COLD SinglePlan(const Correlation& c, const BlockKernels<T>& kernels) {
    index = panel_index(kernels, c.taps());
    panel = kernels.lanes << index;
    fits = c.outputs == 1 && c.groups == 1 && c.taps() > 1 && c.taps() <= panel && c.depth >= 8 && c.stride_h == 1 &&
           c.stride_w == 1 && c.place.step_h == 1 && c.place.step_w == 1 && c.place.width > 0;
    if (!fits) return;
    const index_t split = (wanted_pieces + c.batch - 1) / c.batch, around = c.dilation_h * (c.kernel_h - 1);
    rows = (c.out_height + split - 1) / split;
    const index_t fit = budget / (c.place.width * panel) - around;
    if (rows > fit) rows = fit;
    if (rows < 2 * around + 1) rows = 2 * around + 1;  // most lines of products serve one piece
    if (rows > c.out_height) rows = c.out_height;
    row_pieces = (c.out_height + rows - 1) / rows;
    lines = rows + around < c.place.height ? rows + around : c.place.height;
  }
  bool fits = false;
  int index;
  index_t panel;
  index_t rows = 0, row_pieces = 0;  // of the output
  index_t lines = 0;                 // of the image that a piece sees, at most
};

template <class S, class T>
struct SingleScratch {
  MIEN_COLD SingleScratch(const Correlation& c, const SinglePlan<T>& plan, int threads, std::byte* base) {
    Carver carver(base);
    const int workers = Threads::workers(threads, c.batch * plan.row_pieces);
    weights = carver.take<T>(c.depth * plan.panel);
    products = carver.take_each<T>(plan.lines * c.place.width * plan.panel, workers);
    sums = carver.take_each<T>(c.out_width, workers);
    line = carver.take_each<T>(std::is_same_v<S, T> ? 0 : c.place.width * c.depth, workers);
    table = carver.take_each<const T*>(c.place.width, workers);
    bytes = carver.used();
  }
  T* weights;  // [channel][tap]
  WorkerBuffers<T> products, sums, line;
  WorkerBuffers<const T*> table;
  std::size_t bytes;
};

/// As detail::run_correlation, where plan.fits.
template <class S, class T, class P>
void correlate_single(const Correlation& c, const SinglePlan<T>& plan, const BlockKernels<T>& kernels, const S* x,
                      const P* w, const P* bias, S* y, std::byte* memory, const Threads& threads,
                      const Epilogue<T>& epilogue) {
  const SingleScratch<S, T> scratch(c, plan, threads.count(), memory);
  const index_t taps = c.taps(), panel = plan.panel, width = c.place.width;
  for (index_t k = 0; k < c.depth; ++k)
    for (index_t t = 0; t < panel; ++t) {
      T& to = scratch.weights[k * panel + t];
      to = t < taps ? T(S(w[k * c.layout.depth + (c.layout.flip ? taps - 1 - t : t)])) : T{0};
    }
  Correlation pixels = c;  // of which each gives an output for every tap
  pixels.kernel_h = pixels.kernel_w = 1;
  pixels.outputs = taps;
  threads.parallel_for(c.batch * plan.row_pieces, [&](index_t piece, int worker) {
    const index_t n = piece / plan.row_pieces, i0 = piece % plan.row_pieces * plan.rows;
    const index_t i1 = i0 + plan.rows < c.out_height ? i0 + plan.rows : c.out_height;
    // The lines of the image that these rows see.
    index_t h0 = i0 - c.place.offset_h, h1 = i1 - c.place.offset_h + c.dilation_h * (c.kernel_h - 1);
    if (h0 < 0) h0 = 0;
    if (h1 > c.place.height) h1 = c.place.height;
    T* const products = scratch.products[worker];
    const T** const table = scratch.table[worker];
    for (index_t h = h0; h < h1; ++h) {
      const S* from = x + (n * c.place.height + h) * width * c.depth;
      const T* line;
      if constexpr (std::is_same_v<S, T>) {
        line = from;
      } else {
        copy_values(from, width * c.depth, scratch.line[worker]);
        line = scratch.line[worker];
      }
      for (index_t j = 0; j < width; ++j) table[j] = line + j * c.depth;
      correlate_panel<T>(pixels, kernels, plan.index, 0, table, width, 0, scratch.weights, nullptr,
                         products + (h - h0) * width * panel, panel);
    }
    T* const sums = scratch.sums[worker];
    for (index_t i = i0; i < i1; ++i) {
      for (index_t j = 0; j < c.out_width; ++j) sums[j] = bias != nullptr ? T(bias[0]) : T{0};
      for (index_t r = 0; r < c.kernel_h; ++r) {
        const index_t h = i + r * c.dilation_h - c.place.offset_h;
        if (h < 0 || h >= c.place.height) continue;
        for (index_t s = 0; s < c.kernel_w; ++s) {
          const index_t left = s * c.dilation_w - c.place.offset_w;  // of what output 0 sees
          const index_t j0 = left < 0 ? -left : 0, j1 = width - left < c.out_width ? width - left : c.out_width;
          const index_t at = ((h - h0) * width + left) * panel + r * c.kernel_w + s;
          for (index_t j = j0; j < j1; ++j) sums[j] += products[at + j * panel];
        }
      }
      finish_rows(epilogue, 0, c.out_width, 1, sums, 1);
      copy_values(sums, c.out_width, y + (n * c.out_height + i) * c.out_width);
    }
  });
}

}  // namespace mien::kernels::detail
