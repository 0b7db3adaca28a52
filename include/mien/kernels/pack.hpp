// Copies that prepare operands: padded images, panels of weights.
#pragma once

#include <cstring>
#include <type_traits>

#include "mien/core/bfloat16.hpp"
#include "mien/kernels/blocks.hpp"
#include "mien/kernels/parallel.hpp"

namespace mien::kernels::detail {

/// to[i] = from[i], converted.
template <class S, class T>
inline void copy_values(const S* from, index_t count, T* to) {
  if constexpr (std::is_same_v<S, T>) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
  } else {
    run_widest(0, count, [from, to](index_t first, index_t last) MIEN_INLINE {
      for (index_t i = first; i < last; ++i) to[i] = T(from[i]);
    });
  }
}

/// to[i] = from[i], rounded to S.
template <class S, class P, class T>
inline void round_values(const P* from, index_t count, T* to) {
  if constexpr (std::is_same_v<S, P>) {
    copy_values(from, count, to);
  } else {
    run_widest(0, count, [from, to](index_t first, index_t last) MIEN_INLINE {
      for (index_t i = first; i < last; ++i) to[i] = T(S(from[i]));
    });
  }
}

/// to[r * to_pitch + i] = from[r * from_pitch + i], converted, for r below rows and i below count.
template <class S, class T>
inline void copy_rows(const S* from, index_t from_pitch, index_t rows, index_t count, T* to, index_t to_pitch) {
  if (from_pitch == count && to_pitch == count) return copy_values(from, rows * count, to);
  if constexpr (std::is_same_v<S, T>) {
    for (index_t r = 0; r < rows; ++r) copy_values(from + r * from_pitch, count, to + r * to_pitch);
  } else {
    run_widest(0, rows, [=](index_t first, index_t last) MIEN_INLINE {
      for (index_t r = first; r < last; ++r)
        for (index_t i = 0; i < count; ++i) to[r * to_pitch + i] = T(from[r * from_pitch + i]);
    });
  }
}

/// How source images become padded ones: row i of the source stands in row i * step + offset of the padded image (so
/// that a step of 2 puts a zero row between two source rows), the same for columns; the rest is zero, and source rows
/// that fall outside are dropped.
struct Placement {
  index_t height, width, channels;  // source
  index_t offset_h, offset_w;       // may be negative
  index_t step_h, step_w;
  index_t padded_height, padded_width;
  /// True where the padded image is the source or a part of its beginning.
  bool is_identity() const {
    return offset_h == 0 && offset_w == 0 && step_h == 1 && step_w == 1 && padded_height <= height &&
           padded_width <= width;
  }
};

/// Writes padded rows [first, last) of one image to `to` (padded_width * channels values per row), `pitch` values apart
/// or, if it is 0, one behind the other.
template <class S, class T>
inline void copy_padded(const Placement& p, const S* image, index_t first, index_t last, T* to, index_t pitch = 0) {
  const index_t row_size = p.padded_width * p.channels;
  if (pitch == 0) pitch = row_size;
  // Source columns that land inside the padded row.
  const index_t v0 = p.offset_w >= 0 ? 0 : (-p.offset_w + p.step_w - 1) / p.step_w;
  index_t v1 = p.padded_width > p.offset_w ? (p.padded_width - 1 - p.offset_w) / p.step_w + 1 : 0;
  if (v1 > p.width) v1 = p.width;
  for (index_t a = first; a < last; ++a, to += pitch) {
    const index_t h = a - p.offset_h;
    if (h < 0 || h % p.step_h != 0 || h / p.step_h >= p.height || v0 >= v1) {
      std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(row_size) * sizeof(T));
      continue;
    }
    const S* row = image + h / p.step_h * p.width * p.channels;
    const index_t left = (v0 * p.step_w + p.offset_w) * p.channels;
    if (p.step_w == 1) {
      const index_t middle = (v1 - v0) * p.channels;
      std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(left) * sizeof(T));
      copy_values(row + v0 * p.channels, middle, to + left);
      std::memset(static_cast<void*>(to + left + middle), 0,
                  static_cast<std::size_t>(row_size - left - middle) * sizeof(T));
    } else {
      std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(row_size) * sizeof(T));
      for (index_t v = v0; v < v1; ++v)
        copy_values(row + v * p.channels, p.channels, to + left + (v - v0) * p.step_w * p.channels);
    }
  }
}

/// Where the weight of (output o, input channel c, tap t) of a group stands, in elements from the group's first.
struct WeightLayout {
  index_t output, depth;  // distance between outputs, between input channels
  index_t taps;           // taps are neighbours
  bool flip;              // tap t is read at taps - 1 - t
};

/// Packs outputs [first, first + valid) of one group as to[t][c][panel], rounded to S, the rest of the panel zero.
/// Returns whether all weights were finite; without `check` perhaps true all the same.
template <class S, class T, class P>
inline bool pack_weights(const WeightLayout& layout, const P* w, index_t first, index_t valid, index_t depth,
                         index_t panel, bool check, T* to) {
  if (!check && layout.taps == 1 && layout.output == 1) {  // rows as they stand
    // Each row may stand in a page of its own, which processors do not fetch ahead of. Where rows are only copied, its
    // first line is enough: they fetch the rest themselves.
    constexpr index_t ahead = 16, step = std::is_same_v<S, P> ? BlockKernels<T>::max_panel : 64 / sizeof(P);
    for (index_t c = 0; c < depth; ++c) {
      const P* row = w + first + c * layout.depth;
      for (index_t k = 0; c + ahead < depth && k < valid; k += step) __builtin_prefetch(row + ahead * layout.depth + k);
      round_values<S>(row, valid, to + c * panel);
      for (index_t k = valid; k < panel; ++k) to[c * panel + k] = T{0};
    }
    return true;
  }
  if (!check && layout.taps == 1 && layout.depth == 1) {  // columns, a cache line of each at a time
    constexpr index_t line = 64 / sizeof(P);
    for (index_t c = 0; c < depth; c += line) {
      const index_t count = depth - c < line ? depth - c : line;
      for (index_t k = 0; k < panel; ++k) {
        T values[line] = {};
        if (k < valid) round_values<S>(w + (first + k) * layout.output + c, count, values);
        for (index_t i = 0; i < count; ++i) to[(c + i) * panel + k] = values[i];
      }
    }
    return true;
  }
  bool bad = false;
  for (index_t c = 0; c < depth; ++c)
    for (index_t t = 0; t < layout.taps; ++t) {
      const P* from = w + first * layout.output + c * layout.depth + (layout.flip ? layout.taps - 1 - t : t);
      T* row = to + (t * depth + c) * panel;
      for (index_t k = 0; k < valid; ++k, from += layout.output) {
        const T value = T(S(*from));
        bad |= !(value * T{0} == T{0});
        row[k] = value;
      }
      for (index_t k = valid; k < panel; ++k) row[k] = T{0};
    }
  return !bad;
}

}  // namespace mien::kernels::detail
