// One piece of a correlation in AMX tiles: copies what tiles read, multiplies, rounds and stores.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include <cstring>

#include "mien/kernels/amx/dots.hpp"
#include "mien/kernels/amx/store_rows.hpp"
#include "mien/kernels/amx/tile_line.hpp"
#include "mien/kernels/amx/tile_plan.hpp"

namespace mien::kernels::detail::amx {

/// The products for up to 32 rows and one block of outputs.
inline void tile_block(Products products, index_t rows, index_t columns, const bfloat16* left0, const bfloat16* left1,
                       TileRows lines, const TileSegment* segments, index_t count, const bfloat16* right, float* sums) {
  if (products == Products::dots) {
    dot_block(rows, columns, left0, left1, lines, segments, count, right, sums);
  } else if (columns > 16) {
    rows > 16 ? tile_products<2, 2>(left0, left1, lines, segments, count, right, sums)
              : tile_products<1, 2>(left0, left1, lines, segments, count, right, sums);
  } else {
    rows > 16 ? tile_products<2, 1>(left0, left1, lines, segments, count, right, sums)
              : tile_products<1, 1>(left0, left1, lines, segments, count, right, sums);
  }
}

/// One piece of work: images [n0, n1), output rows [i0, i1), blocks of outputs [b0, b1).
struct TilePiece {
  const Correlation& c;
  const TilePlan& plan;
  const bfloat16* weights;
  const bfloat16* x;
  const float* bias;
  bool relu;
  bfloat16* y;
  index_t n0, n1, i0, i1, b0, b1;
  bfloat16* copy;
  TileSegment* segments;

  static constexpr index_t streamed = 2 * 1024 * 1024;  // bytes of results that are streamed

  index_t all_outputs() const { return c.outputs * c.groups; }
  index_t image() const { return c.place.height * c.place.width * c.place.channels; }

  struct Block {
    index_t first;  // of the outputs
    const bfloat16* right;
    RowStores stores;

    index_t columns() const { return stores.columns; }
    index_t tiles() const { return columns() > 16 ? 2 : 1; }
  };
  /// Block b of group g, its rows of results `pitch` values apart.
  Block block(index_t group, index_t b, index_t pitch) const {
    Block result{};
    result.first = b * 32;
    result.right = weights + group * plan.panel_values + b * 32 * plan.inner;
    result.stores.relu = relu;
    result.stores.columns = c.outputs - b * 32 < 32 ? c.outputs - b * 32 : 32;
    result.stores.pitch = pitch;
    for (index_t k = 0; bias != nullptr && k < result.columns(); ++k)
      result.stores.bias[k] = bias[group * c.outputs + b * 32 + k];
    return result;
  }

  void run() {
    switch (plan.source) {
      case RowSource::images:
        return run_images();
      case RowSource::pixels:
        return run_pixels();
      case RowSource::lines:
        return run_lines();
      case RowSource::windows:
        return run_windows();
      default:
        return run_direct();
    }
  }

  /// The source position that output `i` reads through tap `r`, or -1 if none.
  static index_t source_at(index_t i, index_t stride, index_t r, index_t dilation, index_t offset, index_t step,
                           index_t extent) {
    const index_t at = i * stride + r * dilation - offset;
    if (at < 0) return -1;
    if (step == 1) return at < extent ? at : -1;  // no division in the usual case
    return at % step == 0 && at / step < extent ? at / step : -1;
  }

  void run_images() {
    const Placement& p = c.place;
    const index_t count = n1 - n0, pixel = plan.images * plan.depth;
    // Source rows that any output row of this piece reads.
    index_t h0 = p.height, h1 = 0;
    for (index_t i = i0; i < i1; ++i)
      for (index_t r = 0; r < c.kernel_h; ++r) {
        const index_t h = source_at(i, c.stride_h, r, c.dilation_h, p.offset_h, p.step_h, p.height);
        if (h >= 0 && h < h0) h0 = h;
        if (h >= h1) h1 = h + 1;
      }
    // [row][column][sixteen of images][step]: a left tile is one run of memory.
    for (index_t n = 0; n < count && h0 < h1; ++n) {
      spread_pixels(x + (n0 + n) * image() + h0 * p.width * p.channels, (h1 - h0) * p.width, p.channels,
                    copy + n / 16 * 16 * plan.depth + n % 16 * 32, pixel, tile_values);
    }
    const bool lines = plan.products == Products::tiles && TilePlan::has_lines(c);
    for (index_t b = b0; b < b1; ++b) {
      const Block to = block(0, b, image_pitch());
      LateStores stores(to.stores);
      for (index_t i = i0; i < i1; ++i) {
        bfloat16* out = y + (n0 * c.out_height + i) * c.out_width * all_outputs() + b * 32;
        for (index_t j = 0; j < c.out_width;) {
          const index_t pixels = lines ? TilePlan::line_pixels(c.out_width - j) : 1;
          if (pixels == 4) {
            image_row<4>(to, i, j, h0, out + j * all_outputs(), stores);
          } else if (pixels == 3) {
            image_row<3>(to, i, j, h0, out + j * all_outputs(), stores);
          } else {
            image_pixel(to, i, j, h0, out + j * all_outputs());
          }
          j += pixels;
        }
      }
      stores.finish();
    }
  }

  index_t image_pitch() const { return c.out_height * c.out_width * all_outputs(); }

  /// P neighbouring output pixels (i, j), ... of all images.
  template <int P>
  void image_row(const Block& to, index_t i, index_t j, index_t h0, bfloat16* out, LateStores& stores) const {
    const Placement& p = c.place;
    const index_t pixel = plan.images * plan.depth, n_tiles = to.tiles(), start = j - p.offset_w;
    TileLine line;
    line.rows = {64, tile_values};
    line.position = pixel;
    line.first = start < 0 ? -start : 0;
    line.last = p.width - start < P + 2 ? p.width - start : P + 2;
    line.steps = plan.depth / 32;
    line.step = n_tiles * tile_values;
    line.tap = line.steps * line.step;
    index_t used = 0;
    for (index_t r = 0; r < c.kernel_h; ++r) {
      const index_t h = source_at(i, c.stride_h, r, c.dilation_h, p.offset_h, p.step_h, p.height);
      if (h >= 0) segments[used++] = {((h - h0) * p.width + start) * pixel, r * 3 * line.tap, line.steps};
    }
    EarlyCopies none;
    for (index_t first = 0; first < n1 - n0; first += 16) {
      const index_t count = n1 - n0 - first < 16 ? n1 - n0 - first : 16;
      // The results go to as many lines as there are pixels and images, far apart: ask for them in time.
      for (index_t image = 0; image < count; ++image)
        for (index_t q = 0; q < P; ++q)
          __builtin_prefetch(out + (first + image) * image_pitch() + q * all_outputs(), 1);
      stores.begin(n_tiles * used * line.steps * 2);
      for (index_t n = 0; n < n_tiles; ++n)
        tile_line<P>(copy + first * plan.depth, to.right + n * tile_values, line, segments, used, n * 16, stores, none);
      stores.turn();
      for (index_t q = 0; q < P; ++q) stores.add(q * 16, count, out + first * image_pitch() + q * all_outputs());
    }
  }

  /// Output pixel (i, j) of all images.
  void image_pixel(const Block& to, index_t i, index_t j, index_t h0, bfloat16* out) const {
    const Placement& p = c.place;
    const index_t pixel = plan.images * plan.depth, steps = plan.depth / 32, n_tiles = to.tiles();
    index_t used = 0;
    for (index_t r = 0; r < c.kernel_h; ++r) {
      const index_t h = source_at(i, c.stride_h, r, c.dilation_h, p.offset_h, p.step_h, p.height);
      if (h < 0) continue;
      for (index_t s = 0; s < c.kernel_w; ++s) {
        const index_t v = source_at(j, c.stride_w, s, c.dilation_w, p.offset_w, p.step_w, p.width);
        if (v < 0) continue;
        segments[used++] = {((h - h0) * p.width + v) * pixel, (r * c.kernel_w + s) * steps * n_tiles * tile_values,
                            steps};
      }
    }
    alignas(64) float sums[32 * 32];
    tile_block(plan.products, n1 - n0, to.columns(), copy, copy + 16 * plan.depth, {64, tile_values}, segments, used,
               to.right, sums);
    store_sums(to.stores, sums, n1 - n0, out);
  }

  void run_pixels() {
    const index_t padded_width = c.place.padded_width, steps = plan.depth / 32;
    const index_t rows = i1 - i0 + c.dilation_h * (c.kernel_h - 1);
    if (plan.depth == c.depth) {
      copy_padded(c.place, x + n0 * image(), i0, i0 + rows, copy);
    } else {
      copy_deepened(rows);
    }
    alignas(64) float sums[32 * 32];
    const index_t flat = (i1 - i0 - 1) * padded_width + c.out_width;
    for (index_t b = b0; b < b1; ++b) {
      const Block to = block(0, b, all_outputs());
      const index_t n_tiles = to.tiles();
      for (index_t t = 0; t < c.taps(); ++t) {
        const index_t r = t / c.kernel_w, s = t % c.kernel_w;
        segments[t] = {(r * c.dilation_h * padded_width + s * c.dilation_w) * plan.depth,
                       t * steps * n_tiles * tile_values, steps};
      }
      bfloat16* out = y + ((n0 * c.out_height + i0) * c.out_width) * all_outputs() + b * 32;
      index_t column = 0;  // of the next pixel in its padded row
      for (index_t f = 0; f < flat; f += 32) {
        const index_t count = flat - f < 32 ? flat - f : 32;
        const bfloat16* from = copy + f * plan.depth;
        tile_block(plan.products, count, to.columns(), from, from + 16 * plan.depth, {plan.depth * 2, 32}, segments,
                   c.taps(), to.right, sums);
        for (index_t q = 0; q < count;) {
          if (column < c.out_width) {
            index_t run = c.out_width - column;
            if (run > count - q) run = count - q;
            store_sums(to.stores, sums + q * 32, run, out);
            out += run * all_outputs();
            q += run;
            column += run;
          } else {
            const index_t skip = padded_width - column;
            q += skip;
            column = 0;
            if (q > count) {  // the row's end lies in the next block
              column = padded_width - (q - count);
            }
          }
          if (column == padded_width) column = 0;
        }
      }
    }
  }

  /// Results that fill the second cache push out what is needed there, and their lines would be read before they are
  /// written: these are streamed past it.
  bool streams() const {
    return c.batch * image_pitch() * index_t{sizeof(bfloat16)} >= streamed && all_outputs() % 32 == 0 &&
           reinterpret_cast<std::uintptr_t>(y) % 64 == 0;
  }

  void run_lines() {
    const index_t base = i1 - i0 < 3 ? i1 - 3 : i0;  // rows before i0 are another piece's, and only read
    // Without padding an image is read where it stands, if another one follows: the last tile of a row reads on.
    const bool in_place = c.place.is_identity() && plan.images == 1 && n1 < c.batch;
    const index_t row = (in_place ? c.place.width : plan.images * c.place.padded_width) * plan.depth;
    EarlyCopies copies;
    if (!in_place) copies = EarlyCopies(c.place, x + n0 * image(), n1 - n0, image(), base, copy, row);
    const bfloat16* rows = in_place ? x + n0 * image() + base * row : copy;
    const index_t width = (n1 - n0 - 1) * c.place.padded_width + c.out_width;
    for (index_t b = b0; b < b1; ++b) {
      Block to = block(0, b, all_outputs());
      to.stores.stream = streams();
      LateStores stores(to.stores);
      const index_t positions = (width + 15) / 16, times = positions * to.tiles() * 3 * (plan.depth / 32) * 2;
      const auto rows_read = [&](index_t i) { return i < i1 ? i + TilePlan::line_pixels(i1 - i) + 2 : i1 + 2; };
      for (index_t i = base; i < i1;) {
        const index_t count = TilePlan::line_pixels(i1 - i);
        copies.begin(rows_read(i), 1);
        copies.finish();
        copies.begin(rows_read(i + count), times);
        for (index_t j = 0; j < width; j += 16) {
          if (count == 4) {
            lines<4>(to, rows + (i - base) * row, row, i, j, i0, stores, copies);
          } else if (count == 3) {
            lines<3>(to, rows + (i - base) * row, row, i, j, i0, stores, copies);
          } else {  // a single row: the last of three
            lines<3>(to, rows + (i - 2 - base) * row, row, i - 2, j, i, stores, copies);
          }
        }
        i += count;
      }
      stores.finish();
    }
    if (streams()) stream_end();
  }

  /// P output rows from i on, pixels j to j + 15 of images side by side, of which those from row `first` on are
  /// written; they read from `rows` on, `row` values apart.
  template <int P>
  void lines(const Block& to, const bfloat16* rows, index_t row, index_t i, index_t j, index_t first,
             LateStores& stores, EarlyCopies& copies) const {
    const index_t n_tiles = to.tiles();
    TileLine line;
    line.rows = {plan.depth * 2, 32};
    line.position = row;
    line.first = 0;
    line.last = P + 2;
    line.steps = plan.depth / 32;
    line.step = n_tiles * tile_values;
    line.tap = 3 * line.steps * line.step;
    for (index_t s = 0; s < 3; ++s) segments[s] = {s * plan.depth, s * line.steps * line.step, line.steps};
    const bfloat16* from = rows + j * plan.depth;
    stores.begin(n_tiles * 3 * line.steps * 2);
    for (index_t n = 0; n < n_tiles; ++n)
      tile_line<P>(from, to.right + n * tile_values, line, segments, 3, n * 16, stores, copies);
    stores.turn();
    const index_t out_row = c.out_width * all_outputs();
    bfloat16* const out = y + (n0 * c.out_height + i) * out_row + to.first;
    for (index_t n = j / c.place.padded_width; n < n1 - n0; ++n) {
      const index_t start = n * c.place.padded_width, end = start + c.out_width;  // of image n0 + n
      const index_t from_j = j > start ? j : start, to_j = j + 16 < end ? j + 16 : end;
      if (start >= j + 16) break;
      if (from_j >= to_j) continue;
      for (index_t p = i < first ? first - i : 0; p < P; ++p)
        stores.add(p * 16 + from_j - j, to_j - from_j,
                   out + n * image_pitch() + p * out_row + (from_j - start) * all_outputs());
    }
  }

  /// Padded rows with channels padded to whole steps.
  void copy_deepened(index_t rows) {
    const Placement& p = c.place;
    std::memset(static_cast<void*>(copy), 0,
                static_cast<std::size_t>(rows * p.padded_width * plan.depth) * sizeof(bfloat16));
    for (index_t a = 0; a < rows; ++a) {
      const index_t h = source_at(i0 + a, 1, 0, 1, p.offset_h, p.step_h, p.height);
      if (h < 0) continue;
      for (index_t b = 0; b < p.padded_width; ++b) {
        const index_t v = source_at(b, 1, 0, 1, p.offset_w, p.step_w, p.width);
        if (v < 0) continue;
        spread_pixels(x + n0 * image() + (h * p.width + v) * p.channels, 1, p.channels,
                      copy + (a * p.padded_width + b) * plan.depth, plan.depth, 32);
      }
    }
  }

  /// One padded row after the other holds whole runs of windows.
  void gather_joined() {
    const index_t row = c.place.padded_width * c.place.channels;
    const index_t rows = (i1 - i0 - 1) * c.stride_h + c.dilation_h * (c.kernel_h - 1) + 1;
    bfloat16* padded = copy + plan.copied - plan.padded;
    copy_padded(c.place, x + n0 * image(), i0 * c.stride_h, i0 * c.stride_h + rows, padded);
    for (index_t i = 0; i < i1 - i0; ++i) {
      copy_windows(padded + i * c.stride_h * row, c.out_width, c.stride_w * c.place.channels, c.kernel_h,
                   c.kernel_w * c.depth, c.dilation_h * row, copy + i * c.out_width * plan.inner, plan.inner);
    }
  }

  void gather_windows(index_t group) {
    const Placement& p = c.place;
    bfloat16* to = copy;
    const index_t used = c.taps() * c.depth;
    for (index_t i = i0; i < i1; ++i)
      for (index_t j = 0; j < c.out_width; ++j, to += plan.inner) {
        for (index_t t = 0; t < c.taps(); ++t) {
          const index_t h = source_at(i, c.stride_h, t / c.kernel_w, c.dilation_h, p.offset_h, p.step_h, p.height);
          const index_t v = source_at(j, c.stride_w, t % c.kernel_w, c.dilation_w, p.offset_w, p.step_w, p.width);
          const bfloat16* from = x + n0 * image() + (h * p.width + v) * p.channels + group * c.depth;
          for (index_t q = 0; q < c.depth; ++q) to[t * c.depth + q] = h >= 0 && v >= 0 ? from[q] : bfloat16();
        }
        for (index_t q = used; q < plan.inner; ++q) to[q] = bfloat16();
      }
  }

  void run_windows() {
    const index_t pixels = (i1 - i0) * c.out_width;
    alignas(64) float sums[32 * 32];
    for (index_t group = 0; group < c.groups; ++group) {
      c.has_joined_columns() ? gather_joined() : gather_windows(group);
      const TileSegment all{0, 0, plan.inner / 32};
      for (index_t b = b0; b < b1; ++b) {
        const Block to = block(group, b, all_outputs());
        bfloat16* out = y + ((n0 * c.out_height + i0) * c.out_width) * all_outputs() + group * c.outputs + b * 32;
        for (index_t f = 0; f < pixels; f += 32) {
          const index_t count = pixels - f < 32 ? pixels - f : 32;
          const bfloat16* from = copy + f * plan.inner;
          tile_block(plan.products, count, to.columns(), from, from + 16 * plan.inner, {plan.inner * 2, 32}, &all, 1,
                     to.right, sums);
          store_sums(to.stores, sums, count, out + f * all_outputs());
        }
      }
    }
  }

  void run_direct() {
    const index_t tail = i0 + (i1 - i0) / 32 * 32;  // the last rows may lack neighbours to load
    if (tail < i1) copy_values(x + tail * c.depth, (i1 - tail) * c.depth, copy);
    const TileSegment all{0, 0, plan.inner / 32};
    alignas(64) float sums[32 * 32];
    for (index_t b = b0; b < b1; ++b) {
      const Block to = block(0, b, all_outputs());
      for (index_t i = i0; i < i1; i += 32) {
        const index_t count = i1 - i < 32 ? i1 - i : 32;
        const bfloat16* from = i == tail ? copy : x + i * c.depth;
        tile_block(plan.products, count, to.columns(), from, from + 16 * c.depth, {c.depth * 2, 32}, &all, 1, to.right,
                   sums);
        store_sums(to.stores, sums, count, y + i * all_outputs() + b * 32);
      }
    }
  }
};

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
