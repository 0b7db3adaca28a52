// Optimizers: SGD, Adam and AdamW as settings, and the state that one of them keeps for one network.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mien/core/threads.hpp"
#include "mien/nn/parameter.hpp"
#include "mien/optim/state_tensors.hpp"
#include "mien/optim/update.hpp"

namespace mien {

/// Stochastic gradient descent, as PyTorch's SGD without dampening: g += weight_decay p; b = momentum b + g;
/// p -= rate b, or with nesterov p -= rate (g + momentum b).
struct Sgd {
  struct Options {
    float learning_rate = 0.01f;
    float momentum = 0;
    float weight_decay = 0;
    bool nesterov = false;
  };
  Options options;
};

/// Adam (Kingma and Ba, arXiv 1412.6980) with bias correction and epsilon as in PyTorch's Adam; weight decay is added
/// to the gradient. The rate of the step number t = 0, 1, ... is divided by 1 + learning_rate_decay t, as Keras does.
struct Adam {
  struct Options {
    float learning_rate = 1e-3f;
    float beta1 = 0.9f;
    float beta2 = 0.999f;
    float epsilon = 1e-8f;
    float weight_decay = 0;
    float learning_rate_decay = 0;
  };
  Options options;
};

/// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), as PyTorch's AdamW: first
/// p -= rate weight_decay p, then Adam's step.
struct AdamW {
  struct Options {
    float learning_rate = 1e-3f;
    float beta1 = 0.9f;
    float beta2 = 0.999f;
    float epsilon = 1e-8f;
    float weight_decay = 0.01f;
    float learning_rate_decay = 0;
  };
  Options options;
};

/// Other settings for the parameters that `match` covers: "classifier" covers "classifier.0.weight" (see covers()).
struct ParameterGroup {
  std::string match;
  /// Multiplies the learning rate.
  float learning_rate_scale = 1;
  /// Negative: the optimizer's own.
  float weight_decay = -1;
};

/// Settings of any of the optimizers: what a training loop is given.
///
///     mien::Optimizer optimizer = mien::AdamW{{.learning_rate = 3e-4f}};
///     optimizer.decay_only_weights = true;
///     optimizer.groups.push_back({.match = "classifier", .learning_rate_scale = 10});
class Optimizer {
 public:
  enum class Method { sgd, adam, adamw };

  Optimizer(const Sgd& sgd)
      : method_(Method::sgd),
        sgd_(sgd.options),
        learning_rate_(sgd.options.learning_rate),
        weight_decay_(sgd.options.weight_decay) {}
  Optimizer(const Adam& adam)
      : method_(Method::adam),
        adam_(adam.options),
        learning_rate_(adam.options.learning_rate),
        weight_decay_(adam.options.weight_decay) {}
  Optimizer(const AdamW& adamw) : Optimizer(as_adam(adamw.options)) { method_ = Method::adamw; }

  /// The first group that covers a parameter's name decides; one that decides for no parameter is an error.
  std::vector<ParameterGroup> groups;
  /// No weight decay on biases and on the scales and shifts of normalization, whatever the groups say.
  bool decay_only_weights = false;
  /// Limit for the Euclidean norm of all gradients of trainable parameters together: larger ones are multiplied by
  /// clip_norm / (norm + 1e-6), as PyTorch's clip_grad_norm_ does. 0 is off.
  float clip_norm = 0;
  /// Limit for the magnitude of each single gradient, applied before clip_norm. 0 is off.
  float clip_value = 0;

  Method method() const { return method_; }
  /// "sgd", "adam" or "adamw".
  const char* name() const { return method_ == Method::sgd ? "sgd" : method_ == Method::adam ? "adam" : "adamw"; }
  float learning_rate() const { return learning_rate_; }
  float weight_decay() const { return weight_decay_; }
  /// Used by method sgd only.
  const Sgd::Options& sgd() const { return sgd_; }
  /// Used by the methods adam and adamw.
  const Adam::Options& adam() const { return adam_; }

  /// Throws ArgumentError for a setting out of range; it names setting, value and range.
  void check() const;

 private:
  static Adam as_adam(const AdamW::Options& o) {
    return {{.learning_rate = o.learning_rate,
             .beta1 = o.beta1,
             .beta2 = o.beta2,
             .epsilon = o.epsilon,
             .weight_decay = o.weight_decay,
             .learning_rate_decay = o.learning_rate_decay}};
  }
  void require(bool holds, const char* setting, float value, const char* range) const;

  Method method_;
  Sgd::Options sgd_;
  Adam::Options adam_;
  float learning_rate_;
  float weight_decay_;
};

/// What an optimizer remembers about the parameters of one network, addressed by their index, so that networks and
/// states can be copied and moved freely. There are no tensors for parameters that are not trained: after freezing or
/// unfreezing, make a new state. P is parameter_t of the network's scalar.
template <class P>
class OptimizerState {
 public:
  /// Throws ArgumentError for settings out of range or a group that decides for no parameter. Takes as much memory as
  /// the trainable parameters for SGD with momentum, twice that for Adam, none for plain SGD.
  MIEN_COLD OptimizerState(const Optimizer& optimizer, std::span<const Parameter<P>> parameters)
      : optimizer_(optimizer) {
    optimizer_.check();
    std::vector<bool> used(optimizer_.groups.size(), false);
    slots_.resize(parameters.size());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      slots_[i] = make_slot(parameters[i], used);
      if (!slots_[i].trained) continue;
      for (index_t first = 0; first < slots_[i].shape.size(); first += piece_size) {
        pieces_.push_back({i, first, std::min(piece_size, slots_[i].shape.size() - first)});
      }
    }
    for (std::size_t g = 0; g < used.size(); ++g) {
      if (!used[g]) {
        fail<ArgumentError>({"optimizer: the parameter group \"", optimizer_.groups[g].match,
                             "\" decides for no parameter that groups before it leave; names are like \"",
                             (parameters.empty() ? std::string() : parameters[0].name), "\""});
      }
    }
  }

  /// One step. `parameters` and `gradients` run parallel to the parameters the state was made for; gradients of those
  /// not trained are not looked at and may be empty views. Gradients are not changed by clipping.
  /// Bit-identical for any thread count: work is cut into pieces of a fixed size, and the norm is summed in their
  /// order.
  ///
  /// Throws ShapeError where a gradient is missing or its shape differs, ArgumentError where the list of parameters or
  /// what is frozen differs from construction or the rate is not finite and >= 0, and with clip_norm NumericError that
  /// names the first parameter with a gradient that is not finite. Parameters and state are then as before.
  void step(std::span<Parameter<P>> parameters, std::span<const TensorView<P>> gradients, float learning_rate,
            const Threads& threads) {
    check_lists(parameters, gradients);
    if (!(learning_rate >= 0) || std::isinf(learning_rate)) {
      fail<ArgumentError>({"optimizer: learning rate ", learning_rate, " is not finite and >= 0"});
    }
    const detail::Clip<P> clip = find_clip(gradients, threads);
    threads.parallel_for(static_cast<index_t>(pieces_.size()), [&](index_t i) {
      const Piece& piece = pieces_[static_cast<std::size_t>(i)];
      P* p = parameters[piece.parameter].value.data() + piece.first;
      const P* g = gradients[piece.parameter].data() + piece.first;
      update(piece, p, g, clip, learning_rate);
    });
    ++steps_;
  }

  /// Steps taken.
  std::int64_t steps() const { return steps_; }
  const Optimizer& optimizer() const { return optimizer_; }

  /// Calls f(name, TensorView<P>) for every tensor of the state, in the order of the parameters. Names are PyTorch's:
  /// "momentum_buffer.features.0.weight", "exp_avg.features.0.weight", "exp_avg_sq.features.0.weight". Together with
  /// steps() this is all that a checkpoint needs.
  template <class F>
  MIEN_COLD void for_each_tensor(F&& f) {
    visit(*this, f);
  }
  /// As above, with TensorView<const P>.
  template <class F>
  MIEN_COLD void for_each_tensor(F&& f) const {
    visit(*this, f);
  }

  /// Takes the state of a checkpoint: `find(name)` gives a TensorView<const P>, empty where it has no such tensor.
  /// Throws FormatError that lists all missing and mis-shaped tensors, or ArgumentError for a negative number of steps;
  /// nothing has changed then.
  template <class Find>
  MIEN_COLD void restore(std::int64_t steps, Find&& find) {
    if (steps < 0) fail<ArgumentError>({"optimizer: ", steps, " steps cannot have been taken"});
    detail::restore_tensors(*this, "optimizer", find);
    steps_ = steps;
  }

 private:
  /// Elements per piece: with gradient and two moments 256 kB in float, a share of a core's second-level cache.
  static constexpr index_t piece_size = 16384;

  struct Slot {
    std::string name;
    Shape shape;
    bool trained = false;
    float learning_rate_scale = 1;
    float weight_decay = 0;
    Tensor<P> first;   // SGD: momentum buffer; Adam: mean of the gradient
    Tensor<P> second;  // Adam: mean of its square
  };
  struct Piece {
    std::size_t parameter;
    index_t first;
    index_t count;
  };

  MIEN_COLD Slot make_slot(const Parameter<P>& parameter, std::vector<bool>& used) const {
    Slot slot;
    slot.name = parameter.name;
    slot.shape = parameter.value.shape();
    slot.weight_decay = optimizer_.weight_decay();
    for (std::size_t g = 0; g < used.size(); ++g) {
      const ParameterGroup& group = optimizer_.groups[g];
      if (!covers(group.match, parameter.name)) continue;
      used[g] = true;
      slot.learning_rate_scale = group.learning_rate_scale;
      if (group.weight_decay >= 0) slot.weight_decay = group.weight_decay;
      break;
    }
    if (optimizer_.decay_only_weights && parameter.role != Role::weight) slot.weight_decay = 0;
    slot.trained = parameter.trainable();
    if (slot.trained && has_first()) slot.first = Tensor<P>(slot.shape);
    if (slot.trained && has_second()) slot.second = Tensor<P>(slot.shape);
    return slot;
  }

  bool has_second() const { return optimizer_.method() != Optimizer::Method::sgd; }
  bool has_first() const { return has_second() || optimizer_.sgd().momentum > 0; }

  void check_lists(std::span<const Parameter<P>> parameters, std::span<const TensorView<P>> gradients) const {
    if (parameters.size() != slots_.size() || gradients.size() != slots_.size()) {
      fail<ArgumentError>({"optimizer: got ", parameters.size(), " parameters and ", gradients.size(),
                           " gradients, its state is for ", slots_.size()});
    }
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const Slot& slot = slots_[i];
      const Parameter<P>& parameter = parameters[i];
      if (parameter.trainable() != slot.trained || parameter.value.shape() != slot.shape) {
        fail<ArgumentError>(
            {"optimizer: \"", parameter.name,
             "\" has been frozen, unfrozen or reshaped since the optimizer's state was made; make a new "
             "state"});
      }
      if (slot.trained && (!gradients[i] || gradients[i].shape() != slot.shape)) {
        fail<ShapeError>({"optimizer: the gradient of \"", parameter.name, "\" is ",
                          (gradients[i] ? gradients[i].shape().to_string() : std::string("missing")), ", expected ",
                          slot.shape});
      }
    }
  }

  detail::Clip<P> find_clip(std::span<const TensorView<P>> gradients, const Threads& threads) {
    constexpr P infinity = std::numeric_limits<P>::infinity();
    detail::Clip<P> clip{optimizer_.clip_value > 0 ? static_cast<P>(optimizer_.clip_value) : infinity, P{1}};
    if (!(optimizer_.clip_norm > 0)) return clip;
    sums_.resize(pieces_.size());
    threads.parallel_for(static_cast<index_t>(pieces_.size()), [&](index_t i) {
      const Piece& piece = pieces_[static_cast<std::size_t>(i)];
      const P* g = gradients[piece.parameter].data() + piece.first;
      sums_[static_cast<std::size_t>(i)] = detail::sum_of_squares(piece.count, g, clip.limit);
    });
    double sum = 0;
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      if (!std::isfinite(sums_[i])) {
        fail<NumericError>({"optimizer: the gradient of \"", slots_[pieces_[i].parameter].name,
                            "\" is not finite; a smaller learning rate or warm-up may help"});
      }
      sum += sums_[i];
    }
    const double factor = static_cast<double>(optimizer_.clip_norm) / (std::sqrt(sum) + 1e-6);
    if (factor < 1) clip.scale = static_cast<P>(factor);
    return clip;
  }

  void update(const Piece& piece, P* p, const P* g, const detail::Clip<P>& clip, float learning_rate) {
    Slot& slot = slots_[piece.parameter];
    double rate = static_cast<double>(learning_rate) * static_cast<double>(slot.learning_rate_scale);
    const auto decay = static_cast<double>(slot.weight_decay);
    if (!has_second()) {
      const auto momentum = static_cast<P>(optimizer_.sgd().momentum);
      const bool nesterov = optimizer_.sgd().nesterov;
      const detail::SgdUpdate<P> sgd{
          .clip = clip,
          .rate = static_cast<P>(rate),
          .decay = static_cast<P>(decay),
          .momentum = momentum,
          .of_gradient = nesterov ? P{1} : P{0},
          .of_buffer = nesterov ? momentum : P{1},
      };
      detail::apply(sgd, piece.count, p, g, has_first() ? slot.first.data() + piece.first : nullptr);
      return;
    }
    const Adam::Options& o = optimizer_.adam();
    const bool decoupled = optimizer_.method() == Optimizer::Method::adamw;
    const auto beta1 = static_cast<double>(o.beta1);
    const auto beta2 = static_cast<double>(o.beta2);
    // Bias correction counts steps of the network, not calls per tensor.
    const auto t = static_cast<double>(steps_ + 1);
    rate /= 1 + static_cast<double>(o.learning_rate_decay) * static_cast<double>(steps_);
    const detail::AdamUpdate<P> adam{
        .clip = clip,
        .rate = static_cast<P>(rate / (1 - std::pow(beta1, t))),
        .decay = static_cast<P>(decoupled ? 0 : decay),
        .keep = static_cast<P>(decoupled ? 1 - rate * decay : 1),
        .one_minus_beta1 = static_cast<P>(1 - beta1),
        .beta2 = static_cast<P>(beta2),
        .one_minus_beta2 = static_cast<P>(1 - beta2),
        .correction = static_cast<P>(std::sqrt(1 - std::pow(beta2, t))),
        .epsilon = static_cast<P>(o.epsilon),
    };
    detail::apply(adam, piece.count, p, g, slot.first.data() + piece.first, slot.second.data() + piece.first);
  }

  template <class Self, class F>
  MIEN_COLD static void visit(Self& self, F& f) {
    const std::string first = self.has_second() ? "exp_avg." : "momentum_buffer.";
    for (auto& slot : self.slots_) {
      if (!slot.trained) continue;
      if (self.has_first()) f(first + slot.name, slot.first.view());
      if (self.has_second()) f("exp_avg_sq." + slot.name, slot.second.view());
    }
  }

  Optimizer optimizer_;
  std::vector<Slot> slots_;
  std::vector<Piece> pieces_;
  std::vector<double> sums_;
  std::int64_t steps_ = 0;
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/optim/impl/optimizer.hpp"
#endif
