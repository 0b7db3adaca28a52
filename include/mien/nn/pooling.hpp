// MaxPool2d, AveragePool2d, AdaptiveAveragePool2d, GlobalAveragePool.
#pragma once

#include <limits>

#include "mien/kernels/parallel.hpp"
#include "mien/nn/conv2d.hpp"

namespace mien {

namespace detail {

/// Where the windows of a pooling lie; shared by max and average pooling.
struct PoolWindow {
  Extent2 window;
  Extent2 stride;
  Padding padding;

  /// Rows [first, last) of the input that output row i sees, clipped to the image.
  void rows(index_t i, index_t height, index_t& first, index_t& last) const {
    clip(i * stride.height - padding.top, window.height, height, first, last);
  }
  void columns(index_t j, index_t width, index_t& first, index_t& last) const {
    clip(j * stride.width - padding.left, window.width, width, first, last);
  }

 private:
  static void clip(index_t start, index_t extent, index_t limit, index_t& first, index_t& last) {
    first = start > 0 ? start : 0;
    last = start + extent < limit ? start + extent : limit;
  }
};

/// Output extent with PyTorch's ceil mode: rounded up, but no window may start beyond the image and its leading
/// padding.
inline index_t pool_extent(index_t in, index_t before, index_t after, index_t window, index_t stride, bool ceil_mode) {
  const index_t room = in + before + after - window;
  if (room < 0) return 0;
  if (!ceil_mode) return room / stride + 1;
  const index_t out = (room + stride - 1) / stride + 1;
  return (out - 1) * stride >= in + before ? out - 1 : out;
}

inline void check_pool(std::string_view kind, const Features& input, Setup& setup, Extent2 window, Extent2 stride,
                       Padding p) {
  if (input.shape.rank() != 3 || input.shape.size() == 0) {
    setup.reject(kind, input.shape, "(height, width, channels)");
  }
  setup.require(window.height > 0 && window.width > 0 && stride.height > 0 && stride.width > 0, kind,
                "window and stride must be positive");
  setup.require(window.height <= max_extent && window.width <= max_extent && stride.height <= max_extent &&
                    stride.width <= max_extent,
                kind, "window and stride are at most 1,048,576");
  const auto fits = [](index_t padding, index_t extent) { return padding >= 0 && 2 * padding <= extent; };
  setup.require(fits(p.top, window.height) && fits(p.bottom, window.height) && fits(p.left, window.width) &&
                    fits(p.right, window.width),
                kind, "padding must lie between 0 and half the window");
}

}  // namespace detail

/// x (N, H, W, C) -> y (N, Ho, Wo, C): the largest value under each window, NaN if one is there; padding never wins.
/// Ho = (H + top + bottom - window) / stride + 1, rounded down, or up in ceil mode. dx: each dy goes to the first
/// largest value of its window in row order. stride 0 means the window's size. No parameters.
struct MaxPool2d {
  static constexpr std::string_view kind = "MaxPool2d";

  Extent2 window = 2;
  Extent2 stride = 0;
  Padding padding = 0;
  bool ceil_mode = false;

  Features setup(const Features& input, Setup& setup) const {
    const Extent2 step = steps();
    detail::check_pool(kind, input, setup, window, step, padding);
    setup.require(window.height * window.width <= 65536, kind, "a window holds at most 65,536 cells");
    const Shape& s = input.shape;
    const index_t h = detail::pool_extent(s[0], padding.top, padding.bottom, window.height, step.height, ceil_mode);
    const index_t w = detail::pool_extent(s[1], padding.left, padding.right, window.width, step.width, ceil_mode);
    if (h < 1 || w < 1) setup.reject(kind, s, "a padded image at least as large as the window");
    return {{h, w, s[2]}, {}};
  }

  /// Saved: for each output the position in its window, two bytes.
  template <class T>
  Memory memory(const Shape&, const Shape& y, int, bool keep) const {
    return {keep ? padded(static_cast<std::size_t>(y.size()) * sizeof(Index)) : 0, 0};
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    run_forward(x, y, pass.keep ? reinterpret_cast<Index*>(pass.saved.data()) : nullptr, pass);
  }

  template <class T>
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>& pass) const {
    if (dx) run_backward(x.shape(), y.shape(), reinterpret_cast<const Index*>(pass.saved.data()), dy, dx, pass);
  }

  void describe(Describer& d) {
    d.value("window", window);
    d.value("stride", stride);
    d.value("padding", padding);
    d.value("ceil_mode", ceil_mode);
  }

 private:
  using Index = std::uint16_t;

  Extent2 steps() const {
    return {stride.height != 0 ? stride.height : window.height, stride.width != 0 ? stride.width : window.width};
  }

  template <class T>
  void run_forward(TensorView<const T> x, TensorView<T> y, Index* positions, const Pass<T>& pass) const {
    using Bits = typename bits_of<T>::type;
    const Shape in = x.shape(), out = y.shape();
    const detail::PoolWindow windows{window, steps(), padding};
    const index_t c = in[3];
    const auto* from = reinterpret_cast<const Bits*>(x.data());
    auto* to = reinterpret_cast<Bits*>(y.data());
    // One piece is one row of windows.
    kernels::parallel_pieces(pass.threads(), out[0] * out[1], 1, [=, this](index_t row, index_t) MIEN_INLINE {
      const index_t n = row / out[1], i = row % out[1];
      index_t h0 = 0, h1 = 0, w0 = 0, w1 = 0;
      windows.rows(i, in[1], h0, h1);
      const index_t top = i * windows.stride.height - padding.top;
      for (index_t j = 0; j < out[2]; ++j) {
        windows.columns(j, in[2], w0, w1);
        const index_t left = j * windows.stride.width - padding.left;
        Bits* best = to + (row * out[2] + j) * c;
        Index* best_at = positions ? positions + (row * out[2] + j) * c : nullptr;
        for (index_t h = h0; h < h1; ++h)
          for (index_t w = w0; w < w1; ++w) {
            const Bits* value = from + ((n * in[1] + h) * in[2] + w) * c;
            const auto at = static_cast<Index>((h - top) * window.width + (w - left));
            take_larger<T>(value, best, best_at, at, h == h0 && w == w0, c);
          }
      }
    });
  }

  /// best = max(best, value) per channel, recording where it came from. `first`: assign.
  template <class T, class Bits>
  MIEN_INLINE static void take_larger(const Bits* __restrict value, Bits* __restrict best, Index* __restrict best_at,
                                      Index at, bool first, index_t channels) {
    const auto larger = [](Bits a, Bits b) MIEN_INLINE {
      const auto x = bits_of<T>::value(a), y = bits_of<T>::value(b);
      return !(x <= y) && y == y;  // a NaN, once in, stays
    };
    if (first) {
      for (index_t k = 0; k < channels; ++k) best[k] = value[k];
      if (best_at)
        for (index_t k = 0; k < channels; ++k) best_at[k] = at;
    } else if (best_at) {
      for (index_t k = 0; k < channels; ++k) {
        const Bits a = value[k], b = best[k];
        const Index old = best_at[k];
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

  /// cell = up in the channels that `at` won, else 0.
  template <class Bits>
  MIEN_INLINE static void give_to_winner(const Index* __restrict winner, Index at, const Bits* __restrict up,
                                         Bits* __restrict cell, index_t channels) {
    for (index_t k = 0; k < channels; ++k) {
      const Bits value = up[k];
      cell[k] = winner[k] == at ? value : Bits{0};
    }
  }

  template <class T>
  void run_backward(const Shape& in, const Shape& out, const Index* positions, TensorView<const T> dy, TensorView<T> dx,
                    const Pass<T>& pass) const {
    using P = parameter_t<T>;
    using Bits = typename bits_of<T>::type;
    const Extent2 step = steps();
    const bool apart = step.height >= window.height && step.width >= window.width;
    // Each cell lies under one window: all of dx is assigned below.
    const bool covered = step.height == window.height && step.width == window.width &&
                         out[1] * step.height >= in[1] + padding.top && out[2] * step.width >= in[2] + padding.left;
    const index_t c = in[3];
    const detail::PoolWindow windows{window, step, padding};
    const auto* up_bits = reinterpret_cast<const Bits*>(dy.data());
    auto* down_bits = reinterpret_cast<Bits*>(dx.data());
    kernels::parallel_pieces(
        pass.threads(), in[0], 1, [=, up = dy.data(), down = dx.data(), this](index_t n, index_t) MIEN_INLINE {
          const index_t base = n * in[1] * in[2] * c;
          for (index_t k = 0; !covered && k < in[1] * in[2] * c; ++k) down_bits[base + k] = 0;
          for (index_t i = 0; i < out[1]; ++i)
            for (index_t j = 0; j < out[2]; ++j) {
              const index_t o = ((n * out[1] + i) * out[2] + j) * c;
              if (apart) {
                // Windows do not overlap: every cell of this one is compared with the winner, without scattering.
                index_t h0 = 0, h1 = 0, w0 = 0, w1 = 0;
                windows.rows(i, in[1], h0, h1);
                windows.columns(j, in[2], w0, w1);
                for (index_t h = h0; h < h1; ++h)
                  for (index_t w = w0; w < w1; ++w) {
                    const auto at = static_cast<Index>((h - i * step.height + padding.top) * window.width +
                                                       (w - j * step.width + padding.left));
                    give_to_winner(positions + o, at, up_bits + o, down_bits + base + (h * in[2] + w) * c, c);
                  }
              } else {
                for (index_t k = 0; k < c; ++k) {
                  const auto at = static_cast<index_t>(positions[o + k]);
                  const index_t h = i * step.height - padding.top + at / window.width;
                  const index_t w = j * step.width - padding.left + at % window.width;
                  T& cell = down[base + (h * in[2] + w) * c + k];
                  cell = T(P(cell) + P(up[o + k]));
                }
              }
            }
        });
  }
};

namespace detail {

/// y = mean over each window [first, last) of rows and columns that `bounds` gives, divided by `divisor(i, j)`.
/// Bounds: void rows(index_t i, index_t& first, index_t& last), columns alike, P divisor(area).
template <class T, class Bounds>
void average_forward(TensorView<const T> x, TensorView<T> y, const Bounds& bounds, const Pass<T>& pass) {
  using P = parameter_t<T>;
  const Shape in = x.shape(), out = y.shape();
  const index_t c = in[3];
  pass.threads().parallel_for(out[0] * out[1], [=, from = x.data(), to = y.data()](index_t row) {
    const index_t n = row / out[1], i = row % out[1];
    index_t h0 = 0, h1 = 0, w0 = 0, w1 = 0;
    bounds.rows(i, h0, h1);
    for (index_t j = 0; j < out[2]; ++j) {
      bounds.columns(j, w0, w1);
      const P scale = P{1} / bounds.divisor(i, j);
      constexpr index_t lanes = 64;
      for (index_t k0 = 0; k0 < c; k0 += lanes) {
        const index_t count = c - k0 < lanes ? c - k0 : lanes;
        P sum[lanes] = {};
        for (index_t h = h0; h < h1; ++h)
          for (index_t w = w0; w < w1; ++w) {
            const T* value = from + ((n * in[1] + h) * in[2] + w) * c + k0;
            for (index_t k = 0; k < count; ++k) sum[k] += P(value[k]);
          }
        T* cell = to + (row * out[2] + j) * c + k0;
        for (index_t k = 0; k < count; ++k) cell[k] = T(sum[k] * scale);
      }
    }
  });
}

/// dx = sum over the windows that cover each cell of dy / divisor. For bfloat16 a cell under several windows is rounded
/// once per window.
template <class T, class Bounds>
void average_backward(const Shape& in, const Shape& out, TensorView<const T> dy, TensorView<T> dx, const Bounds& bounds,
                      const Pass<T>& pass) {
  using P = parameter_t<T>;
  const index_t c = in[3];
  pass.threads().parallel_for(in[0], [=, up = dy.data(), down = dx.data()](index_t n) {
    T* image = down + n * in[1] * in[2] * c;
    for (index_t k = 0; k < in[1] * in[2] * c; ++k) image[k] = T(P{0});
    for (index_t i = 0; i < out[1]; ++i)
      for (index_t j = 0; j < out[2]; ++j) {
        index_t h0 = 0, h1 = 0, w0 = 0, w1 = 0;
        bounds.rows(i, h0, h1);
        bounds.columns(j, w0, w1);
        const P scale = P{1} / bounds.divisor(i, j);
        const T* share = up + ((n * out[1] + i) * out[2] + j) * c;
        for (index_t h = h0; h < h1; ++h)
          for (index_t w = w0; w < w1; ++w) {
            T* cell = image + (h * in[2] + w) * c;
            for (index_t k = 0; k < c; ++k) cell[k] = T(P(cell[k]) + P(share[k]) * scale);
          }
      }
  });
}

}  // namespace detail

/// x (N, H, W, C) -> y (N, Ho, Wo, C): the mean under each window. Padding counts as zeros and in the divisor, unless
/// count_padding is off. Extents, ceil mode and stride 0 as for MaxPool2d (what ceil mode adds beyond the padding never
/// counts, as in PyTorch). No parameters.
struct AveragePool2d {
  static constexpr std::string_view kind = "AveragePool2d";

  Extent2 window = 2;
  Extent2 stride = 0;
  Padding padding = 0;
  bool ceil_mode = false;
  bool count_padding = true;

  Features setup(const Features& input, Setup& setup) const {
    const Extent2 step = steps();
    detail::check_pool(kind, input, setup, window, step, padding);
    const Shape& s = input.shape;
    const index_t h = detail::pool_extent(s[0], padding.top, padding.bottom, window.height, step.height, ceil_mode);
    const index_t w = detail::pool_extent(s[1], padding.left, padding.right, window.width, step.width, ceil_mode);
    if (h < 1 || w < 1) setup.reject(kind, s, "a padded image at least as large as the window");
    return {{h, w, s[2]}, {}};
  }

  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    detail::average_forward(x, y, bounds<parameter_t<T>>(x.shape()), pass);
  }

  template <class T>
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>& pass) const {
    if (dx) detail::average_backward(x.shape(), y.shape(), dy, dx, bounds<parameter_t<T>>(x.shape()), pass);
  }

  void describe(Describer& d) {
    d.value("window", window);
    d.value("stride", stride);
    d.value("padding", padding);
    d.value("ceil_mode", ceil_mode);
    d.value("count_padding", count_padding);
  }

 private:
  template <class P>
  struct Bounds {
    detail::PoolWindow windows;
    index_t height, width;
    bool count_padding;

    void rows(index_t i, index_t& first, index_t& last) const { windows.rows(i, height, first, last); }
    void columns(index_t j, index_t& first, index_t& last) const { windows.columns(j, width, first, last); }
    P divisor(index_t i, index_t j) const {
      index_t h0 = 0, h1 = 0, w0 = 0, w1 = 0;
      rows(i, h0, h1);
      columns(j, w0, w1);
      if (count_padding) {
        const auto extent = [](index_t start, index_t size, index_t end) {
          return start + size < end ? size : end - start;
        };
        const Padding& p = windows.padding;
        return P(extent(i * windows.stride.height - p.top, windows.window.height, height + p.bottom) *
                 extent(j * windows.stride.width - p.left, windows.window.width, width + p.right));
      }
      return P((h1 - h0) * (w1 - w0));
    }
  };
  Extent2 steps() const {
    return {stride.height != 0 ? stride.height : window.height, stride.width != 0 ? stride.width : window.width};
  }
  template <class P>
  Bounds<P> bounds(const Shape& x) const {
    return {{window, steps(), padding}, x[1], x[2], count_padding};
  }
};

/// x (N, H, W, C) -> y (N, height, width, C): the mean over rows floor(i*H/height) to ceil((i+1)*H/height) and the same
/// columns, as torch.nn.AdaptiveAvgPool2d; windows may overlap, and repeat where the image is smaller. No parameters.
struct AdaptiveAveragePool2d {
  static constexpr std::string_view kind = "AdaptiveAveragePool2d";

  Extent2 output = 1;

  Features setup(const Features& input, Setup& setup) const {
    if (input.shape.rank() != 3 || input.shape.size() == 0) {
      setup.reject(kind, input.shape, "(height, width, channels)");
    }
    setup.require(output.height > 0 && output.width > 0, kind, "the output size must be positive");
    return {{output.height, output.width, input.shape[2]}, {}};
  }

  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    detail::average_forward(x, y, Bounds<parameter_t<T>>{x.shape()[1], x.shape()[2], output}, pass);
  }

  template <class T>
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>& pass) const {
    if (!dx) return;
    detail::average_backward(x.shape(), y.shape(), dy, dx, Bounds<parameter_t<T>>{x.shape()[1], x.shape()[2], output},
                             pass);
  }

  void describe(Describer& d) { d.value("output", output); }

 private:
  template <class P>
  struct Bounds {
    index_t height, width;
    Extent2 output;
    void rows(index_t i, index_t& first, index_t& last) const { split(i, height, output.height, first, last); }
    void columns(index_t j, index_t& first, index_t& last) const { split(j, width, output.width, first, last); }
    static void split(index_t i, index_t in, index_t out, index_t& first, index_t& last) {
      first = i * in / out;
      last = ((i + 1) * in + out - 1) / out;
    }
    P divisor(index_t i, index_t j) const {
      index_t h0 = 0, h1 = 0, w0 = 0, w1 = 0;
      rows(i, h0, h1);
      columns(j, w0, w1);
      return P((h1 - h0) * (w1 - w0));
    }
  };
};

/// x (N, H, W, C) -> y (N, C): the mean over the image. No parameters.
struct GlobalAveragePool {
  static constexpr std::string_view kind = "GlobalAveragePool";

  Features setup(const Features& input, Setup& setup) const {
    if (input.shape.rank() != 3 || input.shape.size() == 0) {
      setup.reject(kind, input.shape, "(height, width, channels)");
    }
    return {{input.shape[2]}, {}};
  }

  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    AdaptiveAveragePool2d{}.forward<T>(x, y.reshaped({x.shape()[0], 1, 1, x.shape()[3]}), pass);
  }

  template <class T>
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx, Gradients<T> g,
                const Pass<T>& pass) const {
    const Shape out{x.shape()[0], 1, 1, x.shape()[3]};
    AdaptiveAveragePool2d{}.backward<T>(x, y.reshaped(out), dy.reshaped(out), dx, g, pass);
  }

  void describe(Describer&) {}
};

}  // namespace mien
