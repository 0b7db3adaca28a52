// Initial values of parameters: Glorot, He, PyTorch's defaults, constants.
#pragma once

#include <cmath>

#include "mien/core/random.hpp"
#include "mien/core/tensor.hpp"

namespace mien {

/// Recipe for the initial values of one parameter. fan_in and fan_out are the numbers of inputs and outputs that one
/// unit is connected to (for a convolution: channels or filters times the window, per group).
struct Initializer {
  enum class Kind { constant, normal, uniform };
  enum class Scale { absolute, fan_in, fan_out, fan_average };

  Kind kind = Kind::uniform;
  Scale scale = Scale::fan_in;
  /// `constant`: the value. Else the standard deviation (normal) or half-width (uniform), for scale `absolute` as it
  /// is, otherwise `value / sqrt(fan)`.
  float value = 1;

  static Initializer constant(float value) { return {Kind::constant, Scale::absolute, value}; }
  static Initializer normal(float deviation) { return {Kind::normal, Scale::absolute, deviation}; }
  static Initializer uniform(float half_width) { return {Kind::uniform, Scale::absolute, half_width}; }
  /// Variance 2 / fan: He et al., "Delving deep into rectifiers" (2015).
  static Initializer he_normal(Scale fan = Scale::fan_in) { return {Kind::normal, fan, std::sqrt(2.0f)}; }
  static Initializer he_uniform(Scale fan = Scale::fan_in) { return {Kind::uniform, fan, std::sqrt(6.0f)}; }
  /// Variance 2 / (fan_in + fan_out): Glorot and Bengio, "Understanding the difficulty ..." (2010).
  static Initializer glorot_normal() { return {Kind::normal, Scale::fan_average, 1}; }
  static Initializer glorot_uniform() { return {Kind::uniform, Scale::fan_average, std::sqrt(3.0f)}; }
  /// What torch.nn.Conv2d and torch.nn.Linear use for weight and bias: uniform in +-1/sqrt(fan_in).
  static Initializer pytorch() { return {Kind::uniform, Scale::fan_in, 1}; }

  /// Assigns `values`: value i is drawn from index i of `random`.
  template <class P>
  void fill(TensorView<P> values, index_t fan_in, index_t fan_out, const Random& random) const {
    double fan = 1;
    if (scale == Scale::fan_in) fan = static_cast<double>(fan_in);
    if (scale == Scale::fan_out) fan = static_cast<double>(fan_out);
    if (scale == Scale::fan_average) fan = 0.5 * static_cast<double>(fan_in + fan_out);
    const auto width = static_cast<float>(value / std::sqrt(fan > 0 ? fan : 1));
    for (index_t i = 0; i < values.size(); ++i) {
      const auto index = static_cast<std::uint64_t>(i);
      if (kind == Kind::constant) values[i] = P(value);
      if (kind == Kind::normal) values[i] = P(width * random.normal(index));
      if (kind == Kind::uniform) values[i] = P(random.uniform(index, -width, width));
    }
  }
};

}  // namespace mien
