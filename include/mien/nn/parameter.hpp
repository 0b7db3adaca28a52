// Parameters of a network: named tensors in one flat list, to which gradients and optimizer state run parallel.
#pragma once

#include <string>
#include <string_view>

#include "mien/core/tensor.hpp"

namespace mien {

/// What a parameter is for. Statistics (running mean and variance) are not trained: a backward pass writes their next
/// value where a gradient would stand.
enum class Role { weight, bias, normalization, statistic };

/// One parameter. P is parameter_t<T> of the network.
template <class P>
struct Parameter {
  /// PyTorch's name, such as "features.0.weight".
  std::string name;
  Role role = Role::weight;
  /// For the weight of a dense layer that reads a flattened (height, width, channels), and all of a normalization of
  /// one: that shape, else rank 0. Columns, or values, are in NHWC order here and in NCHW order in files.
  Shape columns;
  bool frozen = false;
  Tensor<P> value;

  bool trainable() const { return !frozen && role != Role::statistic; }
};

/// Whether `name` is `prefix` itself, lies below it ("features" covers "features.0.weight"), or prefix is empty.
inline bool covers(std::string_view prefix, std::string_view name) {
  if (prefix.empty() || name == prefix) return true;
  return name.size() > prefix.size() && name.substr(0, prefix.size()) == prefix && name[prefix.size()] == '.';
}

}  // namespace mien
