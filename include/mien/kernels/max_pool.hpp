// The inner loops of max pooling, over the channels of one pixel.
#pragma once

#include <cstdint>

#include "mien/core/bfloat16.hpp"
#include "mien/kernels/parallel.hpp"

namespace mien::kernels {

/// Number of a cell in its window, in row order.
using PoolIndex = std::uint16_t;

/// Gives f the channels [k, k + count) and where to note a cell for each: the own ones of `positions`, or, where nobody
/// wants to know (null), some that are overwritten.
template <class F>
MIEN_INLINE inline void with_positions(PoolIndex* positions, index_t channels, F f) {
  PoolIndex unwanted[64];
  const index_t step = positions != nullptr ? channels : 64;
  for (index_t k = 0; k < channels; k += step)
    f(k, channels - k < step ? channels - k : step, positions != nullptr ? positions : unwanted);
}

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

/// The largest of max(x, 0) in the cells of a window of 2x2 per channel, and which cell that is, as take_larger() has
/// them of rectified values.
template <class T>
MIEN_INLINE inline void take_largest(const typename bits_of<T>::type* __restrict cell0,
                                     const typename bits_of<T>::type* __restrict cell1,
                                     const typename bits_of<T>::type* __restrict cell2,
                                     const typename bits_of<T>::type* __restrict cell3,
                                     typename bits_of<T>::type* __restrict best, PoolIndex* __restrict best_at,
                                     index_t channels) {
  using Bits = typename bits_of<T>::type;
  using Signed = typename bits_of<T>::signed_type;
  constexpr auto nan = static_cast<Signed>(bits_of<T>::infinity + 1);
  // Numbers from zero on are in the order of their bits. All below it count as zero, all NaNs as the one next to
  // infinity: the first of them wins, and keeps its bits.
  const auto order = [](Bits value) MIEN_INLINE {
    const auto size = static_cast<Signed>(value & ~bits_of<T>::sign), given = static_cast<Signed>(value);
    const Signed number = given > 0 ? given : Signed{0};
    return size >= nan ? nan : number;
  };
  const auto larger = [](Signed a, Signed b) MIEN_INLINE { return a > b ? a : b; };
  for (index_t k = 0; k < channels; ++k) {
    const Bits v0 = cell0[k], v1 = cell1[k], v2 = cell2[k], v3 = cell3[k];
    const Signed o0 = order(v0), o1 = order(v1), o2 = order(v2), o3 = order(v3);
    const Signed largest = larger(larger(o0, o1), larger(o2, o3));
    // 1 for cells before the first that is as large. A sum, which GCC vectorizes; not choices among constants.
    const Signed past0 = o0 != largest, past1 = past0 & Signed{o1 != largest}, past2 = past1 & Signed{o2 != largest};
    const Bits late = past2 != 0 ? v3 : v2, early = past0 != 0 ? v1 : v0, first = past1 != 0 ? late : early;
    best[k] = largest == nan ? first : static_cast<Bits>(largest);
    best_at[k] = static_cast<PoolIndex>(past0 + past1 + past2);
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

/// The cells of a window of 2x2: up in the channels that a cell won, if the largest (`out`) is positive, else 0.
template <class T>
MIEN_INLINE inline void give_to_rectified(const PoolIndex* __restrict winner,
                                          const typename bits_of<T>::type* __restrict out,
                                          const typename bits_of<T>::type* __restrict up,
                                          typename bits_of<T>::type* __restrict cell0,
                                          typename bits_of<T>::type* __restrict cell1,
                                          typename bits_of<T>::type* __restrict cell2,
                                          typename bits_of<T>::type* __restrict cell3, index_t channels) {
  using Bits = typename bits_of<T>::type;
  for (index_t k = 0; k < channels; ++k) {
    const Bits given = up[k];  // read in any case: else GCC leaves the loop scalar
    const Bits value = is_positive<T>(out[k]) ? given : Bits{0};
    const PoolIndex at = winner[k];
    cell0[k] = at == 0 ? value : Bits{0};
    cell1[k] = at == 1 ? value : Bits{0};
    cell2[k] = at == 2 ? value : Bits{0};
    cell3[k] = at == 3 ? value : Bits{0};
  }
}

/// y (N, height / 2, width / 2, channels) = the largest of max(x, 0) under windows of 2x2, and in `won` (unless it is
/// null) which cell that is, as MaxPool2d has them. height and width, of x, are even.
template <class T>
void rectify_pooled(index_t batch, index_t height, index_t width, index_t channels, const T* x, T* y, PoolIndex* won,
                    const Threads& threads) {
  using Bits = typename bits_of<T>::type;
  const Bits* from = reinterpret_cast<const Bits*>(x);
  Bits* to = reinterpret_cast<Bits*>(y);
  // One piece is one row of windows.
  parallel_pieces(threads, batch * height / 2, 1, [=](index_t row, index_t) MIEN_INLINE {
    for (index_t j = 0; j < width / 2; ++j) {
      const Bits* top = from + (2 * row * width + 2 * j) * channels;
      const Bits* bottom = top + width * channels;
      const index_t at = (row * (width / 2) + j) * channels;
      with_positions(won != nullptr ? won + at : nullptr, channels,
                     [=](index_t k, index_t count, PoolIndex* best_at) MIEN_INLINE {
                       take_largest<T>(top + k, top + channels + k, bottom + k, bottom + channels + k, to + at + k,
                                       best_at, count);
                     });
    }
  });
}

/// The gradient of that: dx = dy in the cell that won where y is positive, else 0.
template <class T>
void rectify_pooled_backward(index_t batch, index_t height, index_t width, index_t channels, const T* y, const T* dy,
                             const PoolIndex* won, T* dx, const Threads& threads) {
  using Bits = typename bits_of<T>::type;
  const Bits* out = reinterpret_cast<const Bits*>(y);
  const Bits* up = reinterpret_cast<const Bits*>(dy);
  Bits* down = reinterpret_cast<Bits*>(dx);
  parallel_pieces(threads, batch * height / 2, 1, [=](index_t row, index_t) MIEN_INLINE {
    for (index_t j = 0; j < width / 2; ++j) {
      const index_t at = (row * (width / 2) + j) * channels;
      Bits* top = down + (2 * row * width + 2 * j) * channels;
      Bits* bottom = top + width * channels;
      give_to_rectified<T>(won + at, out + at, up + at, top, top + channels, bottom, bottom + channels, channels);
    }
  });
}

}  // namespace mien::kernels
