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

/// The largest of a window of 2x2 per channel and which cell it is (unless `best_at` is null), as take_larger() has
/// them, for values that a rectifier gave: their bits are in order as they stand. A row of the window is two pixels.
template <class T>
MIEN_INLINE inline void take_largest(const typename bits_of<T>::type* __restrict top,
                                     const typename bits_of<T>::type* __restrict bottom,
                                     typename bits_of<T>::type* __restrict best, PoolIndex* __restrict best_at,
                                     index_t channels) {
  using Bits = typename bits_of<T>::type;
  struct Cell {
    Bits value, order;
    PoolIndex at;
  };
  const auto cell = [](Bits value, PoolIndex at) MIEN_INLINE {
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

}  // namespace mien::kernels
