// Per-channel sums and linear maps over a (rows, channels) matrix: what normalization is made of.
#pragma once

#include <span>

#include "mien/core/tensor.hpp"
#include "mien/kernels/parallel.hpp"

namespace mien::kernels {

namespace detail {

inline index_t sum_pieces(index_t rows, index_t channels) {
  const index_t piece = rows_per_piece(channels);
  return (rows + piece - 1) / piece;
}

}  // namespace detail

/// Bytes of scratch for channel_moments and channel_products.
template <class P>
std::size_t channel_sums_bytes(index_t rows, index_t channels) {
  return static_cast<std::size_t>(2 * detail::sum_pieces(rows, channels) * channels) * sizeof(P) + alignment;
}

namespace detail {

/// Runs f(first row, last row, sums a, sums b) per piece of rows, then adds the pieces' sums in order and in double:
/// total(channel, sum of a, sum of b).
template <class P, class F, class Total>
void channel_sums(index_t rows, index_t channels, std::span<std::byte> scratch, const Threads& threads, const F& f,
                  const Total& total) {
  const index_t piece = rows_per_piece(channels), pieces = sum_pieces(rows, channels);
  P* sums = reinterpret_cast<P*>(scratch.data());
  parallel_pieces(threads, rows, piece, [=, &f](index_t first, index_t last) MIEN_INLINE {
    P* a = sums + first / piece * 2 * channels;
    P* b = a + channels;
    for (index_t c = 0; c < 2 * channels; ++c) a[c] = 0;
    f(first, last, a, b);
  });
  for (index_t c = 0; c < channels; ++c) {
    double a = 0, b = 0;
    for (index_t p = 0; p < pieces; ++p) {
      a += static_cast<double>(sums[p * 2 * channels + c]);
      b += static_cast<double>(sums[p * 2 * channels + channels + c]);
    }
    total(c, a, b);
  }
}

}  // namespace detail

/// mean[c] and biased variance[c] of column c of x (rows, channels). Sums are taken of x minus the column's first
/// value, so that a large mean costs no digits; partial sums in P, their totals in double.
template <class T, class P>
void channel_moments(index_t rows, index_t channels, const T* x, P* mean, P* variance, std::span<std::byte> scratch,
                     const Threads& threads) {
  for (index_t c = 0; c < channels; ++c) mean[c] = P(x[c]);  // the shift, until the mean replaces it
  detail::channel_sums<P>(
      rows, channels, scratch, threads,
      [=](index_t first, index_t last, P* __restrict a, P* __restrict b) MIEN_INLINE {
        for (index_t r = first; r < last; ++r) {
          const T* row = x + r * channels;
          for (index_t c = 0; c < channels; ++c) {
            const P d = P(row[c]) - mean[c];
            a[c] += d;
            b[c] += d * d;
          }
        }
      },
      [=](index_t c, double a, double b) {
        const double n = static_cast<double>(rows), m = a / n, v = b / n - m * m;
        mean[c] = static_cast<P>(static_cast<double>(mean[c]) + m);
        variance[c] = static_cast<P>(v < 0 ? 0 : v);  // NaN stays
      });
}

/// What a rectifier behind the normalization makes of dy: dy where the normalized value scale[c] * x + shift[c] is
/// positive, else 0. Without a rectifier (relu = false) dy itself.
template <bool relu, class P>
struct RectifiedGradient {
  const P* scale;
  const P* shift;

  MIEN_INLINE P operator()(P dy, P x, index_t c) const {
    if constexpr (relu) return x * scale[c] + shift[c] > 0 ? dy : P{0};
    return dy;
  }
};

/// sum[c] = sum of up over column c, product[c] = sum of up * (x - mean[c]), up being the rectified dy.
template <bool relu, class T, class P>
void channel_products(index_t rows, index_t channels, const T* x, const P* mean, const T* dy,
                      const RectifiedGradient<relu, P> rectified, P* sum, P* product, std::span<std::byte> scratch,
                      const Threads& threads) {
  detail::channel_sums<P>(
      rows, channels, scratch, threads,
      [=](index_t first, index_t last, P* __restrict a, P* __restrict b) MIEN_INLINE {
        for (index_t r = first; r < last; ++r) {
          const T* value = x + r * channels;
          const T* up = dy + r * channels;
          for (index_t c = 0; c < channels; ++c) {
            const P d = rectified(P(up[c]), P(value[c]), c);
            a[c] += d;
            b[c] += d * (P(value[c]) - mean[c]);
          }
        }
      },
      [=](index_t c, double a, double b) {
        sum[c] = static_cast<P>(a);
        product[c] = static_cast<P>(b);
      });
}

/// y = x * scale[c] + shift[c]; with relu, 0 where that is negative (NaN stays).
template <bool relu, class T, class P>
void scale_shift(index_t rows, index_t channels, const T* x, const P* scale, const P* shift, T* y,
                 const Threads& threads) {
  for_each_element(threads, rows, channels, [=](index_t r, index_t c) MIEN_INLINE {
    const P value = P(x[r * channels + c]) * scale[c] + shift[c];
    y[r * channels + c] = T(relu && value <= 0 ? P{0} : value);
  });
}

/// out = up * from_up[c] + x * from_x[c] + add[c], up being the rectified dy.
template <bool relu, class T, class P>
void combine(index_t rows, index_t channels, const T* dy, const RectifiedGradient<relu, P> rectified, const P* from_up,
             const T* x, const P* from_x, const P* add, T* out, const Threads& threads) {
  for_each_element(threads, rows, channels, [=](index_t r, index_t c) MIEN_INLINE {
    const index_t i = r * channels + c;
    const P value = P(x[i]);
    out[i] = T(rectified(P(dy[i]), value, c) * from_up[c] + value * from_x[c] + add[c]);
  });
}

}  // namespace mien::kernels
