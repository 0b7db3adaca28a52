// How optimizer state and averages come back from a checkpoint: all or nothing, by name.
#pragma once

#include <algorithm>
#include <string>

#include "mien/core/tensor.hpp"

namespace mien::detail {

/// Fills the tensors of `state` (anything with for_each_tensor) from `find(name)`, a TensorView of const elements,
/// empty where there is no such tensor. Everything is checked first: throws FormatError that lists all missing and
/// mis-shaped tensors, and then nothing has changed.
template <class State, class Find>
MIEN_COLD void restore_tensors(State& state, const char* what, Find&& find) {
  std::string problems;
  state.for_each_tensor([&](const std::string& name, auto tensor) {
    const auto source = find(name);
    if (!source) {
      problems += "\n  " + name + ": missing, expected " + tensor.shape().to_string();
    } else if (source.shape() != tensor.shape()) {
      problems += "\n  " + name + ": is " + source.shape().to_string() + ", expected " + tensor.shape().to_string();
    }
  });
  if (!problems.empty()) {
    fail<FormatError>({what, ": the saved state is that of another network, or of other frozen layers:", problems});
  }
  state.for_each_tensor([&](const std::string& name, auto tensor) {
    const auto source = find(name);
    if (source) std::copy(source.begin(), source.end(), tensor.begin());
  });
}

}  // namespace mien::detail
