// Conv2d: two-dimensional convolution (cross-correlation, as in every deep learning library).
#pragma once

#include "mien/nn/convolution.hpp"

namespace mien {

/// x (N, H, W, C) -> y (N, Ho, Wo, filters), Ho = (H + top + bottom - dilation*(kernel-1) - 1) / stride + 1, Wo alike.
/// y[n,i,j,k] = bias[k] + sum over r,s,c of x[n, i*stride + r*dilation - top, j*stride + s*dilation - left, c] *
/// weight[k,c,r,s]. Parameters: weight (filters, C / groups, kernel height, kernel width), bias (filters).
/// groups = C makes it depthwise. Cost: one multiply-add per element of y and of one filter, in each of the three
/// passes. bfloat16: weights are rounded to bfloat16, products summed in float.
struct Conv2d {
  static constexpr std::string_view kind = "Conv2d";
  using Inference = Conv2d;
  using IgnoresOutput = Conv2d;
  using OverwritesInput = Conv2d;

  index_t filters = 1;
  Extent2 kernel = 3;
  Extent2 stride = 1;
  Padding padding = 0;
  Extent2 dilation = 1;
  index_t groups = 1;
  bool bias = true;
  Initializer weight_initializer = Initializer::pytorch();
  Initializer bias_initializer = Initializer::pytorch();

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
    setup.require(filters > 0 && groups > 0, kind, "filters and groups must be positive");
    setup.require(kernel.height > 0 && kernel.width > 0 && stride.height > 0 && stride.width > 0 &&
                      dilation.height > 0 && dilation.width > 0,
                  kind, "kernel, stride and dilation must be positive");
    setup.require(padding.top >= 0 && padding.left >= 0 && padding.bottom >= 0 && padding.right >= 0, kind,
                  "padding must not be negative");
    for (const index_t extent : {kernel.height, kernel.width, stride.height, stride.width, dilation.height,
                                 dilation.width, padding.top, padding.left, padding.bottom, padding.right}) {
      setup.require(extent <= detail::max_extent, kind, "kernel, stride, dilation and padding are at most 1,048,576");
    }
    if (input.shape.rank() != 3 || input.shape.size() == 0) {
      setup.reject(kind, input.shape, "(height, width, channels)");
    }
    const index_t channels = input.shape[2];
    if (channels % groups != 0 || filters % groups != 0) {
      setup.reject(kind, input.shape,
                   "channels and filters (" + std::to_string(filters) +
                       ") to be multiples of groups = " + std::to_string(groups));
    }
    const index_t height = detail::window_extent(input.shape[0], padding.top, padding.bottom, kernel.height,
                                                 stride.height, dilation.height);
    const index_t width =
        detail::window_extent(input.shape[1], padding.left, padding.right, kernel.width, stride.width, dilation.width);
    if (height < 1 || width < 1) setup.reject(kind, input.shape, "a padded image at least as large as the kernel");
    // Refuses what is too large before the products below could overflow.
    const Shape weight{filters, channels / groups, kernel.height, kernel.width};
    const index_t window = kernel.height * kernel.width;
    const index_t fan_in = channels / groups * window, fan_out = filters / groups * window;
    setup.parameter({"weight", weight, Role::weight, weight_initializer, fan_in, fan_out, {}});
    if (bias) setup.parameter({"bias", {filters}, Role::bias, bias_initializer, fan_in, fan_out, {}});
    return {{height, width, filters}, {}};
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
    d.value("filters", filters);
    d.value("kernel", kernel);
    d.value("stride", stride);
    d.value("padding", padding);
    d.value("dilation", dilation);
    d.value("groups", groups);
    d.value("bias", bias);
  }

 private:
  kernels::ConvGeometry geometry(const Shape& x) const {
    return {x[0],           x[1],         x[2],        x[3],         filters,        kernel.height, kernel.width,
            stride.height,  stride.width, padding.top, padding.left, padding.bottom, padding.right, dilation.height,
            dilation.width, groups};
  }
};

}  // namespace mien
