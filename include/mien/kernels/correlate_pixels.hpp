// Forward and backward data, the general way: a block takes neighbouring pixels of a padded copy of the image.
#pragma once

#include <cstdint>

#include "mien/kernels/blocks.hpp"
#include "mien/kernels/correlation.hpp"
#include "mien/kernels/epilogue.hpp"

namespace mien::kernels::detail {

/// How a correlation is cut into pieces and what it needs of scratch; does not depend on the number of threads.
template <class S, class T>
struct CorrelationPlan {
  static constexpr index_t copy_budget = 512 * 1024;  // bytes of padded image per piece, to stay in the second cache
  static constexpr index_t wanted_pieces = 8;

  CorrelationPlan(const Correlation& c, const BlockKernels<T>& kernels) {
    for (index_t left = c.outputs; left > 0; left -= kernels.lanes << panel_index(kernels, left)) {
      const int index = panel_index(kernels, left);
      panel_values += c.depth * c.taps() * (kernels.lanes << index);
      ++panels;
    }
    copies = !std::is_same_v<S, T> || !c.place.is_identity();
    const index_t row_bytes = c.place.padded_width * c.place.channels * static_cast<index_t>(sizeof(T));
    const index_t image_bytes = row_bytes * c.place.padded_height;
    images = 1;
    rows = c.out_height;
    if (image_bytes < copy_budget && c.batch > 1) {
      images = copy_budget / (image_bytes > 0 ? image_bytes : 1);
      const index_t share = (c.batch + wanted_pieces - 1) / wanted_pieces;
      if (images > share) images = share;
    } else {
      const index_t fit = (copy_budget / row_bytes - c.dilation_h * (c.kernel_h - 1)) / c.stride_h;
      // Many outputs are cut rather than few pixels, which would have the weights read once for each piece.
      const bool by_outputs =
          c.out_width == 1 && c.batch == 1 && panels * c.groups >= wanted_pieces && c.out_height <= fit;
      const index_t split = by_outputs ? 1 : (wanted_pieces + c.batch - 1) / c.batch;
      rows = (c.out_height + split - 1) / split;
      if (rows > fit) rows = fit;
      const index_t least = (24 + c.out_width - 1) / c.out_width;
      if (rows < least) rows = least;
      if (rows > c.out_height) rows = c.out_height;
    }
    row_pieces = (c.out_height + rows - 1) / rows;
    pieces = (c.batch + images - 1) / images * row_pieces;
    const index_t all_panels = panels * c.groups;
    panel_pieces = pieces >= wanted_pieces ? 1 : (wanted_pieces + pieces - 1) / pieces;
    if (panel_pieces > all_panels) panel_pieces = all_panels;
    packs_pieces = pieces == 1 && c.taps() == 1 && c.place.is_identity();
    pixels = images * rows * c.out_width;
    copied_rows = images > 1 ? c.place.padded_height : (rows - 1) * c.stride_h + c.dilation_h * (c.kernel_h - 1) + 1;
    if (copied_rows > c.place.padded_height) copied_rows = c.place.padded_height;
    copied_values = copies ? images * copied_rows * c.place.padded_width * c.place.channels : 0;
  }

  index_t panels = 0, panel_values = 0;  // of one group
  bool copies = false;
  bool packs_pieces = false;  // each panel is used in one piece only, and packed there: it stays in the second cache
  index_t images, rows, row_pieces, pieces, panel_pieces;
  index_t pixels, copied_rows, copied_values;  // of one piece
};

/// Which outputs the pixels of a table are: `rows` lines of each image, from line `top` on.
struct PixelRows {
  index_t top = 0, rows = 0;
};

/// Whether so much of small images is padding that looking for it pays.
inline bool skips_padding(const Correlation& c) {
  return !c.place.is_identity() && c.place.step_h == 1 && c.place.step_w == 1 && c.taps() > 1 && c.out_height <= 16 &&
         c.out_width <= 16;
}

/// Bit i: whether output i of at most 16 reads the image through one of the taps [first, last], in one dimension.
inline std::uint32_t reading(index_t outputs, index_t stride, index_t dilation, index_t offset, index_t extent,
                             index_t first, index_t last) {
  std::uint32_t bits = 0;
  for (index_t i = 0; i < outputs; ++i)
    for (index_t tap = first; tap <= last; ++tap) {
      const index_t at = i * stride + tap * dilation - offset;
      if (at >= 0 && at < extent) bits |= std::uint32_t{1} << i;
    }
  return bits;
}

/// One panel of outputs for the pixels of `table`: out + pixel * out_pitch (+ panel values) is assigned, in passes.
/// With `lines` of small images a pass leaves out the pixels that would read nothing but padding.
template <class T>
inline void correlate_panel(const Correlation& c, const BlockKernels<T>& kernels, int index, index_t pitch,
                            const T* const* table, index_t pixels, index_t offset, const T* weights, const T* start,
                            T* out, index_t out_pitch, const PixelRows& lines = {}) {
  const index_t panel = kernels.lanes << index, block = kernels.pixels[index];
  const bool skips = lines.rows > 0 && skips_padding(c), joined = c.has_joined_columns();
  index_t budget = PassWalker::pass_values / panel;
  if (skips && c.depth >= 128 && c.depth < budget) budget = c.depth;  // a tap at a time
  alignas(64) T spill[BlockKernels<T>::max_pixels * BlockKernels<T>::max_panel];
  alignas(64) T zero[BlockKernels<T>::max_panel] = {};
  if (start == nullptr) start = zero;
  PassWalker walker(c, joined);
  for (bool first = true; walker.next(budget); first = false) {
    Segment segments[PassWalker::max_parts];
    std::uint32_t lines_of[PassWalker::max_parts], columns_of[PassWalker::max_parts];  // that read a part
    for (index_t q = 0; q < walker.count; ++q) {
      const PassWalker::Part& part = walker.parts[q];
      segments[q] = {part.r * c.dilation_h * pitch + part.s * c.dilation_w * c.place.channels + part.begin + offset,
                     part.row * panel, part.end - part.begin};
      if (!skips) continue;
      const Placement& p = c.place;
      lines_of[q] = reading(c.out_height, c.stride_h, c.dilation_h, p.offset_h, p.height, part.r, part.r);
      columns_of[q] = reading(c.out_width, c.stride_w, c.dilation_w, p.offset_w, p.width,
                              joined ? part.begin / c.depth : part.s, joined ? (part.end - 1) / c.depth : part.s);
    }
    // Bit j: whether pixel j of line i of the output reads anything. All do at first, as sums begin there.
    const auto reading_pixels = [&](index_t i) {
      if (first || !skips) return ~std::uint32_t{0};
      std::uint32_t bits = 0;
      for (index_t q = 0; q < walker.count; ++q)
        if ((lines_of[q] >> i & 1) != 0) bits |= columns_of[q];
      return bits;
    };
    // The weights of the next pass, or panel: each block of pixels fetches from its share of them on.
    const PassWalker::Part& end = walker.parts[walker.count - 1];
    const index_t rows = end.row + end.end - end.begin - walker.parts[0].row;
    const T* next = weights + (walker.parts[0].row + rows) * panel;
    const index_t share = (rows * panel * block / pixels + 15) / 16 * 16;
    std::uint32_t line = reading_pixels(lines.top);
    for (index_t p = 0, i = 0, j = 0; p < pixels; next += share) {
      const T* from[BlockKernels<T>::max_pixels];
      T* to[BlockKernels<T>::max_pixels];
      index_t count = 0;
      for (; count < block && p < pixels; ++p) {
        if ((line >> j & 1) != 0) {
          from[count] = table[p];
          to[count++] = out + p * out_pitch;
        }
        if (skips && ++j == c.out_width) {
          j = 0;
          i = i + 1 < lines.rows ? i + 1 : 0;
          line = reading_pixels(lines.top + i);
        }
      }
      if (count == 0) break;
      for (index_t q = count; q < block; ++q) {
        from[q] = from[0];
        to[q] = spill + q * panel;
      }
      kernels.correlate[index](from, segments, walker.count, weights, first ? start : nullptr, to, next);
    }
  }
}

/// True where zero padding meets weights that are not finite: there products with padding, which the definition leaves
/// out, would make NaN.
template <class S, class T>
inline bool padding_matters(const Correlation& c, const CorrelationPlan<S, T>& plan, const bool* finite) {
  if (c.place.is_identity()) return false;
  for (index_t p = 0; p < plan.panels * c.groups; ++p)
    if (!finite[p]) return true;
  return false;
}

}  // namespace mien::kernels::detail
