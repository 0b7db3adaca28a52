// How a correlation is cut into pieces for AMX tiles, and what scratch it needs.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/core/bfloat16.hpp"
#include "mien/kernels/amx/tiles.hpp"
#include "mien/kernels/correlation.hpp"
#include "mien/kernels/scratch.hpp"

namespace mien::kernels::detail::amx {

/// Where the 16 rows of a left tile come from.
enum class RowSource {
  images,   // the same pixel of 16 images, copied next to each other: no padding is multiplied at all
  pixels,   // 16 neighbours of a padded image, row ends included
  lines,    // 16 neighbours of a row of padded images side by side; several rows at once. Tiles only
  windows,  // whole windows, gathered: for few channels, strides, groups
  direct    // pixels as they stand in the source: windows of one pixel
};

/// How a correlation is cut into pieces; does not depend on the number of threads.
struct TilePlan {
  static constexpr index_t budget = 1024 * 1024;  // bytes of copied operand per piece
  static constexpr index_t wanted_pieces = 4;

  TilePlan(const Correlation& c, Products unit) : products(unit) {
    const index_t taps = c.taps();
    depth = (c.depth + 31) / 32 * 32;
    inner = taps * depth;
    images = 1;
    rows = c.out_height;
    const bool one_group = c.groups == 1;
    const index_t window_depth = (taps * c.depth + 31) / 32 * 32;
    const auto source_rows = [&](index_t out_rows) {  // that `out_rows` output rows may read
      const index_t span = ((out_rows - 1) * c.stride_h + c.dilation_h * (c.kernel_h - 1)) / c.place.step_h + 2;
      return span < c.place.height ? span : c.place.height;
    };
    if (one_group && taps == 1 && c.stride_h == 1 && c.place.is_identity() && c.place.width == 1 && c.batch == 1 &&
        c.depth % 32 == 0) {
      source = RowSource::direct;
    } else if (products == Products::tiles && one_group && has_lines(c) && side_by_side(c) > 0 && c.out_height >= 8 &&
               c.depth % 32 == 0) {
      source = RowSource::lines;
      images = side_by_side(c);
    } else if (one_group && c.batch >= 16 && 2 * window_depth > inner &&
               source_rows(4) * c.place.width * 16 * depth * 2 <= budget) {
      source = RowSource::images;
      images = c.batch > 16 && source_rows(4) * c.place.width * 32 * depth * 2 <= budget ? 32 : 16;
      const index_t groups = (c.batch + images - 1) / images;
      rows = (c.out_height * groups + wanted_pieces - 1) / wanted_pieces;
      if (rows > c.out_height) rows = c.out_height;
      while (rows > 1 && source_rows(rows) * c.place.width * images * depth * 2 > budget) --rows;
      if (rows < 1) rows = 1;
    } else if (one_group && c.stride_h == 1 && c.stride_w == 1 && 2 * window_depth > inner) {
      source = RowSource::pixels;
    } else {
      source = RowSource::windows;
      inner = window_depth;
    }
    if (source != RowSource::images) {
      const index_t row_bytes =
          source == RowSource::windows ? c.out_width * inner * 2 : images * c.place.padded_width * depth * 2;
      const index_t groups = (c.batch + images - 1) / images, split = (wanted_pieces + groups - 1) / groups;
      rows = (c.out_height + split - 1) / split;
      const index_t fit = budget / 2 / row_bytes;
      if (rows > fit) rows = fit;
      const index_t least = (64 + c.out_width - 1) / c.out_width;
      if (rows < least) rows = least;
      if (source == RowSource::lines) rows = (rows + 3) / 4 * 4;
      if (rows > c.out_height) rows = c.out_height;
    }
    row_pieces = (c.out_height + rows - 1) / rows;
    pieces = (c.batch + images - 1) / images * row_pieces;
    blocks = (c.outputs + 31) / 32;
    panel_values = blocks * 32 * inner;
    block_pieces = pieces >= wanted_pieces ? 1 : (wanted_pieces + pieces - 1) / pieces;
    if (block_pieces > blocks) block_pieces = blocks;
    switch (source) {
      case RowSource::images:
        copied = source_rows(rows) * c.place.width * images * depth;
        break;
      case RowSource::pixels:
      case RowSource::lines:
        copied = ((rows + c.dilation_h * (c.kernel_h - 1)) * images * c.place.padded_width + 64) * depth;
        break;
      case RowSource::windows:
        if (c.has_joined_columns()) {
          padded = ((rows - 1) * c.stride_h + c.dilation_h * (c.kernel_h - 1) + 1) * c.place.padded_width *
                       c.place.channels +
                   64;
        }
        copied = (rows * c.out_width + 32) * inner + padded;
        break;
      default:
        copied = 32 * depth;
        break;
    }
  }

  /// Whether tile_line() serves.
  static bool has_lines(const Correlation& c) {
    return c.kernel_h == 3 && c.kernel_w == 3 && c.stride_h == 1 && c.stride_w == 1 && c.dilation_h == 1 &&
           c.dilation_w == 1 && c.place.step_h == 1 && c.place.step_w == 1;
  }
  /// How many padded images side by side fill rows of whole sixteens but for a tenth; 0 if that would take too many, or
  /// where products bind, of which RowSource::images needs fewer.
  static index_t side_by_side(const Correlation& c) {
    for (index_t n = 1; n <= (c.depth <= 64 ? 4 : 1) && n <= c.batch; ++n) {
      const index_t width = (n - 1) * c.place.padded_width + c.out_width;
      if (10 * ((width + 15) / 16 * 16) <= 11 * n * c.out_width) return n;
    }
    return 0;
  }
  /// How many of the `left` pixels of a line tile_line() takes at once: fours and threes, or none but a single one.
  static index_t line_pixels(index_t left) {
    const index_t threes = (4 - left % 4) % 4;
    if (threes > 0 && left >= 3 * threes) return 3;
    return left >= 4 ? 4 : 1;
  }

  Products products;
  RowSource source;
  index_t depth;  // channels of a tap, padded to whole steps
  index_t inner;  // values summed per output, padded
  index_t images, rows, row_pieces, pieces, block_pieces;
  index_t blocks, panel_values;  // of 32 outputs; of one group
  index_t padded = 0;            // values of them that are padded rows, behind gathered windows
  index_t copied;                // values of scratch per piece
};

/// Packed weights, and what packing finds out about them.
struct TileWeights {
  TileWeights(const Correlation& c, const TilePlan& plan, std::byte* base) {
    Carver carver(base);
    checks = carver.take<float>(plan.blocks * c.groups);
    table = carver.take<index_t>(plan.inner);
    weights = carver.take<bfloat16>(plan.panel_values * c.groups);
    bytes = carver.used();
  }
  float* checks;
  index_t* table;
  bfloat16* weights;
  std::size_t bytes;
};

struct TileScratch {
  TileScratch(const Correlation& c, const TilePlan& plan, int threads, std::byte* base) {
    Carver carver(base);
    packed = carver.take<std::byte>(static_cast<index_t>(TileWeights(c, plan, nullptr).bytes));
    const int workers = Threads::workers(threads, plan.pieces * plan.block_pieces);
    copy = carver.take_each<bfloat16>((plan.copied + 31) / 32 * 32, workers);
    segments = carver.take_each<TileSegment>(c.taps(), workers);
    bytes = carver.used();
  }
  std::byte* packed;
  WorkerBuffers<bfloat16> copy;
  WorkerBuffers<TileSegment> segments;
  std::size_t bytes;
};

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
