// Some rows of a scaled image with their integral images: the unit of work of the scan.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cascade/image.hpp"
#include "cascade/integral.hpp"
#include "cascade/levels.hpp"
#include "cascade/model.hpp"
#include "cascade/program.hpp"
#include "cascade/resize.hpp"
#include "mien/core/tensor.hpp"

namespace mien::cascade::detail {

/// Height of a piece in pixels of its level, for small windows.
inline constexpr int piece_pixels = 64;

/// Taps of every level, horizontal and vertical.
struct Tables {
  struct Entry {
    std::size_t horizontal = 0;
    std::size_t vertical = 0;
  };
  std::vector<Entry> entries;
  std::vector<Tap> taps;
};

inline void make_tables(Size image, const std::vector<Level>& levels, Tables& tables) {
  std::size_t count = 0;
  tables.entries.clear();
  for (const Level& level : levels) {
    const std::size_t horizontal = count;
    const std::size_t vertical = horizontal + static_cast<std::size_t>(level.size.width);
    count = vertical + static_cast<std::size_t>(level.size.height);
    tables.entries.push_back({horizontal, vertical});
  }
  tables.taps.resize(count);
  for (std::size_t i = 0; i < levels.size(); ++i) {
    make_taps(image.width, levels[i].size.width, tables.taps.data() + tables.entries[i].horizontal);
    make_taps(image.height, levels[i].size.height, tables.taps.data() + tables.entries[i].vertical);
  }
}

/// Extents of the integral images of the largest strip. Vector code reads up to one vector beyond the last window:
/// hence the margin on the right and the tail.
struct StripShape {
  static constexpr int margin = 64;

  StripShape() = default;
  /// `width` x `height` pixels at most.
  StripShape(int width, int height, const Cascade& cascade) {
    const auto padded = [](int n) { return (n + margin + 15) / 16 * 16; };
    // An odd number of cache lines per row: rows a power of two apart would share cache sets.
    half = padded((width + 2) / 2);
    stride = std::max(padded(width + 1), 2 * half);
    if (stride / 16 % 2 == 0) stride += 16;
    plane = static_cast<std::size_t>(stride) * static_cast<std::size_t>(height + 1) + margin;
    plane = (plane + 15) / 16 * 16;
    haar = cascade.kind() == FeatureKind::haar;
    tilted = cascade.has_tilted();
  }

  Layout layout(int step) const { return {stride, step == 1 ? 0 : half, static_cast<std::int32_t>(plane)}; }

  /// Elements of a row that is not split.
  index_t row() const { return stride + margin; }

  int stride = 0;
  int half = 0;
  std::size_t plane = 0;
  bool haar = false;
  bool tilted = false;
};

/// Memory of one strip.
struct StripBuffer {
  static constexpr index_t rolling_rows = 5;

  Tensor<std::uint32_t> planes;  // sums, tilted sums, sums of squares
  Tensor<std::uint32_t> rows;    // the last rows of integral images before their columns are split
  Tensor<std::uint8_t> pixels;   // three rows: zeros, and the last two of the scaled image
  std::uint32_t* sums = nullptr;
  std::uint32_t* tilted = nullptr;
  std::uint32_t* squares = nullptr;

  void reserve(const StripShape& shape) {
    const auto plane = static_cast<index_t>(shape.plane);
    const index_t wanted = plane * (1 + (shape.tilted ? 1 : 0) + (shape.haar ? 1 : 0));
    const index_t row = shape.row();
    if (planes.size() < wanted) planes = Tensor<std::uint32_t>(Shape{wanted});
    if (rows.size() < rolling_rows * row) rows = Tensor<std::uint32_t>(Shape{rolling_rows * row});
    if (pixels.size() < 3 * row) pixels = Tensor<std::uint8_t>(Shape{3 * row});
    sums = planes.data();
    tilted = shape.tilted ? sums + plane : nullptr;
    squares = shape.haar ? sums + plane * (shape.tilted ? 2 : 1) : nullptr;
  }
};

/// Copies a row of an integral image into the layout of step 2.
inline void split_columns(const std::uint32_t* row, int count, int half, std::uint32_t* out) {
  for (int x = 0; x + 1 < count; x += 2) {
    out[x / 2] = row[x];
    out[half + x / 2] = row[x + 1];
  }
  if (count % 2 == 1) out[count / 2] = row[count - 1];
}

/// The inner loops of building a strip, of one instruction set.
struct RowKernels {
  void (*resize)(const std::uint8_t* above, const std::uint8_t* below, Tap vertical, const Tap* taps, int source_width,
                 int width, std::uint8_t* out) = &resize_row;
  void (*integral)(const std::uint8_t*, int, const std::uint32_t*, std::uint32_t*) = &integral_row;
  void (*squares)(const std::uint8_t*, int, const std::uint32_t*, std::uint32_t*) = &square_integral_row;
  void (*tilted)(const std::uint8_t*, const std::uint8_t*, int, const std::uint32_t*, const std::uint32_t*,
                 std::uint32_t*) = &tilted_row;
  void (*split)(const std::uint32_t*, int, int, std::uint32_t*) = &split_columns;
};

/// Scales rows [first, first + height) of `level` and integrates them into `buffer`, starting at its first row: sums
/// over windows do not depend on where the integration starts.
inline void build_strip(const RowKernels& kernels, const ImageView& gray, const Level& level, const Tap* horizontal,
                        const Tap* vertical, int first, int height, const StripShape& shape, StripBuffer& buffer) {
  const int width = level.size.width;
  const index_t stride = shape.stride;
  const index_t row = shape.row();
  const bool split = level.step == 2;
  const bool same_size = level.size == Size{gray.width, gray.height};
  std::uint32_t* const rows = buffer.rows.data();
  std::fill(rows, rows + StripBuffer::rolling_rows * row, 0U);
  std::uint32_t* const sum_row = rows;
  std::uint32_t* const square_row = rows + row;
  std::uint32_t* tilted_rows[3] = {rows + 2 * row, rows + 3 * row, rows + 4 * row};
  const std::uint8_t* line2 = buffer.pixels.data();  // the row before; zeros at first
  std::fill(buffer.sums, buffer.sums + stride, 0U);
  if (shape.haar) std::fill(buffer.squares, buffer.squares + stride, 0U);
  if (shape.tilted) std::fill(buffer.tilted, buffer.tilted + stride, 0U);
  for (int y = 0; y < height; ++y) {
    const Tap tap = vertical[first + y];
    const std::uint8_t* line = gray.row(tap.index);
    if (!same_size) {
      std::uint8_t* const pixels = buffer.pixels.data() + (1 + y % 2) * row;
      kernels.resize(line, tap.weight == 0 ? line : line + gray.stride, tap, horizontal, gray.width, width, pixels);
      line = pixels;
    }
    const index_t out = (y + 1) * stride;
    if (split) {
      // In place: a row only adds its own sums to those above.
      kernels.integral(line, width, sum_row, sum_row);
      kernels.split(sum_row, width + 1, shape.half, buffer.sums + out);
      if (shape.haar) {
        kernels.squares(line, width, square_row, square_row);
        kernels.split(square_row, width + 1, shape.half, buffer.squares + out);
      }
    } else {
      kernels.integral(line, width, buffer.sums + out - stride, buffer.sums + out);
      if (shape.haar) kernels.squares(line, width, buffer.squares + out - stride, buffer.squares + out);
    }
    if (shape.tilted) {
      std::uint32_t* const now = tilted_rows[y % 3];
      kernels.tilted(line, line2, width, tilted_rows[(y + 2) % 3], tilted_rows[(y + 1) % 3], now);
      if (split) {
        kernels.split(now, width + 1, shape.half, buffer.tilted + out);
      } else {
        std::copy(now, now + width + 1, buffer.tilted + out);
      }
      line2 = line;
    }
  }
}

}  // namespace mien::cascade::detail
