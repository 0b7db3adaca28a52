// Forward where there are few pixels and many outputs, as in a dense layer behind a small batch: pixels and outputs
// change places, so that the weights, by far the largest operand, are read once as they stand and never packed.
#pragma once

#include "mien/core/threads.hpp"
#include "mien/kernels/correlate_pixels.hpp"
#include "mien/kernels/scratch.hpp"

namespace mien::kernels::detail {

/// After flatten_pixels().
inline bool has_few_pixels(const Correlation& c) {
  return c.batch == 1 && c.taps() == 1 && c.groups == 1 && c.layout.depth == 1 && c.out_width == 1 && c.stride_h == 1 &&
         c.place.is_identity() && c.out_height <= 96 && c.outputs >= 16 && c.outputs >= 2 * c.out_height;
}

/// One or two pixels would leave most of a panel of pixels empty: a dot product for each output then.
template <class T>
bool takes_dots(const Correlation& c, const BlockKernels<T>& kernels) {
  return kernels.dots != nullptr && c.out_height <= 2;
}

template <class T>
struct FewScratch {
  static constexpr index_t piece_outputs = 48;

  FewScratch(const Correlation& c, const BlockKernels<T>& kernels, int threads, std::byte* base) {
    Carver carver(base);
    slots = Slots(carver, threads, (c.outputs + piece_outputs - 1) / piece_outputs);
    const index_t lanes = kernels.lanes;
    packed = carver.take<T>((c.out_height + 2 * BlockKernels<T>::max_panel) / lanes * lanes * c.depth);
    stage = carver.take<T>(piece_outputs * BlockKernels<T>::max_panel * slots.count);
    bytes = carver.used();
  }
  Slots slots;
  T *packed, *stage;
  std::size_t bytes;
};

/// y = x w^T + bias, and the epilogue, for the few rows of x.
template <class T>
void correlate_few(const Correlation& c, const BlockKernels<T>& kernels, const T* x, const T* w, const T* bias, T* y,
                   std::byte* memory, const Threads& threads, const Epilogue<T>& epilogue) {
  if (takes_dots(c, kernels)) {
    constexpr index_t rows = FewScratch<T>::piece_outputs;
    threads.parallel_for((c.outputs + rows - 1) / rows, [&](index_t piece) {
      const index_t k0 = piece * rows, count = c.outputs - k0 < rows ? c.outputs - k0 : rows;
      for (index_t n = 0; n < c.out_height; ++n) {
        T* out = y + n * c.outputs + k0;
        kernels.dots(w + k0 * c.layout.output, c.layout.output, count, x + n * c.depth, c.depth, out);
        for (index_t k = 0; bias != nullptr && k < count; ++k) out[k] += bias[k0 + k];
        finish_rows(epilogue, k0, 1, count, out, count);
      }
    });
    return;
  }
  const FewScratch<T> scratch(c, kernels, threads.count(), memory);
  scratch.slots.clear();
  const index_t full = kernels.lanes << kernels.widest, pixels = c.out_height;
  const index_t panels = (pixels + full - 1) / full, rows = FewScratch<T>::piece_outputs;
  // Panels of pixels: packed[panel][channel][pixel].
  constexpr index_t chunk = 256;
  threads.parallel_for((c.depth + chunk - 1) / chunk, [&](index_t piece) {
    const index_t last = (piece + 1) * chunk < c.depth ? (piece + 1) * chunk : c.depth;
    for (index_t n0 = 0; n0 < pixels; n0 += full) {
      const index_t panel = kernels.lanes << panel_index(kernels, pixels - n0);
      T* to = scratch.packed + n0 * c.depth;
      for (index_t i = piece * chunk; i < last; ++i)
        for (index_t n = 0; n < panel; ++n) to[i * panel + n] = n0 + n < pixels ? x[(n0 + n) * c.depth + i] : T{0};
    }
  });
  threads.parallel_for((c.outputs + rows - 1) / rows, [&](index_t piece) {
    const Slot slot(scratch.slots);
    T* stage = scratch.stage + slot.index() * rows * BlockKernels<T>::max_panel;
    const index_t k0 = piece * rows, count = c.outputs - k0 < rows ? c.outputs - k0 : rows;
    const T* table[FewScratch<T>::piece_outputs + BlockKernels<T>::max_pixels];
    for (index_t k = 0; k < rows + BlockKernels<T>::max_pixels; ++k)
      table[k] = w + (k0 + (k < count ? k : count - 1)) * c.layout.output;
    for (index_t p = 0; p < panels; ++p) {
      const index_t n0 = p * full;
      const int index = panel_index(kernels, pixels - n0);
      const index_t panel = kernels.lanes << index;
      correlate_panel<T>(c, kernels, index, 0, table, count, 0, scratch.packed + n0 * c.depth, nullptr, stage, panel);
      for (index_t n = 0; n < panel && n0 + n < pixels; ++n)
        for (index_t k = 0; k < count; ++k)
          y[(n0 + n) * c.outputs + k0 + k] = stage[k * panel + n] + (bias != nullptr ? bias[k0 + k] : T{0});
    }
    finish_rows(epilogue, k0, pixels, count, y + k0, c.outputs);
  });
}

}  // namespace mien::kernels::detail
