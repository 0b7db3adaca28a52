// ModelLimits: how much a model file may ask for, checked before memory is taken for it.
#pragma once

#include <algorithm>

#include "mien/io/network_json.hpp"

namespace mien {

/// What the network of a model file may cost at most. A few hundred bytes of JSON can describe a network of any size,
/// and reading a file runs its self test, one inference.
struct ModelLimits {
  /// Values of one input, and of one output.
  double sample = 1 << 24;
  /// Values that all layers together give for one input.
  double values = 1 << 28;
  /// Multiply-adds of one inference. ResNet-152 on 224x224 takes 1.2e10.
  double multiply_adds = 1e11;
  /// Bytes of working memory for one inference of one picture.
  std::size_t bytes = std::size_t{1} << 30;
  /// Bytes of the file.
  std::size_t file = std::size_t{1} << 31;
  /// Of the JSON that describes it.
  JsonLimits json = {.bytes = std::size_t{8} << 20};
};

namespace detail {

/// In double, where the products of what a file may name cannot overflow.
struct ModelCost {
  double values = 0, multiply_adds = 0;
};

inline double real_size(const Shape& shape) { return static_cast<double>(shape.size()); }

/// Adds what the layers of `chain`, which has been set up, cost on one input sample.
template <class T>
MIEN_COLD void add_cost(Sequential<T>& chain, const Shape& input, ModelCost& cost) {
  Shape in = input;
  for (index_t i = 0; i < chain.layer_count(); ++i) {
    const Shape& out = chain.shape_after(i + 1);
    cost.values += real_size(out);
    JsonDescriber described;
    chain.layer(i).describe(described);
    const JsonView json(described.json);
    const auto setting = [&](const char* name) {
      return json.contains(name) ? static_cast<double>(json[name].as_integer()) : 0;
    };
    if (chain.layer_kind(i) == Conv2d::kind) {
      const double width = static_cast<double>(in[1]) + setting("padding_left") + setting("padding_right");
      const double height = static_cast<double>(in[0]) + setting("padding_top") + setting("padding_bottom");
      const double channels = static_cast<double>(in[2]);
      cost.values += width * height * channels;  // kernels may copy the padded image
      cost.multiply_adds +=
          real_size(out) * setting("kernel_height") * setting("kernel_width") * channels / setting("groups");
    } else if (chain.layer_kind(i) == Dense::kind) {
      cost.multiply_adds += real_size(out) * real_size(in);
    } else {
      const double window = std::max(1.0, setting("window_height")) * std::max(1.0, setting("window_width"));
      cost.multiply_adds += real_size(in) + real_size(out) * window;
    }
    for (auto& [name, branch] : chain.layer(i).branches()) add_cost(*branch, in, cost);
    in = out;
  }
}

/// Throws FormatError if one inference of `chain`, which has been set up for `input`, goes over `limits`.
template <class T>
MIEN_COLD void check_cost(Sequential<T>& chain, const Shape& input, const ModelLimits& limits) {
  const Shape& output = chain.shape_after(chain.layer_count());
  if (real_size(input) > limits.sample || real_size(output) > limits.sample) {
    fail<FormatError>({"its input ", input, " or output ", output, " has more than ",
                       static_cast<std::int64_t>(limits.sample), " values"});
  }
  ModelCost cost;
  add_cost(chain, input, cost);
  if (cost.values > limits.values) {
    fail<FormatError>({"for an input of shape ", input, " its layers give more than ",
                       static_cast<std::int64_t>(limits.values), " values"});
  }
  if (cost.multiply_adds > limits.multiply_adds) {
    fail<FormatError>({"one inference takes ", Json(cost.multiply_adds).write(), " multiply-adds, more than ",
                       Json(limits.multiply_adds).write()});
  }
  // Sums of as many values as were allowed above: they cannot overflow.
  const std::size_t bytes = chain.memory_of(input.with_batch(1), 1, false).scratch;
  if (bytes > limits.bytes) {
    fail<FormatError>({"one inference takes ", bytes >> 20, " MB of memory, more than ", limits.bytes >> 20});
  }
}

}  // namespace detail

}  // namespace mien
