// Dense: a fully connected layer.
#pragma once

#include "mien/nn/convolution.hpp"

namespace mien {

/// x (N, C) -> y (N, units); an image (N, H, W, C) is read as (N, H*W*C).
/// y[n,k] = bias[k] + sum over c of x[n,c] * weight[k,c]. Parameters: weight (units, C), bias (units).
/// Computed as a 1x1 convolution over one image whose pixels are the batch. In model files the columns of a layer that
/// reads flattened images stand in PyTorch's (C, H, W) order.
struct Dense {
  static constexpr std::string_view kind = "Dense";
  using Inference = Dense;
  using IgnoresOutput = Dense;
  using OverwritesInput = Dense;

  index_t units = 1;
  bool bias = true;
  Initializer weight_initializer = Initializer::pytorch();
  Initializer bias_initializer = Initializer::pytorch();

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
    setup.require(units > 0, kind, "units must be positive");
    if (input.shape.rank() < 1 || input.shape.size() < 1) setup.reject(kind, input.shape, "at least one feature");
    const index_t inputs = input.shape.size();
    const Shape columns = input.shape.rank() == 3 ? input.shape : input.flattened;
    setup.parameter({"weight", {units, inputs}, Role::weight, weight_initializer, inputs, units, columns});
    if (bias) setup.parameter({"bias", {units}, Role::bias, bias_initializer, inputs, units, {}});
    return {{units}, {}};
  }

  template <class T>
  Memory memory(const Shape& x, const Shape&, int threads, bool keep) const {
    return detail::convolution_memory<T>(geometry(x), threads, keep);
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    detail::convolution_forward(geometry(x.shape()), x, y, pass);
  }

  template <class T>
  static constexpr bool infers(bool scales) {
    return kernels::conv2d_infers<T>(scales);
  }

  template <class T>
  bool infer(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass,
             const kernels::Epilogue<parameter_t<T>>& epilogue) const {
    return detail::convolution_infer(geometry(x.shape()), x, y, pass, epilogue);
  }

  template <class T>
  void backward(TensorView<const T> x, TensorView<const T>, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, const Pass<T>& pass) const {
    detail::convolution_backward(geometry(x.shape()), x, dy, dx, gradients, pass);
  }

  void describe(Describer& d) {
    d.value("units", units);
    d.value("bias", bias);
  }

 private:
  kernels::ConvGeometry geometry(const Shape& x) const {
    kernels::ConvGeometry g;
    g.width = x[0];
    g.channels = x.without_batch().size();
    g.filters = units;
    return g;
  }
};

}  // namespace mien
