// Schedules: definitions for mien/optim/schedule.hpp. Private.
#pragma once

#include <charconv>
#include <cmath>
#include <string>
#include <vector>

#include "mien/optim/schedule.hpp"

namespace mien {

MIEN_COLD MIEN_BODY Schedule Schedule::step(double every, double factor) {
  Schedule s(Kind::step, every, factor);
  s.require(every > 0 && std::isfinite(every), "every", every, "above 0");
  s.require(factor > 0 && factor <= 1, "factor", factor, "in (0, 1]");
  return s;
}

MIEN_COLD MIEN_BODY Schedule Schedule::cosine(double warm_up, double final_factor) {
  Schedule s(Kind::cosine, warm_up, final_factor);
  s.require(warm_up >= 0 && std::isfinite(warm_up), "warmup", warm_up, "at least 0");
  s.require(final_factor >= 0 && final_factor <= 1, "final", final_factor, "in [0, 1]");
  return s;
}

MIEN_COLD MIEN_BODY Schedule Schedule::one_cycle(double max_at, double div_factor, double final_div_factor) {
  Schedule s(Kind::one_cycle, max_at, div_factor, final_div_factor);
  s.require(max_at >= 0 && max_at <= 1, "max_at", max_at, "in [0, 1]");
  s.require(div_factor >= 1 && std::isfinite(div_factor), "div", div_factor, "at least 1");
  s.require(final_div_factor >= 1 && std::isfinite(final_div_factor), "final_div", final_div_factor, "at least 1");
  return s;
}

MIEN_COLD MIEN_BODY Schedule Schedule::reduce_on_plateau(double factor, int patience, Mode mode, double threshold) {
  Schedule s(Kind::reduce_on_plateau, factor, patience, threshold);
  s.mode_ = mode;
  s.require(factor > 0 && factor < 1, "factor", factor, "in (0, 1)");
  s.require(patience >= 0, "patience", patience, "at least 0");
  s.require(threshold >= 0 && threshold < 1, "threshold", threshold, "in [0, 1)");
  return s;
}

MIEN_COLD MIEN_BODY Schedule Schedule::scaled(double steps_per_unit) const {
  require(steps_per_unit > 0 && std::isfinite(steps_per_unit), "steps per unit", steps_per_unit, "above 0");
  Schedule s = *this;
  if (kind_ == Kind::step || kind_ == Kind::cosine) s.a_ *= steps_per_unit;
  return s;
}

MIEN_BODY double Schedule::factor(double step, double total_steps) const {
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

MIEN_BODY bool Schedule::observe(double metric) {
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

MIEN_COLD MIEN_BODY void Schedule::require(bool holds, const char* setting, double value, const char* range) const {
  if (!holds) {
    fail<ArgumentError>({"schedule ", std::string(kind_names[static_cast<int>(kind_)]), ": ", setting, " is ",
                         number(value), ", expected a value ", range});
  }
}

MIEN_COLD MIEN_BODY std::string Schedule::number(double value) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}

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
    fail<ArgumentError>({"schedule \"", text_, "\": ", what});
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

MIEN_COLD MIEN_BODY Schedule Schedule::parse(std::string_view text) {
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

MIEN_COLD MIEN_BODY std::string Schedule::to_string() const {
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
