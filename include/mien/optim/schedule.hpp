// Learning rate schedules: factors by which the optimizer's learning rate is multiplied.
#pragma once

#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

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
  static Schedule step(double every, double factor = 0.1) {
    Schedule s(Kind::step, every, factor);
    s.require(every > 0 && std::isfinite(every), "every", every, "above 0");
    s.require(factor > 0 && factor <= 1, "factor", factor, "in (0, 1]");
    return s;
  }

  /// (step + 1) / warm_up during the first `warm_up` steps, then half a cosine from 1 down to `final_factor`, which
  /// would be reached at total_steps: PyTorch's LinearLR followed by CosineAnnealingLR.
  static Schedule cosine(double warm_up = 0, double final_factor = 0) {
    Schedule s(Kind::cosine, warm_up, final_factor);
    s.require(warm_up >= 0 && std::isfinite(warm_up), "warmup", warm_up, "at least 0");
    s.require(final_factor >= 0 && final_factor <= 1, "final", final_factor, "in [0, 1]");
    return s;
  }

  /// One cycle (Smith and Topin, arXiv 1708.07120) as PyTorch's OneCycleLR with cosine annealing: from
  /// 1 / div_factor up to 1, reached after the share `max_at` of all steps, then down to
  /// 1 / (div_factor final_div_factor) at the last step. The optimizer's rate is the highest one. Momentum is not
  /// cycled.
  static Schedule one_cycle(double max_at = 0.3, double div_factor = 25, double final_div_factor = 1e4) {
    Schedule s(Kind::one_cycle, max_at, div_factor, final_div_factor);
    s.require(max_at >= 0 && max_at <= 1, "max_at", max_at, "in [0, 1]");
    s.require(div_factor >= 1 && std::isfinite(div_factor), "div", div_factor, "at least 1");
    s.require(final_div_factor >= 1 && std::isfinite(final_div_factor), "final_div", final_div_factor, "at least 1");
    return s;
  }

  /// Multiplied by `factor` when more than `patience` observations in a row did not improve on the best one by more
  /// than the share `threshold` of it: PyTorch's ReduceLROnPlateau with relative threshold and no cooldown. Mode says
  /// whether a small observation (a loss) or a large one (an accuracy) is good.
  static Schedule reduce_on_plateau(double factor = 0.1, int patience = 10, Mode mode = Mode::min,
                                    double threshold = 1e-4) {
    Schedule s(Kind::reduce_on_plateau, factor, patience, threshold);
    s.mode_ = mode;
    s.require(factor > 0 && factor < 1, "factor", factor, "in (0, 1)");
    s.require(patience >= 0, "patience", patience, "at least 0");
    s.require(threshold >= 0 && threshold < 1, "threshold", threshold, "in [0, 1)");
    return s;
  }

  /// Reads "constant", "step:30,0.1", "cosine:warmup=3,final=0.01", "one_cycle:max_at=0.3,div=25,final_div=10000",
  /// "plateau:factor=0.1,patience=10,mode=min,threshold=0.0001". Values may be named or stand in this order; what is
  /// left out keeps its default (only step needs its first). Throws ArgumentError that says what was expected.
  static Schedule parse(std::string_view text);

  /// What parse() reads, with shortest numbers that read back the same.
  std::string to_string() const;

  /// The same schedule with its lengths (every, warm_up) multiplied: from epochs to batches. The patience of
  /// reduce_on_plateau counts observations and stays.
  Schedule scaled(double steps_per_unit) const {
    require(steps_per_unit > 0 && std::isfinite(steps_per_unit), "steps per unit", steps_per_unit, "above 0");
    Schedule s = *this;
    if (kind_ == Kind::step || kind_ == Kind::cosine) s.a_ *= steps_per_unit;
    return s;
  }

  Kind kind() const { return kind_; }
  /// Whether observe() wants a loss (small is good) rather than an accuracy.
  bool watches_loss() const { return mode_ == Mode::min; }

  /// Factor of the learning rate at `step`, counted from 0. Steps past the last one get its factor.
  double factor(double step, double total_steps) const {
    constexpr double pi = 3.14159265358979323846;
    // From 1 at progress 0 to `last` at progress 1.
    const auto anneal = [](double first, double last, double progress) {
      return last + (first - last) / 2 * (1 + std::cos(pi * progress));
    };
    switch (kind_) {
      case Kind::constant:
        break;
      case Kind::step:
        return std::pow(b_, std::floor(step / a_));
      case Kind::cosine: {
        if (step < a_) return std::fmin(1, (step + 1) / a_);
        const double length = total_steps - a_;
        return anneal(1, b_, length > 0 ? std::fmin(1, (step - a_) / length) : 1);
      }
      case Kind::one_cycle: {
        const double peak = a_ * total_steps - 1;
        const double end = total_steps - 1;
        const double first = 1 / b_;
        if (step <= peak || peak >= end) return peak > 0 ? anneal(first, 1, std::fmin(1, step / peak)) : 1;
        return anneal(1, first / c_, std::fmin(1, (step - peak) / (end - peak)));
      }
      case Kind::reduce_on_plateau:
        return reduced_;
    }
    return 1;
  }

  /// Tells reduce_on_plateau a new value of the watched metric; others ignore it. One that is not finite counts as no
  /// improvement. Returns whether the factor has been reduced.
  bool observe(double metric) {
    if (kind_ != Kind::reduce_on_plateau) return false;
    const bool better = std::isfinite(metric) &&
                        (seen_ == 0 || (mode_ == Mode::min ? metric < best_ * (1 - c_) : metric > best_ * (1 + c_)));
    if (better) {
      best_ = metric;
      seen_ = 1;
      bad_ = 0;
      return false;
    }
    bad_ += 1;
    if (bad_ <= b_) return false;
    bad_ = 0;
    reduced_ *= a_;
    return true;
  }

  /// Calls f(name, double&) for each number that observe() changes; all are finite. For checkpoints, both ways.
  template <class F>
  void for_each_state(F&& f) {
    f("factor", reduced_);
    f("best", best_);
    f("seen", seen_);
    f("bad", bad_);
  }

 private:
  Schedule(Kind kind, double a, double b, double c = 0) : kind_(kind), a_(a), b_(b), c_(c) {}

  static constexpr std::string_view kind_names[] = {"constant", "step", "cosine", "one_cycle", "plateau"};

  void require(bool holds, const char* setting, double value, const char* range) const {
    if (!holds) {
      fail<ArgumentError>("schedule " + std::string(kind_names[static_cast<int>(kind_)]) + ": " + setting + " is " +
                          number(value) + ", expected a value " + range);
    }
  }
  static std::string number(double value) {
    char digits[32];
    return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
  }

  Kind kind_ = Kind::constant;
  Mode mode_ = Mode::min;
  // step: every, factor. cosine: warm-up, final factor. one_cycle: max_at, div, final_div.
  // reduce_on_plateau: factor, patience, threshold.
  double a_ = 0, b_ = 0, c_ = 0;
  // State of reduce_on_plateau; best_ means nothing until seen_ is 1, as an infinity could not be written as JSON.
  double reduced_ = 1, best_ = 0, seen_ = 0, bad_ = 0;
};

namespace detail {

/// The settings behind the colon of a schedule's text, each taken once by name or by place.
class ScheduleText {
 public:
  explicit ScheduleText(std::string_view text) : text_(text) {
    const std::size_t colon = text.find(':');
    kind = text.substr(0, colon);
    std::string_view rest = colon == text.npos ? std::string_view() : text.substr(colon + 1);
    if (colon != text.npos && rest.empty()) complain("nothing stands behind the colon");
    while (!rest.empty()) {
      const std::size_t comma = rest.find(',');
      const std::string_view item = rest.substr(0, comma);
      const std::size_t equals = item.find('=');
      if (equals == item.npos) {
        if (!items_.empty() && !items_.back().name.empty()) complain("values without a name stand before named ones");
        items_.push_back({{}, item});
      } else {
        if (equals == 0) complain("a name is missing in front of =");
        items_.push_back({item.substr(0, equals), item.substr(equals + 1)});
      }
      if (items_.back().value.empty()) complain("a value is empty");
      if (comma == rest.npos) break;
      rest.remove_prefix(comma + 1);
      if (rest.empty()) complain("it ends with a comma");
    }
  }

  /// The value called `name`, or the next one without a name; empty if there is none.
  std::string_view word(std::string_view name) {
    std::string_view found;
    const std::size_t place = place_++;
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const bool here = items_[i].name.empty() ? i == place : items_[i].name == name;
      if (!here) continue;
      if (!found.empty()) complain(std::string(name) + " is given twice");
      found = items_[i].value;
      ++taken_;
    }
    return found;
  }
  double number(std::string_view name, double otherwise) {
    const std::string_view digits = word(name);
    if (digits.empty()) return otherwise;
    double value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc() || stop != end || !std::isfinite(value)) {
      complain(std::string(name) + " is \"" + std::string(digits) + "\", expected a number");
    }
    return value;
  }
  void finish(const char* settings) const {
    if (taken_ != items_.size()) complain(std::string("it has a setting that is none of: ") + settings);
  }
  [[noreturn]] void complain(const std::string& what) const {
    fail<ArgumentError>("schedule \"" + std::string(text_) + "\": " + what);
  }

  std::string_view kind;

 private:
  struct Item {
    std::string_view name, value;
  };
  std::string_view text_;
  std::vector<Item> items_;
  std::size_t place_ = 0;
  std::size_t taken_ = 0;
};

}  // namespace detail

inline Schedule Schedule::parse(std::string_view text) {
  detail::ScheduleText t(text);
  if (t.kind == "constant") {
    t.finish("(it takes none)");
    return constant();
  }
  if (t.kind == "step") {
    const double every = t.number("every", 0);
    const double factor = t.number("factor", 0.1);
    t.finish("every, factor");
    return step(every, factor);
  }
  if (t.kind == "cosine") {
    const double warm_up = t.number("warmup", 0);
    const double final_factor = t.number("final", 0);
    t.finish("warmup, final");
    return cosine(warm_up, final_factor);
  }
  if (t.kind == "one_cycle") {
    const double max_at = t.number("max_at", 0.3);
    const double div = t.number("div", 25);
    const double final_div = t.number("final_div", 1e4);
    t.finish("max_at, div, final_div");
    return one_cycle(max_at, div, final_div);
  }
  if (t.kind == "plateau") {
    const double factor = t.number("factor", 0.1);
    const double patience = t.number("patience", 10);
    const std::string_view mode = t.word("mode");
    const double threshold = t.number("threshold", 1e-4);
    t.finish("factor, patience, mode, threshold");
    if (!mode.empty() && mode != "min" && mode != "max") t.complain("mode is neither min nor max");
    if (!(patience >= 0 && patience <= 1e9) || patience != std::floor(patience)) {
      t.complain("patience is no whole number of observations");
    }
    return reduce_on_plateau(factor, static_cast<int>(patience), mode == "max" ? Mode::max : Mode::min, threshold);
  }
  t.complain("unknown, expected constant, step:EVERY,FACTOR, cosine:warmup=N,final=X, one_cycle or plateau");
}

inline std::string Schedule::to_string() const {
  std::string text(kind_names[static_cast<int>(kind_)]);
  switch (kind_) {
    case Kind::constant:
      break;
    case Kind::step:
      return text + ":every=" + number(a_) + ",factor=" + number(b_);
    case Kind::cosine:
      return text + ":warmup=" + number(a_) + ",final=" + number(b_);
    case Kind::one_cycle:
      return text + ":max_at=" + number(a_) + ",div=" + number(b_) + ",final_div=" + number(c_);
    case Kind::reduce_on_plateau:
      return text + ":factor=" + number(a_) + ",patience=" + number(b_) +
             ",mode=" + (mode_ == Mode::min ? "min" : "max") + ",threshold=" + number(c_);
  }
  return text;
}

}  // namespace mien
