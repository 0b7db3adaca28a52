// Forward and backward data where images are small and many: a block takes the same pixel of several images. All of
// them see the same padding, so that padding is left out instead of multiplied, and nothing is copied.
#pragma once

#include "mien/kernels/blocks.hpp"
#include "mien/kernels/correlation.hpp"

namespace mien::kernels::detail {

/// How a correlation is cut into groups of images; does not depend on the number of threads.
template <class S, class T>
struct ImagesPlan {
  static constexpr index_t budget = 1024 * 1024;  // bytes of input per group, to stay in the second cache
  static constexpr index_t wanted_pieces = 16;

  ImagesPlan(const Correlation& c, const BlockKernels<T>& kernels) {
    for (index_t left = c.outputs; left > 0; left -= kernels.lanes << panel_index(kernels, left)) ++panels;
    const index_t block = kernels.pixels[panel_index(kernels, c.outputs)];
    image = c.place.height * c.place.width * c.place.channels;
    images = block < 4 ? 8 : 2 * block;
    if (images * image * static_cast<index_t>(sizeof(T)) > budget) images /= 2;
    fits = c.batch >= images && images * image * static_cast<index_t>(sizeof(T)) <= budget && is_worth_it(c);
    pieces = (c.batch + images - 1) / images;
    panel_pieces = (wanted_pieces + pieces - 1) / pieces;
    if (panel_pieces > panels * c.groups) panel_pieces = panels * c.groups;
  }
  /// Window positions, of all outputs of an image, that are neither padding nor zeros that strides spread.
  static index_t visible(const Correlation& c) {
    index_t rows = 0, columns = 0;
    for (index_t r = 0; r < c.kernel_h; ++r)
      rows += reached(c.out_height, c.stride_h, r * c.dilation_h - c.place.offset_h, c.place.step_h, c.place.height);
    for (index_t s = 0; s < c.kernel_w; ++s)
      columns += reached(c.out_width, c.stride_w, s * c.dilation_w - c.place.offset_w, c.place.step_w, c.place.width);
    return rows * columns;
  }
  /// Where the others are above some 5 %.
  static bool is_worth_it(const Correlation& c) {
    const double all = static_cast<double>(c.out_height * c.out_width * c.taps());
    return static_cast<double>(visible(c)) < 0.95 * all;
  }
  /// How many outputs read the source through a tap.
  static index_t reached(index_t outputs, index_t stride, index_t shift, index_t step, index_t extent) {
    index_t count = 0;
    for (index_t i = 0; i < outputs; ++i) {
      const index_t at = i * stride + shift;
      count += at >= 0 && at % step == 0 && at / step < extent;
    }
    return count;
  }

  index_t panels = 0, image, images, pieces, panel_pieces;
  bool fits;
};

/// The segments of one pass that output (i, j) reads; returns their number.
inline index_t visible_segments(const Correlation& c, const PassWalker& walker, bool joined, index_t i, index_t j,
                                index_t offset, index_t panel, Segment* segments) {
  const Placement& p = c.place;
  index_t count = 0;
  for (index_t q = 0; q < walker.count; ++q) {
    const PassWalker::Part& part = walker.parts[q];
    index_t h = i * c.stride_h + part.r * c.dilation_h - p.offset_h;
    index_t v = j * c.stride_w + part.s * c.dilation_w - p.offset_w;
    if (h < 0 || h % p.step_h != 0 || h / p.step_h >= p.height) continue;
    h /= p.step_h;
    index_t begin = part.begin, end = part.end;
    if (joined) {
      if (begin < -v * p.channels) begin = -v * p.channels;
      if (end > (p.width - v) * p.channels) end = (p.width - v) * p.channels;
      if (begin >= end) continue;
    } else {
      if (v < 0 || v % p.step_w != 0 || v / p.step_w >= p.width) continue;
      v /= p.step_w;
    }
    segments[count++] = {(h * p.width + v) * p.channels + begin + offset, (part.row + begin - part.begin) * panel,
                         end - begin};
  }
  return count;
}

/// One panel of outputs of `images` images; table holds where each image begins, out_image is the distance of images
/// in `out`.
template <class T>
inline void correlate_images(const Correlation& c, const BlockKernels<T>& kernels, int index, const T* const* table,
                             index_t images, index_t offset, const T* weights, const T* start, T* out,
                             index_t out_pixel, index_t out_image) {
  const index_t panel = kernels.lanes << index, block = kernels.pixels[index];
  alignas(64) T spill[BlockKernels<T>::max_pixels * BlockKernels<T>::max_panel];
  const bool joined = c.has_joined_columns() && c.place.step_w == 1;
  PassWalker walker(c, joined);
  for (bool first = true; walker.next(PassWalker::pass_values / panel); first = false)
    for (index_t i = 0; i < c.out_height; ++i)
      for (index_t j = 0; j < c.out_width; ++j) {
        Segment segments[PassWalker::max_parts];
        const index_t count = visible_segments(c, walker, joined, i, j, offset, panel, segments);
        if (count == 0 && !first) continue;
        T* pixel = out + (i * c.out_width + j) * out_pixel;
        for (index_t n = 0; n < images; n += block) {
          T* to[BlockKernels<T>::max_pixels];
          const index_t valid = images - n < block ? images - n : block;
          for (index_t q = 0; q < valid; ++q) to[q] = pixel + (n + q) * out_image;
          for (index_t q = valid; q < block; ++q) to[q] = spill + q * panel;
          kernels.correlate[index](table + n, segments, count, weights, first ? start : nullptr, to, /*ahead=*/weights);
        }
      }
}

}  // namespace mien::kernels::detail
