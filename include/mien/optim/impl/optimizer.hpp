// Settings of optimizers: definitions for mien/optim/optimizer.hpp. Private.
#pragma once

#include <cmath>
#include <string>

#include "mien/optim/optimizer.hpp"

namespace mien {

MIEN_COLD MIEN_BODY void Optimizer::check() const {
  require(learning_rate_ >= 0 && std::isfinite(learning_rate_), "learning_rate", learning_rate_, "finite and >= 0");
  require(weight_decay_ >= 0 && std::isfinite(weight_decay_), "weight_decay", weight_decay_, "finite and >= 0");
  require(clip_norm >= 0, "clip_norm", clip_norm, ">= 0, 0 for off");
  require(clip_value >= 0, "clip_value", clip_value, ">= 0, 0 for off");
  if (method_ == Method::sgd) {
    require(sgd_.momentum >= 0 && sgd_.momentum < 1, "momentum", sgd_.momentum, "in [0, 1)");
    require(!sgd_.nesterov || sgd_.momentum > 0, "momentum", sgd_.momentum, "above 0 with nesterov");
  } else {
    require(adam_.beta1 >= 0 && adam_.beta1 < 1, "beta1", adam_.beta1, "in [0, 1)");
    require(adam_.beta2 >= 0 && adam_.beta2 < 1, "beta2", adam_.beta2, "in [0, 1)");
    require(adam_.epsilon > 0 && std::isfinite(adam_.epsilon), "epsilon", adam_.epsilon, "finite and > 0");
    require(adam_.learning_rate_decay >= 0 && std::isfinite(adam_.learning_rate_decay), "learning_rate_decay",
            adam_.learning_rate_decay, "finite and >= 0");
  }
  for (const ParameterGroup& group : groups) {
    require(group.learning_rate_scale >= 0 && std::isfinite(group.learning_rate_scale), "learning_rate_scale",
            group.learning_rate_scale, "finite and >= 0");
    require(std::isfinite(group.weight_decay), "weight_decay of a group", group.weight_decay, "finite");
  }
}

MIEN_COLD MIEN_BODY void Optimizer::require(bool holds, const char* setting, float value, const char* range) const {
  if (!holds) {
    fail<ArgumentError>({"optimizer ", name(), ": ", setting, " is ", value, ", expected ", range});
  }
}

}  // namespace mien
