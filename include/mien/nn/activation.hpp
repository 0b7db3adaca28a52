// Relu, LeakyRelu, Sigmoid, Tanh: elementwise activations, as layers.
#pragma once

#include <cmath>

#include "mien/kernels/max_pool.hpp"
#include "mien/nn/layer.hpp"

namespace mien {

namespace detail {

/// What the elementwise layers share: y[i] = value(x[i]), dx[i] = dy[i] * slope(y[i]), any shape, no parameters.
/// Self::function<P>() has value(P x) and slope(P y); NaN in gives NaN out.
template <class Self>
struct Elementwise {
  Features setup(const Features& input, Setup&) const { return input; }

  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    using P = parameter_t<T>;
    const auto function = static_cast<const Self&>(*this).template function<P>();
    pass.threads().parallel_for(piece_count(x.size()), [&](index_t p) {
      for (index_t i = p * piece; i < std::min(x.size(), (p + 1) * piece); ++i) y[i] = T(function.value(P(x[i])));
    });
  }

  template <class T>
  void backward(TensorView<const T>, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>& pass) const {
    using P = parameter_t<T>;
    if (!dx) return;
    const auto function = static_cast<const Self&>(*this).template function<P>();
    pass.threads().parallel_for(piece_count(y.size()), [&](index_t p) {
      for (index_t i = p * piece; i < std::min(y.size(), (p + 1) * piece); ++i)
        dx[i] = T(P(dy[i]) * function.slope(P(y[i])));
    });
  }

  void describe(Describer&) {}

 private:
  static constexpr index_t piece = kernels::elementwise_piece;
  static index_t piece_count(index_t n) { return (n + piece - 1) / piece; }
};

}  // namespace detail

/// y = max(x, 0), NaN kept; dx = dy where y > 0, else 0 (so 0 at x = 0, as PyTorch). Any shape, no parameters.
struct Relu {
  static constexpr std::string_view kind = "Relu";
  using OverwritesInput = Relu;
  using FusesPool = Relu;

  Features setup(const Features& input, Setup&) const { return input; }

  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    using Bits = typename bits_of<T>::type;
    if (pass.pool) {
      const Shape& s = x.shape();
      return kernels::rectify_pooled(s[0], s[1], s[2], s[3], x.data(), y.data(), pass.pool_positions(), pass.threads());
    }
    const Bits* from = reinterpret_cast<const Bits*>(x.data());
    Bits* to = reinterpret_cast<Bits*>(y.data());
    kernels::for_each_index(pass.threads(), x.size(),
                            [=](index_t i) MIEN_INLINE { to[i] = kernels::rectified<T>(from[i]); });
  }

  template <class T>
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>& pass) const {
    if (!dx) return;
    if (pass.pool) {
      const Shape& s = x.shape();
      return kernels::rectify_pooled_backward(s[0], s[1], s[2], s[3], y.data(), dy.data(), pass.pool_positions(),
                                              dx.data(), pass.threads());
    }
    using Bits = typename bits_of<T>::type;
    const Bits* out = reinterpret_cast<const Bits*>(y.data());
    const Bits* up = reinterpret_cast<const Bits*>(dy.data());
    Bits* down = reinterpret_cast<Bits*>(dx.data());
    kernels::for_each_index(pass.threads(), y.size(), [=](index_t i) MIEN_INLINE {
      const Bits value = up[i];  // read in any case: else GCC leaves the loop scalar
      down[i] = kernels::is_positive<T>(out[i]) ? value : Bits{0};
    });
  }

  void describe(Describer&) {}
};

/// y = x where x > 0, else slope * x, slope from 0 to 1e30.
struct LeakyRelu : detail::Elementwise<LeakyRelu> {
  static constexpr std::string_view kind = "LeakyRelu";
  LeakyRelu(float negative_slope = 0.01f) : slope(negative_slope) {}
  float slope;

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
    // Backward tells the sides apart by y.
    setup.require(slope >= 0 && slope <= 1e30f, kind, "the slope must lie in 0 to 1e30");
    return input;
  }
  template <class P>
  struct Function {
    P below;
    P value(P x) const { return x <= 0 ? below * x : x; }
    P slope(P y) const { return y > 0 ? P{1} : below; }
  };
  template <class P>
  Function<P> function() const {
    return {P(slope)};
  }
  void describe(Describer& d) { d.value("slope", slope); }
};

/// y = 1 / (1 + exp(-x)); dx = dy * y * (1 - y). Saturates to 0 and 1 without overflow.
struct Sigmoid : detail::Elementwise<Sigmoid> {
  static constexpr std::string_view kind = "Sigmoid";
  template <class P>
  struct Function {
    P value(P x) const { return P{1} / (P{1} + std::exp(-x)); }
    P slope(P y) const { return y * (P{1} - y); }
  };
  template <class P>
  Function<P> function() const {
    return {};
  }
};

/// y = tanh(x); dx = dy * (1 - y^2).
struct Tanh : detail::Elementwise<Tanh> {
  static constexpr std::string_view kind = "Tanh";
  template <class P>
  struct Function {
    P value(P x) const { return std::tanh(x); }
    P slope(P y) const { return P{1} - y * y; }
  };
  template <class P>
  Function<P> function() const {
    return {};
  }
};

}  // namespace mien
