// MaxPool2d.
// IWYU pragma: private, include "mien/nn/pooling.hpp"
#pragma once

#include "mien/kernels/max_pool.hpp"
#include "mien/nn/pool_window.hpp"

namespace mien {

/// x (N, H, W, C) -> y (N, Ho, Wo, C): the largest value under each window, NaN if one is there; padding never wins.
/// Ho = (H + top + bottom - window) / stride + 1, rounded down, or up in ceil mode. dx: each dy goes to the first
/// largest value of its window in row order. stride 0 means the window's size. No parameters.
struct MaxPool2d {
  static constexpr std::string_view kind = "MaxPool2d";
  using IgnoresOutput = MaxPool2d;
  using OverwritesInput = MaxPool2d;

  Extent2 window = 2;
  Extent2 stride = 0;
  Padding padding = 0;
  bool ceil_mode = false;

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
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

  /// Whether each cell of x (N, H, W, C) lies under one window of 2x2.
  bool halves(const Shape& x) const {
    const Extent2 step = steps();
    return window.height == 2 && window.width == 2 && step.height == 2 && step.width == 2 && padding.top == 0 &&
           padding.bottom == 0 && padding.left == 0 && padding.right == 0 && x[1] % 2 == 0 && x[2] % 2 == 0;
  }

  void describe(Describer& d) {
    d.value("window", window);
    d.value("stride", stride);
    d.value("padding", padding);
    d.value("ceil_mode", ceil_mode);
  }

 private:
  using Index = kernels::PoolIndex;

  Extent2 steps() const {
    return {stride.height != 0 ? stride.height : window.height, stride.width != 0 ? stride.width : window.width};
  }

  template <class T>
  void run_forward(TensorView<const T> x, TensorView<T> y, Index* positions, const Pass<T>& pass) const {
    using Bits = typename bits_of<T>::type;
    const Shape in = x.shape(), out = y.shape();
    const detail::PoolWindow windows{window, steps(), padding};
    const index_t c = in[3];
    const Bits* from = reinterpret_cast<const Bits*>(x.data());
    Bits* to = reinterpret_cast<Bits*>(y.data());
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
            kernels::take_larger<T>(value, best, best_at, at, h == h0 && w == w0, c);
          }
      }
    });
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
    const Bits* up_bits = reinterpret_cast<const Bits*>(dy.data());
    Bits* down_bits = reinterpret_cast<Bits*>(dx.data());
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
                    kernels::give_to_winner<T>(positions + o, at, up_bits + o, down_bits + base + (h * in[2] + w) * c,
                                               c);
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

}  // namespace mien
