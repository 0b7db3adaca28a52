// AveragePool2d, AdaptiveAveragePool2d, GlobalAveragePool.
// IWYU pragma: private, include "mien/nn/pooling.hpp"
#pragma once

#include "mien/nn/pool_window.hpp"

namespace mien {

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

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
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

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
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

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
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
