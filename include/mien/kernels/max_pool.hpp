// The inner loops of max pooling, over the channels of one pixel.
#pragma once

#include <cstdint>

#include "mien/core/bfloat16.hpp"
#include "mien/kernels/parallel.hpp"

namespace mien::kernels {

/// Number of a cell in its window, in row order.
using PoolIndex = std::uint16_t;

/// best = max(best, value) per channel, recording in best_at (if there is one) where it came from: the first of equals,
/// a NaN once it is there. `first`: assign. Values are given by their bits.
template <class T>
MIEN_INLINE inline void take_larger(const typename bits_of<T>::type* __restrict value,
                                    typename bits_of<T>::type* __restrict best, PoolIndex* __restrict best_at,
                                    PoolIndex at, bool first, index_t channels) {
  using Bits = typename bits_of<T>::type;
  const auto larger = [](Bits a, Bits b) MIEN_INLINE {
    const auto x = bits_of<T>::value(a), y = bits_of<T>::value(b);
    return !(x <= y) && y == y;  // NOLINT(misc-redundant-expression): a NaN, once in, stays
  };
  if (first) {
    for (index_t k = 0; k < channels; ++k) best[k] = value[k];
    if (best_at)
      for (index_t k = 0; k < channels; ++k) best_at[k] = at;
  } else if (best_at) {
    for (index_t k = 0; k < channels; ++k) {
      const Bits a = value[k], b = best[k];
      const PoolIndex old = best_at[k];
      const bool take = larger(a, b);
      best[k] = take ? a : b;
      best_at[k] = take ? at : old;
    }
  } else {
    for (index_t k = 0; k < channels; ++k) {
      const Bits a = value[k], b = best[k];
      best[k] = larger(a, b) ? a : b;
    }
  }
}

/// max(value, 0), NaN kept, by the bits.
template <class T>
MIEN_INLINE inline typename bits_of<T>::type rectified(typename bits_of<T>::type value) {
  using Bits = typename bits_of<T>::type;
  // Zero where the sign is set, unless it is a NaN's.
  return static_cast<Bits>(value - bits_of<T>::sign) <= bits_of<T>::infinity ? Bits{0} : value;
}

/// Whether a number is above zero, by its bits: false for NaN.
template <class T>
MIEN_INLINE inline bool is_positive(typename bits_of<T>::type value) {
  return static_cast<typename bits_of<T>::type>(value - 1) < bits_of<T>::infinity;
}

/// The largest of a window of 2x2 per channel and which cell it is (unless `best_at` is null), as take_larger() has
/// them, for values that a rectifier gave, or (`rectify`) that this one is to rectify: their bits are in order as they
/// stand. A row of the window is two pixels.
template <class T, bool rectify = false>
MIEN_INLINE inline void take_largest(const typename bits_of<T>::type* __restrict top,
                                     const typename bits_of<T>::type* __restrict bottom,
                                     typename bits_of<T>::type* __restrict best, PoolIndex* __restrict best_at,
                                     index_t channels) {
  using Bits = typename bits_of<T>::type;
  struct Cell {
    Bits value, order;
    PoolIndex at;
  };
  const auto cell = [](Bits given, PoolIndex at) MIEN_INLINE {
    const Bits value = rectify ? rectified<T>(given) : given;
    constexpr Bits nan = bits_of<T>::infinity + 1;
    const auto size = static_cast<Bits>(value & ~bits_of<T>::sign);
    return Cell{value, size < nan ? size : nan, at};
  };
  const auto larger = [](const Cell& a, const Cell& b) MIEN_INLINE {
    const bool take = b.order > a.order;
    return Cell{take ? b.value : a.value, take ? b.order : a.order, take ? b.at : a.at};
  };
  const auto largest = [&](index_t k) MIEN_INLINE {
    return larger(larger(larger(cell(top[k], 0), cell(top[channels + k], 1)), cell(bottom[k], 2)),
                  cell(bottom[channels + k], 3));
  };
  if (best_at != nullptr) {
    for (index_t k = 0; k < channels; ++k) {
      const Cell won = largest(k);
      best[k] = won.value;
      best_at[k] = won.at;
    }
  } else {
    for (index_t k = 0; k < channels; ++k) best[k] = largest(k).value;
  }
}

/// cell = up in the channels that `at` won, else 0.
template <class T>
MIEN_INLINE inline void give_to_winner(const PoolIndex* __restrict winner, PoolIndex at,
                                       const typename bits_of<T>::type* __restrict up,
                                       typename bits_of<T>::type* __restrict cell, index_t channels) {
  using Bits = typename bits_of<T>::type;
  for (index_t k = 0; k < channels; ++k) {
    const Bits value = up[k];
    cell[k] = winner[k] == at ? value : Bits{0};
  }
}

/// The cells of a window of 2x2, of which `top` and `bottom` are rows: up in the channels that a cell won, if the
/// largest (`out`) is positive, else 0.
template <class T>
MIEN_INLINE inline void give_to_rectified(const PoolIndex* __restrict winner,
                                          const typename bits_of<T>::type* __restrict out,
                                          const typename bits_of<T>::type* __restrict up,
                                          typename bits_of<T>::type* __restrict top,
                                          typename bits_of<T>::type* __restrict bottom, index_t channels) {
  using Bits = typename bits_of<T>::type;
  for (index_t k = 0; k < channels; ++k) {
    const Bits given = up[k];  // read in any case: else GCC leaves the loop scalar
    const Bits value = is_positive<T>(out[k]) ? given : Bits{0};
    const PoolIndex at = winner[k];
    top[k] = at == 0 ? value : Bits{0};
    top[channels + k] = at == 1 ? value : Bits{0};
    bottom[k] = at == 2 ? value : Bits{0};
    bottom[channels + k] = at == 3 ? value : Bits{0};
  }
}

/// y (N, height / 2, width / 2, channels) = the largest of max(x, 0) under windows of 2x2, and in `won` (unless it is
/// null) which cell that is, as MaxPool2d has them. height and width, of x, are even.
template <class T>
void rectify_pooled(index_t batch, index_t height, index_t width, index_t channels, const T* x, T* y, PoolIndex* won,
                    const Threads& threads) {
  using Bits = typename bits_of<T>::type;
  const auto* from = reinterpret_cast<const Bits*>(x);
  auto* to = reinterpret_cast<Bits*>(y);
  // One piece is one row of windows.
  parallel_pieces(threads, batch * height / 2, 1, [=](index_t row, index_t) MIEN_INLINE {
    for (index_t j = 0; j < width / 2; ++j) {
      const Bits* top = from + (2 * row * width + 2 * j) * channels;
      const index_t at = (row * (width / 2) + j) * channels;
      take_largest<T, true>(top, top + width * channels, to + at, won ? won + at : nullptr, channels);
    }
  });
}

/// The gradient of that: dx = dy in the cell that won where y is positive, else 0.
template <class T>
void rectify_pooled_backward(index_t batch, index_t height, index_t width, index_t channels, const T* y, const T* dy,
                             const PoolIndex* won, T* dx, const Threads& threads) {
  using Bits = typename bits_of<T>::type;
  const auto* out = reinterpret_cast<const Bits*>(y);
  const auto* up = reinterpret_cast<const Bits*>(dy);
  auto* down = reinterpret_cast<Bits*>(dx);
  parallel_pieces(threads, batch * height / 2, 1, [=](index_t row, index_t) MIEN_INLINE {
    for (index_t j = 0; j < width / 2; ++j) {
      const index_t at = (row * (width / 2) + j) * channels;
      Bits* top = down + (2 * row * width + 2 * j) * channels;
      give_to_rectified<T>(won + at, out + at, up + at, top, top + width * channels, channels);
    }
  });
}

}  // namespace mien::kernels
