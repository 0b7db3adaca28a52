// Learning rate schedules: factors by which the optimizer's learning rate is multiplied.
#pragma once

#include <string>
#include <string_view>

#include "mien/core/error.hpp"

namespace mien {

/// A learning rate schedule: `optimizer.learning_rate() * schedule.factor(step, total_steps)` is the rate of the step
/// number 0, 1, ..., total_steps - 1. All but reduce_on_plateau are pure functions of these two numbers.
///
/// Lengths are counted in whatever `step` counts. Whoever steps once per batch and has lengths in epochs (as people and
/// command lines do) calls scaled(batches per epoch) first.
class Schedule {
 public:
  enum class Kind { constant, step, cosine, one_cycle, reduce_on_plateau };
  enum class Mode { min, max };

  /// The constant 1.
  Schedule() = default;
  static Schedule constant() { return {}; }

  /// Multiplied by `factor` after every `every` steps: PyTorch's StepLR.
  static Schedule step(double every, double factor = 0.1);

  /// (step + 1) / warm_up during the first `warm_up` steps, then half a cosine from 1 down to `final_factor`, which
  /// would be reached at total_steps: PyTorch's LinearLR followed by CosineAnnealingLR.
  static Schedule cosine(double warm_up = 0, double final_factor = 0);

  /// One cycle (Smith and Topin, arXiv 1708.07120) as PyTorch's OneCycleLR with cosine annealing: from
  /// 1 / div_factor up to 1, reached after the share `max_at` of all steps, then down to
  /// 1 / (div_factor final_div_factor) at the last step. The optimizer's rate is the highest one. Momentum is not
  /// cycled.
  static Schedule one_cycle(double max_at = 0.3, double div_factor = 25, double final_div_factor = 1e4);

  /// Multiplied by `factor` when more than `patience` observations in a row did not improve on the best one by more
  /// than the share `threshold` of it: PyTorch's ReduceLROnPlateau with relative threshold and no cooldown. Mode says
  /// whether a small observation (a loss) or a large one (an accuracy) is good.
  static Schedule reduce_on_plateau(double factor = 0.1, int patience = 10, Mode mode = Mode::min,
                                    double threshold = 1e-4);

  /// Reads "constant", "step:30,0.1", "cosine:warmup=3,final=0.01", "one_cycle:max_at=0.3,div=25,final_div=10000",
  /// "plateau:factor=0.1,patience=10,mode=min,threshold=0.0001". Values may be named or stand in this order; what is
  /// left out keeps its default (only step needs its first). Throws ArgumentError that says what was expected.
  static Schedule parse(std::string_view text);

  /// What parse() reads, with shortest numbers that read back the same.
  std::string to_string() const;

  /// The same schedule with its lengths (every, warm_up) multiplied: from epochs to batches. The patience of
  /// reduce_on_plateau counts observations and stays.
  Schedule scaled(double steps_per_unit) const;

  Kind kind() const { return kind_; }
  /// Whether observe() wants a loss (small is good) rather than an accuracy.
  bool watches_loss() const { return mode_ == Mode::min; }

  /// Factor of the learning rate at `step`, counted from 0. Steps past the last one get its factor.
  double factor(double step, double total_steps) const;

  /// Tells reduce_on_plateau a new value of the watched metric; others ignore it. One that is not finite counts as no
  /// improvement. Returns whether the factor has been reduced.
  bool observe(double metric);

  /// Calls f(name, double&) for each number that observe() changes; all are finite. For checkpoints, both ways.
  template <class F>
  MIEN_COLD void for_each_state(F&& f) {
    f("factor", reduced_);
    f("best", best_);
    f("seen", seen_);
    f("bad", bad_);
  }

 private:
  Schedule(Kind kind, double a, double b, double c = 0) : kind_(kind), a_(a), b_(b), c_(c) {}

  static constexpr std::string_view kind_names[] = {"constant", "step", "cosine", "one_cycle", "plateau"};

  void require(bool holds, const char* setting, double value, const char* range) const;
  static std::string number(double value);

  Kind kind_ = Kind::constant;
  Mode mode_ = Mode::min;
  // step: every, factor. cosine: warm-up, final factor. one_cycle: max_at, div, final_div.
  // reduce_on_plateau: factor, patience, threshold.
  double a_ = 0, b_ = 0, c_ = 0;
  // State of reduce_on_plateau; best_ means nothing until seen_ is 1, as an infinity could not be written as JSON.
  double reduced_ = 1, best_ = 0, seen_ = 0, bad_ = 0;
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/optim/impl/schedule.hpp"
#endif
