// Flatten and Softmax.
#pragma once

#include <cmath>

#include "mien/nn/layer.hpp"

namespace mien {

/// x (N, H, W, C) -> y (N, H*W*C), the elements staying as they are: NHWC order. A Dense behind it knows the image's
/// shape, so that its weight's columns stand in PyTorch's (C, H, W) order in model files.
struct Flatten {
  static constexpr std::string_view kind = "Flatten";
  using Inference = Flatten;
  using IgnoresOutput = Flatten;
  using OverwritesInput = Flatten;
  static constexpr bool infers_identity = true;

  MIEN_COLD Features setup(const Features& input, Setup&) const {
    return {{input.shape.size()}, input.shape.rank() == 3 ? input.shape : input.flattened};
  }

  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>&) const {
    std::copy_n(x.data(), x.size(), y.data());
  }

  template <class T>
  void backward(TensorView<const T>, TensorView<const T>, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>&) const {
    if (dx) std::copy_n(dy.data(), dy.size(), dx.data());
  }

  void describe(Describer&) {}
};

/// y = exp(x - max) / sum over the last axis; dx = y * (dy - sum(dy * y)). For training, end the network with logits
/// and use CrossEntropy instead: it is this and the logarithm in one, without loss of digits.
struct Softmax {
  static constexpr std::string_view kind = "Softmax";

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
    if (input.shape.rank() < 1 || input.shape.size() < 1) setup.reject(kind, input.shape, "(..., classes)");
    return input;
  }

  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    using P = parameter_t<T>;
    const index_t width = x.shape().back();
    pass.threads().parallel_for(x.size() / width, [&](index_t row) {
      const T* from = x.data() + row * width;
      T* to = y.data() + row * width;
      P largest = P(from[0]), sum = 0;
      for (index_t k = 1; k < width; ++k) largest = P(from[k]) > largest ? P(from[k]) : largest;
      for (index_t k = 0; k < width; ++k) sum += std::exp(P(from[k]) - largest);
      for (index_t k = 0; k < width; ++k) to[k] = T(std::exp(P(from[k]) - largest) / sum);
    });
  }

  template <class T>
  void backward(TensorView<const T>, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>& pass) const {
    using P = parameter_t<T>;
    if (!dx) return;
    const index_t width = y.shape().back();
    pass.threads().parallel_for(y.size() / width, [&](index_t row) {
      const index_t base = row * width;
      P sum = 0;
      for (index_t k = base; k < base + width; ++k) sum += P(dy[k]) * P(y[k]);
      for (index_t k = base; k < base + width; ++k) dx[k] = T(P(y[k]) * (P(dy[k]) - sum));
    });
  }

  void describe(Describer&) {}
};

}  // namespace mien
