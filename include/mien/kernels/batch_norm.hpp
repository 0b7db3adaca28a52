// Per-channel sums and linear maps over a (rows, channels) matrix: what normalization is made of.
#pragma once

#include <span>

#include "mien/core/tensor.hpp"
#include "mien/kernels/max_pool.hpp"
#include "mien/kernels/round_row.hpp"

namespace mien::kernels {

namespace detail {

/// Rows that are taken as one of more channels, so that loops over channels are long and sums in memory do not wait for
/// the row before: a power of two that divides `rows` and `limit`.
inline index_t joined_rows(index_t rows, index_t channels, index_t limit = 0) {
  index_t joined = 1;
  while (2 * joined * channels <= row_values && rows % (2 * joined) == 0 && limit % (2 * joined) == 0) joined *= 2;
  return joined;
}

/// Values per channel, for each of the joined rows.
template <class P>
class JoinedValues {
 public:
  JoinedValues(const P* values, index_t channels, index_t joined) : given_(joined == 1 ? values : nullptr) {
    for (index_t j = 0; j < joined && joined > 1; ++j)
      for (index_t c = 0; c < channels; ++c) held_[j * channels + c] = values[c];
  }
  const P* data() const { return given_ != nullptr ? given_ : held_; }

 private:
  const P* given_;
  alignas(64) P held_[row_values];
};

inline index_t sum_pieces(index_t rows, index_t channels) {
  const index_t piece = rows_per_piece(channels);
  return (rows + piece - 1) / piece;
}

}  // namespace detail

/// Bytes of scratch for channel_moments and channel_products.
template <class P>
std::size_t channel_sums_bytes(index_t rows, index_t channels) {
  std::size_t largest = 0;
  for (index_t joined = detail::joined_rows(rows, channels); joined > 0; joined /= 2) {
    const index_t wide = joined * channels;
    const auto bytes = static_cast<std::size_t>(2 * detail::sum_pieces(rows / joined, wide) * wide) * sizeof(P);
    largest = bytes > largest ? bytes : largest;
  }
  return largest + alignment;
}

namespace detail {

/// Runs f(first row, last row, sums a, sums b) per piece of rows of `joined` * `channels`, then adds the pieces' sums
/// in order and in double: total(channel, sum of a, sum of b).
template <class P, class F, class Total>
void channel_sums(index_t rows, index_t channels, index_t joined, std::span<std::byte> scratch, const Threads& threads,
                  const F& f, const Total& total) {
  const index_t wide = joined * channels, piece = rows_per_piece(wide), pieces = sum_pieces(rows, wide);
  P* sums = reinterpret_cast<P*>(scratch.data());
  parallel_pieces(threads, rows, piece, [=, &f](index_t first, index_t last) MIEN_INLINE {
    P* a = sums + first / piece * 2 * wide;
    P* b = a + wide;
    for (index_t c = 0; c < 2 * wide; ++c) a[c] = 0;
    f(first, last, a, b);
  });
  for (index_t c = 0; c < channels; ++c) {
    double a = 0, b = 0;
    for (index_t p = 0; p < pieces; ++p)
      for (index_t j = c; j < wide; j += channels) {
        a += static_cast<double>(sums[p * 2 * wide + j]);
        b += static_cast<double>(sums[p * 2 * wide + wide + j]);
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
  const index_t joined = detail::joined_rows(rows, channels), wide = joined * channels;
  const detail::JoinedValues<P> shifts(mean, channels, joined);
  detail::channel_sums<P>(
      rows / joined, channels, joined, scratch, threads,
      [=, shift = shifts.data()](index_t first, index_t last, P* __restrict a, P* __restrict b) MIEN_INLINE {
        for (index_t r = first; r < last; ++r) {
          const T* row = x + r * wide;
          for (index_t c = 0; c < wide; ++c) {
            const P d = P(row[c]) - shift[c];
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

/// dy as it stands, row by row.
template <class T>
struct GivenGradient {
  const T* dy;
  index_t channels;

  struct Rows {
    const T* row;
    index_t channels;
    MIEN_INLINE const T* at(index_t c, index_t, T*) const { return row + c; }
    MIEN_INLINE void next() { row += channels; }
  };
  /// From row `first` on, of `joined` pixels each.
  MIEN_INLINE Rows rows(index_t first, index_t joined) const {
    return {dy + first * joined * channels, joined * channels};
  }
  /// What `joined` has to divide.
  index_t run() const { return 0; }
};

/// What dy of a max pooling of 2x2 is at its input: dy (N, height / 2, width / 2, channels) in the cells that won,
/// `won` saying which, else 0. Rows are pixels of images of `height` x `width`, both even.
template <class T>
struct PooledGradient {
  const T* dy;
  const PoolIndex* won;
  index_t height, width, channels;

  struct Rows {
    PooledGradient from;
    index_t joined, h, w;  // h counts on from image to image
    /// Values [c, c + count) of the row, in `held`.
    MIEN_INLINE const T* at(index_t c, index_t count, T* held) const {
      using Bits = typename bits_of<T>::type;
      const index_t each = joined > 1 ? from.channels : count;
      index_t pooled = (h / 2 * (from.width / 2) + w / 2) * from.channels + c;
      for (index_t j = 0; j < joined; ++j) {
        give_to_winner<T>(from.won + pooled, static_cast<PoolIndex>(h % 2 * 2 + (w + j) % 2),
                          reinterpret_cast<const Bits*>(from.dy + pooled), reinterpret_cast<Bits*>(held + j * each),
                          each);
        pooled += (w + j) % 2 * from.channels;
      }
      return held;
    }
    MIEN_INLINE void next() {
      w += joined;
      if (w < from.width) return;
      w = 0;
      ++h;
    }
  };
  MIEN_INLINE Rows rows(index_t first, index_t joined) const {
    return {*this, joined, first * joined / width, first * joined % width};
  }
  index_t run() const { return width; }
};

namespace detail {

/// f(row, first value, number of values, their dy) for rows [first, last) of `joined` * `channels` values.
template <class T, class Gradient, class F>
MIEN_INLINE inline void for_each_gradient(index_t first, index_t last, index_t channels, index_t joined,
                                          const Gradient& gradient, const F& f) {
  auto rows = gradient.rows(first, joined);
  T held[row_values];
  const index_t wide = joined * channels;
  for (index_t r = first; r < last; ++r, rows.next())
    for (index_t c = 0; c < wide; c += row_values) {
      const index_t count = wide - c < row_values ? wide - c : row_values;
      f(r, c, count, rows.at(c, count, held));
    }
}

}  // namespace detail

/// sum[c] = sum of up over column c, product[c] = sum of up * (x - mean[c]), up being the rectified gradient. `run`:
/// rows that make a line of an image (or 0), which decides in what order is added; it is that of the gradient.
template <bool relu, class T, class Gradient, class P>
void channel_products(index_t rows, index_t channels, const T* x, const P* mean, const Gradient& gradient,
                      const RectifiedGradient<relu, P> rectified, index_t run, P* sum, P* product,
                      std::span<std::byte> scratch, const Threads& threads) {
  const index_t joined = detail::joined_rows(rows, channels, run), wide = joined * channels;
  const detail::JoinedValues<P> means(mean, channels, joined), scales(rectified.scale, channels, joined),
      shifts(rectified.shift, channels, joined);
  const RectifiedGradient<relu, P> rectify{scales.data(), shifts.data()};
  detail::channel_sums<P>(
      rows / joined, channels, joined, scratch, threads,
      [=, middle = means.data()](index_t first, index_t last, P* sum_up, P* sum_product) MIEN_INLINE {
        // restrict counts where it stands at parameters: without it fp32 is added one by one.
        const auto add = [=](index_t c0, index_t count, const T* up, const T* value, P* __restrict a, P* __restrict b)
                             MIEN_INLINE {
                               for (index_t c = 0; c < count; ++c) {
                                 const P d = rectify(P(up[c]), P(value[c]), c0 + c);
                                 a[c] += d;
                                 b[c] += d * (P(value[c]) - middle[c0 + c]);
                               }
                             };
        detail::for_each_gradient<T>(first, last, channels, joined, gradient,
                                     [=](index_t r, index_t c0, index_t count, const T* up) MIEN_INLINE {
                                       add(c0, count, up, x + r * wide + c0, sum_up + c0, sum_product + c0);
                                     });
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
  const index_t joined = detail::joined_rows(rows, channels), wide = joined * channels;
  const detail::JoinedValues<P> scales(scale, channels, joined), shifts(shift, channels, joined);
  parallel_pieces(threads, rows / joined, rows_per_piece(wide),
                  [=, by = scales.data(), plus = shifts.data(), rounds = rounds_rows()](index_t first, index_t last)
                      MIEN_INLINE {
                        for (index_t r = first; r < last; ++r)
                          for (index_t c0 = 0; c0 < wide; c0 += row_values) {
                            const T* from = x + r * wide + c0;
                            write_row<P>(wide - c0 < row_values ? wide - c0 : row_values, y + r * wide + c0, rounds,
                                         [=](index_t c) MIEN_INLINE {
                                           const P value = P(from[c]) * by[c0 + c] + plus[c0 + c];
                                           return relu && value <= 0 ? P{0} : value;
                                         });
                          }
                      });
}

/// y (N, height / 2, width / 2, channels) = the largest of scale_shift() with relu under windows of 2x2, and in `won`
/// (unless it is null) which cell that is, as MaxPool2d has them. height and width, of x, are even.
template <class T, class P>
void scale_shift_pooled(index_t batch, index_t height, index_t width, index_t channels, const T* x, const P* scale,
                        const P* shift, T* y, PoolIndex* won, const Threads& threads) {
  using Bits = typename bits_of<T>::type;
  const index_t joined = detail::joined_rows(width, channels), wide = joined * channels;
  const detail::JoinedValues<P> scales(scale, channels, joined), shifts(shift, channels, joined);
  // One piece is one row of windows; `joined` windows of 2x2 pixels, or parts of one, are mapped at once.
  parallel_pieces(threads, batch * height / 2, 1,
                  [=, by = scales.data(), plus = shifts.data(), rounds = rounds_rows()](index_t row, index_t)
                      MIEN_INLINE {
                        alignas(64) T held[2][row_values];
                        PoolIndex unwanted[row_values / 2];
                        const index_t step = joined > 1 ? joined / 2 : 1;
                        for (index_t j = 0; j < width / 2; j += step)
                          for (index_t c0 = 0; c0 < channels; c0 += row_values / 2) {
                            // Of the values held of a row, `count` belong to each pixel.
                            const index_t rest = channels - c0, count = rest < row_values / 2 ? rest : row_values / 2;
                            for (index_t half = 0; half < 2; ++half) {
                              const T* value = x + ((2 * row + half) * width + 2 * j) * channels + c0;
                              const auto map = [=](const T* from, index_t n, T* to) MIEN_INLINE {
                                write_row<P>(n, to, rounds, [=](index_t c) MIEN_INLINE {
                                  const P mapped = P(from[c]) * by[c0 + c] + plus[c0 + c];
                                  return mapped <= 0 ? P{0} : mapped;
                                });
                              };
                              if (joined > 1) {
                                map(value, wide, held[half]);
                              } else {
                                map(value, count, held[half]);
                                map(value + channels, count, held[half] + count);
                              }
                            }
                            for (index_t q = 0; q < step; ++q) {
                              const index_t to = (row * (width / 2) + j + q) * channels + c0;
                              const Bits* top = reinterpret_cast<const Bits*>(held[0] + 2 * q * count);
                              const Bits* bottom = reinterpret_cast<const Bits*>(held[1] + 2 * q * count);
                              take_largest<T>(top, top + count, bottom, bottom + count, reinterpret_cast<Bits*>(y + to),
                                              won != nullptr ? won + to : unwanted, count);
                            }
                          }
                      });
}

/// out = up * from_up[c] + x * from_x[c] + add[c], up being the rectified gradient.
template <bool relu, class T, class Gradient, class P>
void combine(index_t rows, index_t channels, const Gradient& gradient, const RectifiedGradient<relu, P> rectified,
             const P* from_up, const T* x, const P* from_x, const P* add, T* out, const Threads& threads) {
  const index_t joined = detail::joined_rows(rows, channels, gradient.run()), wide = joined * channels;
  const detail::JoinedValues<P> scales(rectified.scale, channels, joined), shifts(rectified.shift, channels, joined),
      by_up(from_up, channels, joined), by_x(from_x, channels, joined), plus(add, channels, joined);
  const RectifiedGradient<relu, P> rectify{scales.data(), shifts.data()};
  parallel_pieces(threads, rows / joined, rows_per_piece(wide),
                  [=, u = by_up.data(), v = by_x.data(), w = plus.data(), rounds = rounds_rows()](
                      index_t first, index_t last) MIEN_INLINE {
                    detail::for_each_gradient<T>(first, last, channels, joined, gradient,
                                                 [=](index_t r, index_t c0, index_t count, const T* up) MIEN_INLINE {
                                                   const T* from = x + r * wide + c0;
                                                   T* to = out + r * wide + c0;
                                                   write_row<P>(count, to, rounds, [=](index_t c) MIEN_INLINE {
                                                     const P value = P(from[c]);
                                                     return rectify(P(up[c]), value, c0 + c) * u[c0 + c] +
                                                            value * v[c0 + c] + w[c0 + c];
                                                   });
                                                 });
                  });
}

}  // namespace mien::kernels
