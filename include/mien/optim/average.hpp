// Exponential moving average of a network's weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mien/core/threads.hpp"
#include "mien/nn/parameter.hpp"
#include "mien/optim/state_tensors.hpp"
#include "mien/optim/update.hpp"

namespace mien {

/// Averages of all trainable parameters and of the running statistics: those of the last steps belong to the last
/// weights, and with averaged ones they cost several points while the learning rate is high. Frozen parameters and
/// statistics are left to the network: they are absent here and swap() does not touch them. After freezing or
/// unfreezing, make a new average. P is parameter_t of the network's scalar. Addressed by index, so that networks and
/// averages can be copied and moved.
///
///     average.update(net.parameters(), threads);  // after each optimizer step
///     average.swap(net.parameters());             // evaluate or save with averaged weights ...
///     average.swap(net.parameters());             // ... and go on training
template <class P>
class WeightAverage {
 public:
  /// Starts at the present values. Throws ArgumentError for a decay outside [0, 1).
  MIEN_COLD WeightAverage(float decay, std::span<const Parameter<P>> parameters) : decay_(decay) {
    if (!(decay >= 0 && decay < 1)) {
      fail<ArgumentError>({"weight average: decay is ", decay, ", expected a value in [0, 1)"});
    }
    slots_.reserve(parameters.size());
    for (const Parameter<P>& parameter : parameters) {
      slots_.push_back({parameter.name, parameter.frozen, Tensor<P>()});
      if (parameter.frozen) continue;
      slots_.back().value = parameter.value;
      const index_t size = parameter.value.size();
      for (index_t first = 0; first < size; first += piece_size) {
        pieces_.push_back({slots_.size() - 1, first, std::min(piece_size, size - first)});
      }
    }
  }

  /// Takes in the values after the step number t = 0, 1, ...: average = d average + (1 - d) value with
  /// d = min(decay, (1 + t) / (10 + t)), so that early steps are soon forgotten. Bit-identical for any thread
  /// count. Throws ArgumentError if what is frozen has changed, or while swapped.
  void update(std::span<const Parameter<P>> parameters, const Threads& threads) {
    check(parameters);
    if (swapped_) fail<ArgumentError>("weight average: swap back before training goes on");
    const auto share = static_cast<P>(1 - next_decay());
    threads.parallel_for(static_cast<index_t>(pieces_.size()), [&](index_t i) {
      const Piece& piece = pieces_[static_cast<std::size_t>(i)];
      Slot& slot = slots_[piece.parameter];
      detail::move_towards(piece.count, slot.value.data() + piece.first,
                           parameters[piece.parameter].value.data() + piece.first, share);
    });
    ++updates_;
  }

  /// Exchanges the network's values with the averages, by pointer: done twice, everything is as before. Frozen
  /// parameters stay. Throws ArgumentError if what is frozen has changed.
  void swap(std::span<Parameter<P>> parameters) {
    check(parameters);
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (!slots_[i].frozen) std::swap(slots_[i].value, parameters[i].value);
    }
    swapped_ = !swapped_;
  }

  /// Updates so far.
  std::int64_t updates() const { return updates_; }
  /// The decay that the next update will use.
  double next_decay() const {
    const auto t = static_cast<double>(updates_);
    return std::min(static_cast<double>(decay_), (1 + t) / (10 + t));
  }

  /// Calls f(name, TensorView<P>) for every tensor kept, named "average.features.0.weight", in the order of the
  /// parameters. Together with updates() this is all that a checkpoint needs; it is taken while not swapped.
  template <class F>
  MIEN_COLD void for_each_tensor(F&& f) {
    for (Slot& slot : slots_)
      if (!slot.frozen) f("average." + slot.name, slot.value.view());
  }
  /// As above, with TensorView<const P>.
  template <class F>
  MIEN_COLD void for_each_tensor(F&& f) const {
    for (const Slot& slot : slots_)
      if (!slot.frozen) f("average." + slot.name, slot.value.view());
  }

  /// Takes the state of a checkpoint: `find(name)` gives a TensorView<const P>, empty where it has no such tensor.
  /// Throws FormatError that lists all missing and mis-shaped tensors, or ArgumentError for a negative number of
  /// updates or while swapped; nothing has changed then.
  template <class Find>
  MIEN_COLD void restore(std::int64_t updates, Find&& find) {
    if (swapped_) fail<ArgumentError>("weight average: swap back before restoring");
    if (updates < 0) fail<ArgumentError>({"weight average: ", updates, " updates cannot be"});
    detail::restore_tensors(*this, "weight average", find);
    updates_ = updates;
  }

 private:
  struct Slot {
    std::string name;
    bool frozen;
    Tensor<P> value;
  };
  static constexpr index_t piece_size = 32768;
  struct Piece {
    std::size_t parameter;
    index_t first;
    index_t count;
  };

  void check(std::span<const Parameter<P>> parameters) const {
    if (parameters.size() != slots_.size()) {
      fail<ArgumentError>({"weight average: got ", parameters.size(), " parameters, it was made for ", slots_.size()});
    }
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const Slot& slot = slots_[i];
      const Parameter<P>& parameter = parameters[i];
      if (parameter.frozen != slot.frozen || (!slot.frozen && parameter.value.shape() != slot.value.shape())) {
        fail<ArgumentError>({"weight average: \"", parameter.name,
                             "\" has been frozen, unfrozen or reshaped since the average was made; make a new one"});
      }
    }
  }

  float decay_;
  std::vector<Slot> slots_;
  std::vector<Piece> pieces_;
  std::int64_t updates_ = 0;
  bool swapped_ = false;
};

}  // namespace mien
