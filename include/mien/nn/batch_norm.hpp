// BatchNorm2d: normalization over batch and image, per channel.
#pragma once

#include <cmath>

#include "mien/kernels/batch_norm.hpp"
#include "mien/nn/layer.hpp"

namespace mien {

/// x (N, ..., C) -> y of the same shape: y = weight * (x - mean) / sqrt(variance + epsilon) + bias per channel C, the
/// last axis. In training mean and (biased) variance are the batch's, and the running statistics move towards it:
/// running = (1 - momentum) * running + momentum * batch, the variance there being the unbiased one, as in PyTorch; in
/// inference and when frozen the running statistics are used and stay. Parameters: weight, bias, running_mean,
/// running_var, each (C). Ioffe and Szegedy, "Batch normalization" (2015). Statistics and sums are kept in float
/// (double for double) whatever T is; training needs at least two values per channel (ShapeError).
///
/// Backward, with xhat = (x - mean) * inverse and m values per channel: dbias = sum dy, dweight = sum dy * xhat,
/// dx = weight * inverse * (dy - dbias / m - xhat * dweight / m); with stored statistics dx = weight * inverse * dy.
struct BatchNorm2d {
  static constexpr std::string_view kind = "BatchNorm2d";
  using Inference = BatchNorm2d;
  using IgnoresOutput = BatchNorm2d;
  using OverwritesInput = BatchNorm2d;
  using FusesRelu = BatchNorm2d;
  using FusesPool = BatchNorm2d;

  float epsilon = 1e-5f;
  float momentum = 0.1f;

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
    setup.require(epsilon > 0 && momentum >= 0 && momentum <= 1, kind, "epsilon > 0 and 0 <= momentum <= 1 wanted");
    if (input.shape.rank() < 1 || input.shape.size() < 1) setup.reject(kind, input.shape, "(..., channels)");
    const Shape channels{input.shape.back()};
    const Shape columns =
        input.shape.rank() == 1 ? input.flattened : Shape{};  // of flattened images, as Dense has them
    setup.parameter({"weight", channels, Role::normalization, Initializer::constant(1), 1, 1, columns});
    setup.parameter({"bias", channels, Role::normalization, Initializer::constant(0), 1, 1, columns});
    setup.parameter({"running_mean", channels, Role::statistic, Initializer::constant(0), 1, 1, columns});
    setup.parameter({"running_var", channels, Role::statistic, Initializer::constant(1), 1, 1, columns});
    return input;
  }

  /// Saved: the batch's mean, variance and 1 / sqrt(variance + epsilon).
  template <class T>
  Memory memory(const Shape& x, const Shape&, int, bool keep) const {
    using P = parameter_t<T>;
    const index_t channels = x.back();
    const index_t rows = x.size() / (channels > 0 ? channels : 1);
    return {keep ? 3 * bytes_of<P>(channels) : 0,
            6 * bytes_of<P>(channels) + kernels::channel_sums_bytes<P>(rows, channels)};
  }

  /// scale and shift, (C) each, of inference: y = x * scale[c] + shift[c].
  template <class T>
  void infer_map(const Pass<T>& pass, parameter_t<T>* scale, parameter_t<T>* shift) const {
    const auto& p = pass.parameters;
    linear_map(pass, p[2].data(), p[3].data(), p[0].size(), scale, scale, shift);
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    using P = parameter_t<T>;
    const index_t channels = x.shape().back(), rows = x.size() / channels;
    Arena scratch(pass.scratch);
    P* scale = scratch.take<P>(channels);
    P* shift = scratch.take<P>(channels);
    const P* mean = pass.parameters[2].data();
    const P* variance = pass.parameters[3].data();
    P* inverse = scratch.take<P>(channels);
    if (pass.training) {
      if (rows < 2)
        fail<ShapeError>("BatchNorm2d needs more than one value per channel in training: a larger batch, or drop_last");
      Arena saved(pass.saved);
      P* batch_mean = saved.take<P>(channels);
      P* batch_variance = saved.take<P>(channels);
      inverse = saved.take<P>(channels);
      kernels::channel_moments(rows, channels, x.data(), batch_mean, batch_variance, scratch.rest(), pass.threads());
      mean = batch_mean;
      variance = batch_variance;
    }
    linear_map(pass, mean, variance, channels, inverse, scale, shift);
    if (pass.pool) {
      kernels::scale_shift_pooled(x.shape()[0], x.shape()[1], x.shape()[2], channels, x.data(), scale, shift, y.data(),
                                  pass.pool_positions(), pass.threads());
    } else if (pass.relu) {
      kernels::scale_shift<true>(rows, channels, x.data(), scale, shift, y.data(), pass.threads());
    } else {
      kernels::scale_shift<false>(rows, channels, x.data(), scale, shift, y.data(), pass.threads());
    }
  }

  template <class T>
  void backward(TensorView<const T> x, TensorView<const T>, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, const Pass<T>& pass) const {
    const index_t channels = x.shape().back();
    const kernels::GivenGradient<T> given{dy.data(), channels};
    if (pass.pool) {
      const kernels::PooledGradient<T> spread{dy.data(), pass.pool_positions(), x.shape()[1], x.shape()[2], channels};
      run_backward<true>(x, spread, dx, gradients, pass);
    } else if (pass.relu) {
      run_backward<true>(x, given, dx, gradients, pass);
    } else {
      run_backward<false>(x, given, dx, gradients, pass);
    }
  }

  void describe(Describer& d) {
    d.value("epsilon", epsilon);
    d.value("momentum", momentum);
  }

 private:
  /// scale and shift of y = x * scale[c] + shift[c], and 1 / sqrt(variance + epsilon), which may go where scale goes.
  template <class P, class T>
  void linear_map(const Pass<T>& pass, const P* mean, const P* variance, index_t channels, P* inverse, P* scale,
                  P* shift) const {
    for (index_t c = 0; c < channels; ++c) {
      const P root = P{1} / std::sqrt(variance[c] + P(epsilon));
      inverse[c] = root;
      scale[c] = pass.parameters[0][c] * root;
      shift[c] = pass.parameters[1][c] - mean[c] * scale[c];
    }
  }

  template <bool relu, class T, class Gradient>
  void run_backward(TensorView<const T> x, const Gradient& dy, TensorView<T> dx, Gradients<T> gradients,
                    const Pass<T>& pass) const {
    using P = parameter_t<T>;
    const index_t channels = x.shape().back(), rows = x.size() / channels;
    Arena scratch(pass.scratch);
    P* sum = scratch.take<P>(channels);      // of dy
    P* product = scratch.take<P>(channels);  // of dy * xhat
    P* scale = scratch.take<P>(channels);
    P* shift = scratch.take<P>(channels);
    P* inverse = scratch.take<P>(channels);
    P* from_x = scratch.take<P>(channels);
    const P* mean = pass.parameters[2].data();
    const P* variance = pass.parameters[3].data();
    if (pass.training) {
      Arena saved(pass.saved);
      mean = saved.take<P>(channels);
      variance = saved.take<P>(channels);
      const P count = P(rows);
      for (index_t c = 0; gradients[2] && c < channels; ++c) {
        gradients[2][c] = (P{1} - P(momentum)) * pass.parameters[2][c] + P(momentum) * mean[c];
      }
      for (index_t c = 0; gradients[3] && c < channels; ++c) {
        gradients[3][c] =
            (P{1} - P(momentum)) * pass.parameters[3][c] + P(momentum) * variance[c] * (count / (count - 1));
      }
    } else {
      // Frozen: the statistics' next value is the one they have.
      for (std::size_t k : {std::size_t{2}, std::size_t{3}})
        for (index_t c = 0; gradients[k] && c < channels; ++c) gradients[k][c] = pass.parameters[k][c];
    }
    if (!dx && !gradients[0] && !gradients[1]) return;
    linear_map(pass, mean, variance, channels, inverse, scale, shift);
    const kernels::RectifiedGradient<relu, P> rectified{scale, shift};
    // Of the image, whether or not a pooling needs it, so that the sums are the same.
    const index_t run = x.shape().rank() == 4 ? x.shape()[2] : 0;
    kernels::channel_products(rows, channels, x.data(), mean, dy, rectified, run, sum, product, scratch.rest(),
                              pass.threads());
    for (index_t c = 0; c < channels; ++c) {
      product[c] *= inverse[c];
      if (gradients[0]) gradients[0][c] = product[c];
      if (gradients[1]) gradients[1][c] = sum[c];
      const P count = P(rows);
      from_x[c] = pass.training ? -scale[c] * inverse[c] * product[c] / count : P{0};
      sum[c] = pass.training ? -scale[c] * sum[c] / count - from_x[c] * mean[c] : P{0};
    }
    // dx = scale * dy + from_x * x + sum: the formula above with x in place of xhat.
    if (dx) {
      kernels::combine(rows, channels, dy, rectified, scale, x.data(), from_x, sum, dx.data(), pass.threads());
    }
  }
};

}  // namespace mien
