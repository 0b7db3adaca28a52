// Forward and backward data by register blocks: packs weights, cuts the work into pieces, picks how pixels are blocked.
#pragma once

#include "mien/core/threads.hpp"
#include "mien/kernels/correlate_few.hpp"
#include "mien/kernels/correlate_gray.hpp"
#include "mien/kernels/correlate_images.hpp"
#include "mien/kernels/correlate_pixels.hpp"
#include "mien/kernels/correlate_single.hpp"
#include "mien/kernels/scratch.hpp"
#include "mien/kernels/winograd.hpp"

namespace mien::kernels::detail {

/// Packed weights, and which panels of them are finite.
template <class T>
struct PanelWeights {
  template <class S>
  PanelWeights(const Correlation& c, const CorrelationPlan<S, T>& plan, std::byte* base) {
    Carver carver(base);
    finite = carver.take<bool>(plan.panels * c.groups);
    weights = carver.take<T>(plan.panel_values * c.groups);
    bytes = carver.used();
  }
  bool* finite;
  T* weights;
  std::size_t bytes;
};

template <class S, class T>
struct CorrelationScratch {
  CorrelationScratch(const Correlation& c, const CorrelationPlan<S, T>& plan, const ImagesPlan<S, T>& by_images,
                     int threads, std::byte* base) {
    Carver carver(base);
    packed =
        carver.take<std::byte>(plan.packs_pieces ? 0 : static_cast<index_t>(PanelWeights<T>(c, plan, nullptr).bytes));
    const int workers = Threads::workers(
        threads, by_images.fits ? by_images.pieces * by_images.panel_pieces : plan.pieces * plan.panel_pieces);
    panels = carver.take_each<T>(plan.packs_pieces ? c.depth * BlockKernels<T>::max_panel : 0, workers);
    index_t pixels = plan.pixels, copy_size = plan.copied_values + 16;  // of a piece
    index_t table_size = plan.pixels;
    if (by_images.fits) {
      pixels = by_images.images * c.out_height * c.out_width;
      copy_size = std::is_same_v<S, T> ? 0 : by_images.images * by_images.image;
      table_size = by_images.images + BlockKernels<T>::max_pixels;
    }
    copy = carver.take_each<T>(copy_size, workers);
    stage = carver.take_each<T>((pixels + BlockKernels<T>::max_pixels) * BlockKernels<T>::max_panel, workers);
    table = carver.take_each<const T*>(table_size, workers);
    bytes = carver.used();
  }
  std::byte* packed;
  WorkerBuffers<T> panels, copy, stage;
  WorkerBuffers<const T*> table;
  std::size_t bytes;
};

/// Runs a correlation of S with parameters P computed in T, and the epilogue. False if it refuses (see
/// padding_matters), and with an epilogue also where it has no way for it, or Winograd's results are not finite: y is
/// then in any state.
template <class S, class T, class P>
bool run_correlation(Correlation c, const BlockKernels<T>& kernels, const S* x, const P* w, const P* bias, S* y,
                     std::byte* memory, const Threads& threads, PackedWeights packed = {},
                     const Epilogue<T>& epilogue = {}) {
  flatten_pixels(c);
  if (has_few_pixels(c) && !epilogue.pool) {
    correlate_few<S>(c, kernels, x, w, bias, y, memory, threads, packed, epilogue);
    return true;
  }
  const SinglePlan<T> single(c, kernels);
  if (single.fits && !epilogue.pool) {
    correlate_single(c, single, kernels, x, w, bias, y, memory, threads, epilogue);
    return true;
  }
  const GrayPlan<T> gray(c, kernels);
  if (gray.fits && !epilogue.pool && correlate_gray(c, gray, kernels, x, w, bias, y, memory, threads, epilogue))
    return true;
  if constexpr (std::is_same_v<T, float>) {
    const WinogradPlan winograd(c, kernels);
    if (winograd.fits && (winograd.pools || !epilogue.pool)) {
      if (run_winograd(c, winograd, kernels, x, w, bias, y, memory, threads, packed, epilogue)) return true;
      if (!epilogue.is_empty()) return false;
    }
    if (winograd.fits) packed = {};
  }
  if (epilogue.pool) return false;
  const CorrelationPlan<S, T> plan(c, kernels);
  const ImagesPlan<S, T> by_images(c, kernels);
  const CorrelationScratch<S, T> scratch(c, plan, by_images, threads.count(), memory);
  const index_t full = kernels.lanes << kernels.widest, inner = c.depth * c.taps();

  const PanelWeights<T> panels(c, plan, packed.memory != nullptr ? packed.memory : scratch.packed);
  const bool packs_pieces = plan.packs_pieces && packed.memory == nullptr && !by_images.fits;
  if (!packed.ready && !packs_pieces) {
    threads.parallel_for(plan.panels * c.groups, [&](index_t p) {
      const index_t group = p / plan.panels, first = p % plan.panels * full, left = c.outputs - first;
      const index_t panel = kernels.lanes << panel_index(kernels, left);
      panels.finite[p] =
          pack_weights<S>(c.layout, w + group * c.group_weights, first, left < panel ? left : panel, c.depth, panel,
                          !c.place.is_identity(), panels.weights + group * plan.panel_values + first * inner);
    });
  }
  if (!by_images.fits && !packs_pieces && padding_matters(c, plan, panels.finite)) return false;

  const T* all_weights = panels.weights;
  const index_t image = c.place.height * c.place.width * c.place.channels;
  const index_t pieces = by_images.fits ? by_images.pieces : plan.pieces;
  const index_t panel_pieces = by_images.fits ? by_images.panel_pieces : plan.panel_pieces;
  threads.parallel_for(pieces * panel_pieces, [&](index_t piece, int worker) {
    const index_t part = piece % panel_pieces, chunk = piece / panel_pieces;
    const T** table = scratch.table[worker];
    T* copy = scratch.copy[worker];
    T* stage = scratch.stage[worker];
    // The piece: output pixels from (n0, i0, 0) on, `count` images or pixels whose beginnings stand in the table.
    index_t n0, i0 = 0, rows_each = 0, count = 0, pitch = c.place.width * c.place.channels, pixels_each = 1;
    if (by_images.fits) {
      n0 = chunk * by_images.images;
      pixels_each = c.out_height * c.out_width;
      while (count < by_images.images && n0 + count < c.batch) {
        const T* from;
        if constexpr (std::is_same_v<S, T>) {
          from = x + (n0 + count) * image;
        } else {
          copy_values(x + (n0 + count) * image, image, copy + count * image);
          from = copy + count * image;
        }
        table[count++] = from;
      }
      for (index_t q = 0; q < BlockKernels<T>::max_pixels; ++q) table[count + q] = table[count - 1];
    } else {
      n0 = chunk / plan.row_pieces * plan.images;
      i0 = chunk % plan.row_pieces * plan.rows;
      const index_t n1 = n0 + plan.images < c.batch ? n0 + plan.images : c.batch;
      const index_t i1 = i0 + plan.rows < c.out_height ? i0 + plan.rows : c.out_height;
      rows_each = i1 - i0;
      if (plan.copies) pitch = c.place.padded_width * c.place.channels;
      for (index_t n = n0; n < n1; ++n) {
        const T* from;
        if (plan.copies) {
          const index_t rows = (i1 - i0 - 1) * c.stride_h + c.dilation_h * (c.kernel_h - 1) + 1;
          T* to = copy + (n - n0) * rows * pitch;
          copy_padded(c.place, x + n * image, i0 * c.stride_h, i0 * c.stride_h + rows, to);
          from = to;
        } else {
          from = reinterpret_cast<const T*>(x) + n * image + i0 * c.stride_h * pitch;
        }
        for (index_t i = i0; i < i1; ++i, from += c.stride_h * pitch)
          for (index_t j = 0; j < c.out_width; ++j) table[count++] = from + j * c.stride_w * c.place.channels;
      }
    }

    const index_t all_panels = plan.panels * c.groups, all_outputs = c.outputs * c.groups;
    S* out = y + (n0 * c.out_height + i0) * c.out_width * all_outputs;
    for (index_t p = all_panels * part / panel_pieces; p < all_panels * (part + 1) / panel_pieces; ++p) {
      const index_t group = p / plan.panels, first = p % plan.panels * full, left = c.outputs - first;
      const int index = panel_index(kernels, left);
      const index_t panel = kernels.lanes << index, valid = left < panel ? left : panel;
      alignas(64) T start[BlockKernels<T>::max_panel] = {};
      for (index_t k = 0; bias != nullptr && k < valid; ++k) start[k] = T(bias[group * c.outputs + first + k]);
      const T* weights = all_weights + group * plan.panel_values + first * inner;
      if (packs_pieces) {
        T* packed_here = scratch.panels[worker];
        pack_weights<S>(c.layout, w + group * c.group_weights, first, valid, c.depth, panel, false, packed_here);
        weights = packed_here;
      }
      S* to = out + group * c.outputs + first;
      // Straight into y, or aside where the panel is wider than what is left or y is of another type.
      T* sums = stage;
      index_t sums_pitch = panel;
      if constexpr (std::is_same_v<S, T>) {
        if (valid == panel) {
          sums = to;
          sums_pitch = all_outputs;
        }
      }
      if (by_images.fits) {
        correlate_images(c, kernels, index, table, count, group * c.depth, weights, start, sums, sums_pitch,
                         pixels_each * sums_pitch);
      } else {
        correlate_panel(c, kernels, index, pitch, table, count, group * c.depth, weights, start, sums, sums_pitch,
                        {i0, rows_each});
      }
      finish_rows(epilogue, group * c.outputs + first, count * pixels_each, valid, sums, sums_pitch);
      if (sums == stage) copy_rows(stage, panel, count * pixels_each, valid, to, all_outputs);
    }
  });
  return true;
}

/// 0 where weights are read as they stand.
template <class S, class T>
std::size_t correlation_packed_bytes(Correlation c, const BlockKernels<T>& kernels) {
  flatten_pixels(c);
  if (has_few_pixels(c)) return std::is_same_v<S, T> ? 0 : static_cast<std::size_t>(c.outputs * c.depth) * sizeof(S);
  if (GrayPlan<T>(c, kernels).fits || SinglePlan<T>(c, kernels).fits) return 0;
  if constexpr (std::is_same_v<T, float>) {
    const WinogradPlan winograd(c, kernels);
    if (winograd.fits) return WinogradWeights(winograd, nullptr).bytes;
  }
  return PanelWeights<T>(c, CorrelationPlan<S, T>(c, kernels), nullptr).bytes;
}

template <class S, class T>
MIEN_COLD std::size_t correlation_scratch_bytes(Correlation c, const BlockKernels<T>& kernels, int threads) {
  flatten_pixels(c);
  if (has_few_pixels(c)) return FewScratch<S, T>(c, kernels, threads, nullptr).bytes;
  std::size_t bytes =
      CorrelationScratch<S, T>(c, CorrelationPlan<S, T>(c, kernels), ImagesPlan<S, T>(c, kernels), threads, nullptr)
          .bytes;
  // The special ways come first, and may leave the work to the general one.
  const auto need = [&](std::size_t other) {
    if (other > bytes) bytes = other;
  };
  const GrayPlan<T> gray(c, kernels);
  if (gray.fits) need(GrayScratch<S, T>(c, gray, threads, nullptr).bytes);
  const SinglePlan<T> single(c, kernels);
  if (single.fits) need(SingleScratch<S, T>(c, single, threads, nullptr).bytes);
  if constexpr (std::is_same_v<T, float>) {
    const WinogradPlan winograd(c, kernels);
    if (winograd.fits) need(WinogradScratch<S>(c, winograd, threads, nullptr).bytes);
  }
  return bytes;
}

}  // namespace mien::kernels::detail
