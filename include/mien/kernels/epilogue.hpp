// What follows a convolution in inference, done to its results while they are in registers or in the first cache.
#pragma once

#include "mien/kernels/max_pool.hpp"
#include "mien/kernels/parallel.hpp"

namespace mien::kernels {

/// result * scale[k] + shift[k] for output k (unless null; both are or neither), then max(result, 0), NaN kept, then
/// the largest of each window of 2x2 (only behind relu).
template <class P>
struct Epilogue {
  const P* scale = nullptr;
  const P* shift = nullptr;
  bool relu = false;
  bool pool = false;

  bool is_empty() const { return scale == nullptr && !relu; }
};

namespace detail {

/// The epilogue up to pooling, in place, for `rows` rows, `pitch` apart, of the results of `count` outputs from `first`
/// on.
template <class P>
__attribute__((noinline)) void finish_rows(const Epilogue<P>& epilogue, index_t first, index_t rows, index_t count,
                                           P* results, index_t pitch) {
  if (epilogue.is_empty()) return;
  run_vectorized(0, rows, [=](index_t begin, index_t end) MIEN_INLINE {
    const bool scaled = epilogue.scale != nullptr, relu = epilogue.relu;
    const P* __restrict scale = scaled ? epilogue.scale + first : nullptr;
    const P* __restrict shift = scaled ? epilogue.shift + first : nullptr;
    for (index_t r = begin; r < end; ++r) {
      P* __restrict row = results + r * pitch;
      if (!scaled) {
        auto* bits = reinterpret_cast<typename bits_of<P>::type*>(row);
        for (index_t k = 0; k < count; ++k) bits[k] = rectified<P>(bits[k]);
      } else {
        for (index_t k = 0; k < count; ++k) {
          const P value = row[k] * scale[k] + shift[k];
          row[k] = (relu & (value <= 0)) ? P{0} : value;
        }
      }
    }
  });
}

}  // namespace detail

}  // namespace mien::kernels
