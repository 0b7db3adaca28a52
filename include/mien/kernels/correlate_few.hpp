// Forward where there are few pixels and many outputs, as in a dense layer behind a small batch: pixels and outputs
// change places, so that the weights, by far the largest operand, are read as they stand and never packed; where they
// have to be rounded, some rows at a time.
#pragma once

#include "mien/core/threads.hpp"
#include "mien/kernels/correlate_pixels.hpp"
#include "mien/kernels/scratch.hpp"

namespace mien::kernels::detail {

/// After flatten_pixels(). Results have to be turned, which takes longer than to pack weights of less depth.
inline bool has_few_pixels(const Correlation& c) {
  const index_t pixels = c.out_height;
  return c.batch == 1 && c.taps() == 1 && c.groups == 1 && c.layout.depth == 1 && c.out_width == 1 && c.stride_h == 1 &&
         c.place.is_identity() && c.place.width == 1 && pixels <= 512 && c.depth >= pixels && c.outputs >= 16 &&
         c.outputs >= 2 * pixels;
}

/// One or two pixels would leave most of a panel of pixels empty: a dot product for each output then.
template <class T>
bool takes_dots(const Correlation& c, const BlockKernels<T>& kernels) {
  return kernels.dots != nullptr && c.out_height <= 2;
}

template <class S, class T>
struct FewScratch {
  static constexpr bool same = std::is_same_v<S, T>;
  static constexpr index_t most_rows = 48;

  FewScratch(const Correlation& c, const BlockKernels<T>& kernels, int threads, std::byte* base) {
    Carver carver(base);
    // Rounded at a time: about half a megabyte, which stays in the second cache, and four rows before dot products.
    rows = same || most_rows * c.depth <= 1 << 17 ? most_rows : most_rows / 2;
    const int workers = Threads::workers(threads, (c.outputs + rows - 1) / rows);
    const bool dots = takes_dots(c, kernels);
    const index_t panel = BlockKernels<T>::max_panel, lanes = kernels.lanes;
    const index_t pixels = dots ? (same ? 0 : c.out_height) : (c.out_height + 2 * panel) / lanes * lanes;
    packed = carver.take<T>(pixels * c.depth);
    stage = carver.take_each<T>(dots ? 0 : rows * panel, workers);
    rounded_rows = same ? 0 : dots ? 4 : rows;
    rounded = carver.take_each<T>(rounded_rows * c.depth, workers);
    finished = carver.take_each<T>(same || dots ? 0 : rows * panel, workers);
    bytes = carver.used();
  }
  index_t rows;  // outputs of a piece
  T* packed;
  WorkerBuffers<T> stage;
  index_t rounded_rows;
  WorkerBuffers<T> rounded, finished;  // weights and results of a piece, where y is of another type
  std::size_t bytes;
};

/// Rows of weights from element `first` on, as T. Those of another type than S are rounded to it, and kept in, or taken
/// from, `packed`, where they stand in the same order.
template <class S, class T, class P>
const T* weight_rows(const P* w, const PackedWeights& packed, index_t first, index_t count, T* to) {
  if constexpr (std::is_same_v<S, T>) {
    return w + first;
  } else {
    S* kept = reinterpret_cast<S*>(packed.memory);
    if (packed.ready) {
      copy_values(kept + first, count, to);
    } else {
      round_values<S>(w + first, count, to);
      if (kept != nullptr) copy_values(to, count, kept + first);
    }
    return to;
  }
}

/// y = x w^T + bias, and the epilogue, for the few rows of x.
template <class S, class T, class P>
void correlate_few(const Correlation& c, const BlockKernels<T>& kernels, const S* x, const P* w, const P* bias, S* y,
                   std::byte* memory, const Threads& threads, const PackedWeights& kept, const Epilogue<T>& epilogue) {
  using Scratch = FewScratch<S, T>;
  const Scratch scratch(c, kernels, threads.count(), memory);
  const index_t pixels = c.out_height, rows = scratch.rows, pieces = (c.outputs + rows - 1) / rows;
  if (takes_dots(c, kernels)) {
    const T* values;
    if constexpr (Scratch::same) {
      values = x;
    } else {
      copy_values(x, pixels * c.depth, scratch.packed);
      values = scratch.packed;
    }
    threads.parallel_for(pieces, [&](index_t piece, int worker) {
      const index_t step = Scratch::same ? rows : scratch.rounded_rows;
      const index_t end = (piece + 1) * rows < c.outputs ? (piece + 1) * rows : c.outputs;
      for (index_t k0 = piece * rows; k0 < end; k0 += step) {
        const index_t count = end - k0 < step ? end - k0 : step;
        const T* weights = weight_rows<S>(w, kept, k0 * c.depth, count * c.depth, scratch.rounded[worker]);
        for (index_t n = 0; n < pixels; ++n) {
          T results[Scratch::most_rows];
          kernels.dots(weights, c.depth, count, values + n * c.depth, c.depth, results);
          for (index_t k = 0; bias != nullptr && k < count; ++k) results[k] += bias[k0 + k];
          finish_rows(epilogue, k0, 1, count, results, count);
          copy_values(results, count, y + n * c.outputs + k0);
        }
      }
    });
    return;
  }
  const index_t full = kernels.lanes << kernels.widest, panels = (pixels + full - 1) / full;
  // Panels of pixels: packed[panel][channel][pixel].
  constexpr index_t chunk = 256;
  threads.parallel_for((c.depth + chunk - 1) / chunk, [&](index_t piece) {
    const index_t last = (piece + 1) * chunk < c.depth ? (piece + 1) * chunk : c.depth;
    for (index_t n0 = 0; n0 < pixels; n0 += full) {
      const index_t panel = kernels.lanes << panel_index(kernels, pixels - n0);
      T* to = scratch.packed + n0 * c.depth;
      for (index_t i = piece * chunk; i < last; ++i)
        for (index_t n = 0; n < panel; ++n) to[i * panel + n] = n0 + n < pixels ? T(x[(n0 + n) * c.depth + i]) : T{0};
    }
  });
  threads.parallel_for(pieces, [&](index_t piece, int worker) {
    T* stage = scratch.stage[worker];
    const index_t k0 = piece * rows, count = c.outputs - k0 < rows ? c.outputs - k0 : rows;
    const T* weights = weight_rows<S>(w, kept, k0 * c.depth, count * c.depth, scratch.rounded[worker]);
    const T* table[Scratch::most_rows];
    for (index_t k = 0; k < count; ++k) table[k] = weights + k * c.depth;
    for (index_t p = 0; p < panels; ++p) {
      const index_t n0 = p * full;
      const int index = panel_index(kernels, pixels - n0);
      const index_t panel = kernels.lanes << index, valid = pixels - n0 < panel ? pixels - n0 : panel;
      correlate_panel<T>(c, kernels, index, 0, table, count, 0, scratch.packed + n0 * c.depth, nullptr, stage, panel);
      S* out = y + n0 * c.outputs + k0;
      T* results;
      index_t pitch = c.outputs;
      if constexpr (Scratch::same) {
        results = out;
      } else {
        results = scratch.finished[worker];
        pitch = count;
      }
      for (index_t n = 0; n < valid; ++n)
        for (index_t k = 0; k < count; ++k)
          results[n * pitch + k] = stage[k * panel + n] + (bias != nullptr ? bias[k0 + k] : T{0});
      finish_rows(epilogue, k0, valid, count, results, pitch);
      if constexpr (!Scratch::same) copy_rows(results, pitch, valid, count, out, c.outputs);
    }
  });
}

}  // namespace mien::kernels::detail
