// check_gradients: proves a layer's or network's hand-written backward pass against differences of its forward pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "mien/nn/dropout.hpp"
#include "mien/nn/sequential.hpp"

namespace mien {

/// Settings of check_gradients.
struct GradientCheckOptions {
  index_t batch = 3;
  /// Differences are taken at distances `step` and 2 `step`.
  double step = 3e-5;
  /// Largest relative error that passes.
  double tolerance = 1e-6;
  /// The denominator of the relative error is at least this share of the largest derivative.
  double floor = 1e-4;
  /// Largest share of elements that may be skipped for lying at a kink.
  double max_skipped = 0.05;
  /// Check with everything frozen: dropout off, normalization by its stored statistics.
  bool frozen = false;
  const Threads* threads = nullptr;
};

/// What check_gradients found. True if the gradients are right.
struct GradientCheck {
  double worst_error = 0;
  /// Where that is: "x", or the parameter's name, and the element's index in it.
  std::string worst_name;
  index_t worst_index = 0;
  /// The derivative there by differences, and what backward gave.
  double expected = 0;
  double actual = 0;
  index_t checked = 0;
  /// Elements left out because the forward pass has a kink there (relu at zero, a tie in a maximum).
  index_t skipped = 0;
  /// Elements whose derivative by differences is above the floor. None means that nothing has been shown.
  index_t nonzero = 0;
  /// Tensors without any such element, such as the bias in front of a normalization.
  std::vector<std::string> zero_tensors;
  /// Anything else that is wrong: a value not written, results that depend on what is asked for.
  std::vector<std::string> problems;
  double tolerance = 1e-6;
  double max_skipped = 0.05;

  explicit operator bool() const {
    return problems.empty() && nonzero > 0 && worst_error <= tolerance &&
           static_cast<double>(skipped) <= max_skipped * static_cast<double>(checked + skipped);
  }

  /// One line for a log or a failing test.
  std::string message() const {
    std::string text = std::to_string(checked) + " derivatives, " + std::to_string(nonzero) + " not zero, " +
                       std::to_string(skipped) + " skipped; worst relative error " + number(worst_error);
    if (!worst_name.empty()) {
      text += " at " + worst_name + "[" + std::to_string(worst_index) + "]: backward gives " + number(actual) +
              ", differences give " + number(expected);
    }
    for (const std::string& problem : problems) text += "; " + problem;
    return text;
  }

 private:
  static std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", value);
    return text;
  }
};

namespace detail {

class GradientChecker {
 public:
  GradientChecker(const Sequential<double>& net, const Shape& input, std::uint64_t seed, const GradientCheckOptions& o)
      : net_(net), seed_(seed), options_(o), workspace_(o.threads) {
    if (!net_.built() || net_.input_shape() != input) {
      net_.build(input, seed);
      disturb_constants();
    }
    if (options_.frozen) net_.freeze("");
    const Random random(seed_, Stream::user);
    x_ = Tensor<double>(input.with_batch(options_.batch));
    y_ = Tensor<double>(net_.output_shape().with_batch(options_.batch));
    dy_ = Tensor<double>(y_.shape());
    for (index_t i = 0; i < x_.size(); ++i) x_[i] = static_cast<double>(random.normal(static_cast<std::uint64_t>(i)));
    const Random weights(seed_, Stream::user, 1);
    for (index_t i = 0; i < dy_.size(); ++i)
      dy_[i] = static_cast<double>(weights.normal(static_cast<std::uint64_t>(i)));
    result_.tolerance = options_.tolerance;
    result_.max_skipped = options_.max_skipped;
  }

  GradientCheck run() {
    backward();
    for (Tensor<double>& y : shifted_) y = Tensor<double>(y_.shape());
    differences("x", x_.view(), dx_.view());
    for (std::size_t i = 0; i < gradients_.size(); ++i) {
      Parameter<double>& p = net_.parameters()[i];
      if (p.role != Role::statistic) differences(p.name, p.value.view(), gradients_[i].view());
    }
    compare();
    return result_;
  }

  /// For a net of `layer` alone: between two others, over whose input and output gradients are written if what it says
  /// of itself allows it, it has to give the same.
  template <class L>
  GradientCheck check_between(const L& layer) {
    Sequential<double> chain{Dropout{0}, layer, Dropout{0}};
    chain.build(net_.input_shape(), seed_);
    for (std::size_t i = 0; i < gradients_.size(); ++i) chain.parameters()[i].value = net_.parameters()[i].value;
    if (options_.frozen) chain.freeze("");
    struct Results {
      Tensor<double> y, dx;
      std::vector<Tensor<double>> gradients;
      std::vector<TensorView<double>> views;
    };
    const auto run = [&](Range range) {
      Results r{Tensor<double>(y_.shape()), Tensor<double>(x_.shape()), gradients_, {}};
      for (Tensor<double>& gradient : r.gradients) {
        poison(gradient.span());
        r.views.push_back(gradient.view());
      }
      chain.forward(x_.view(), r.y.view(), workspace_, seed_, 0, range);
      poison(workspace_.scratch());
      chain.backward(x_.view(), r.y.view(), dy_.view(), r.dx.view(), r.views, workspace_, seed_, 0, range);
      return r;
    };
    const Results alone = run({1, 2}), between = run({});
    const char* const where = " changes where dx is written over x or dy over y: see IgnoresOutput and OverwritesInput";
    if (!same(between.dx, alone.dx)) problem(std::string("dx") + where);
    for (std::size_t i = 0; i < gradients_.size(); ++i) {
      if (!same(between.gradients[i], alone.gradients[i])) problem("the gradient of " + name(i) + where);
    }
    return result_;
  }

 private:
  struct Derivative {
    std::size_t tensor;
    index_t index;
    double expected, actual;
    bool kink;
  };

  static constexpr double nan = std::numeric_limits<double>::quiet_NaN();

  /// A scale of exactly 1 or a shift of 0 would hide an error in what multiplies or adds it.
  void disturb_constants() {
    std::uint64_t tensor = 2;
    for (Parameter<double>& p : net_.parameters()) {
      const Random random(seed_, Stream::user, tensor++);
      if (std::any_of(p.value.begin(), p.value.end(), [&](double v) { return v != p.value[0]; })) continue;
      for (index_t i = 0; i < p.value.size(); ++i)
        p.value[i] += static_cast<double>(random.uniform(static_cast<std::uint64_t>(i), -0.25f, 0.25f));
    }
  }

  void problem(const std::string& text) { result_.problems.push_back(text); }

  void forward(TensorView<double> y) { net_.forward(x_.view(), y, workspace_, seed_, 0); }

  void poison(std::span<double> values) { std::fill(values.begin(), values.end(), nan); }
  // All bits set is a NaN in any floating-point type.
  void poison(std::span<std::byte> bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{0xff}); }

  void backward_into(TensorView<double> dx, const std::vector<TensorView<double>>& views) {
    forward(y_.view());  // a backward pass may have written over what it saved
    poison(workspace_.scratch());
    net_.backward(x_.view(), y_.view(), dy_.view(), dx, views, workspace_, seed_, 0);
  }

  /// The gradients by backward, with everything that is to be assigned poisoned first; then again for fewer results,
  /// which must not change the others by a bit.
  void backward() {
    forward(y_.view());  // only so that the workspace has its size
    poison(workspace_.saved());
    poison(workspace_.scratch());
    poison(y_.span());
    forward(y_.view());
    if (has_nan(y_.span())) problem("forward leaves NaN in y");

    dx_ = Tensor<double>(x_.shape());
    poison(dx_.span());
    std::vector<TensorView<double>> views;
    for (const Parameter<double>& p : net_.parameters()) {
      gradients_.emplace_back(p.value.shape());
      poison(gradients_.back().span());
    }
    for (Tensor<double>& gradient : gradients_) views.push_back(gradient.view());
    backward_into(dx_.view(), views);
    if (has_nan(dx_.span())) problem("backward leaves NaN in dx");
    for (std::size_t i = 0; i < gradients_.size(); ++i) {
      if (has_nan(gradients_[i].span())) problem("backward leaves NaN in the gradient of " + name(i));
    }

    Tensor<double> dx(x_.shape());
    poison(dx.span());
    backward_into(dx.view(), std::vector<TensorView<double>>(gradients_.size()));
    if (!same(dx, dx_)) problem("dx changes when no other gradient is asked for");
    for (std::size_t i = 0; i < gradients_.size(); ++i) {
      Tensor<double> gradient(gradients_[i].shape());
      poison(gradient.span());
      std::vector<TensorView<double>> one(gradients_.size());
      one[i] = gradient.view();
      backward_into({}, one);
      if (!same(gradient, gradients_[i])) problem("the gradient of " + name(i) + " changes when asked for alone");
    }
  }

  /// Derivatives of sum(dy * y) by each element of `values`. Differences are taken output by output, so that outputs
  /// that do not depend on the element add no rounding error.
  void differences(const std::string& tensor, TensorView<double> values, TensorView<const double> actual) {
    const double h = options_.step;
    constexpr double distances[] = {-2, -1, 1, 2};
    names_.push_back(tensor);
    for (index_t i = 0; i < values.size(); ++i) {
      const double value = values[i];
      for (std::size_t k = 0; k < 4; ++k) {
        values[i] = value + distances[k] * h;
        forward(shifted_[k].view());
      }
      values[i] = value;
      double near = 0, far = 0;            // central differences over h and 2 h
      double bend_near = 0, bend_far = 0;  // right minus left slope over h and 2 h
      for (index_t o = 0; o < y_.size(); ++o) {
        const double left2 = shifted_[0][o], left = shifted_[1][o], right = shifted_[2][o], right2 = shifted_[3][o];
        near += dy_[o] * (right - left) / (2 * h);
        far += dy_[o] * (right2 - left2) / (4 * h);
        bend_near += dy_[o] * ((right - y_[o]) - (y_[o] - left)) / h;
        bend_far += dy_[o] * ((right2 - y_[o]) - (y_[o] - left2)) / (2 * h);
      }
      // Of a smooth function both are of order h^2 and h^3; at a kink at least one is of the order of its jump.
      const double roughness = std::max(std::abs(near - far), std::abs(bend_far - 2 * bend_near));
      const double expected = near + (near - far) / 3;  // Richardson: error of order h^4
      found_.push_back({names_.size() - 1, i, expected, actual[i], roughness > 1e-4 * std::abs(expected) + 1e-5});
    }
  }

  void compare() {
    double largest = 0;
    for (const Derivative& d : found_) largest = std::max(largest, d.kink ? 0 : std::abs(d.expected));
    const double floor = options_.floor * largest;
    std::vector<index_t> nonzero(names_.size());
    for (const Derivative& d : found_) {
      const double scale = std::max({std::abs(d.expected), std::abs(d.actual), floor});
      double error = scale == 0 ? 0 : std::abs(d.actual - d.expected) / scale;
      if (!(error <= 2)) error = std::numeric_limits<double>::infinity();  // NaN
      // A kink spoils the differences, not what backward gives: what agrees all the same has been checked.
      if (d.kink && error > options_.tolerance && std::isfinite(d.actual)) {
        ++result_.skipped;
        continue;
      }
      ++result_.checked;
      if (std::abs(d.expected) > floor) {
        ++result_.nonzero;
        ++nonzero[d.tensor];
      }
      if (error > result_.worst_error || result_.worst_name.empty()) {
        result_.worst_error = error;
        result_.worst_name = names_[d.tensor];
        result_.worst_index = d.index;
        result_.expected = d.expected;
        result_.actual = d.actual;
      }
    }
    for (std::size_t i = 0; i < names_.size(); ++i)
      if (nonzero[i] == 0) result_.zero_tensors.push_back(names_[i]);
  }

  const std::string& name(std::size_t i) { return net_.parameters()[i].name; }
  static bool has_nan(std::span<const double> values) {
    return std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); });
  }
  static bool same(const Tensor<double>& a, const Tensor<double>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

  Sequential<double> net_;
  std::uint64_t seed_;
  GradientCheckOptions options_;
  Workspace workspace_;
  Tensor<double> x_, y_, dy_, dx_;
  std::vector<Tensor<double>> gradients_;
  Tensor<double> shifted_[4];  // outputs at the four distances
  std::vector<std::string> names_;
  std::vector<Derivative> found_;
  GradientCheck result_;
};

}  // namespace detail

/// Checks dx and the gradient of every parameter of `net`, element by element, against differences in double of the
/// loss sum(r * y) with random r, over a batch of normally distributed inputs of shape `input` per sample. The
/// relative error of a derivative a by backward and n by differences is |a - n| / max(|a|, |n|, floor), with floor
/// `options.floor` times the largest |n|; n is Richardson's combination of two central differences.
///
/// y, dx, gradients and the workspace are filled with NaN first, so what is not assigned or is read too early shows;
/// each gradient is also asked for alone and must not change. Dropout draws the same (seed, step) every time. A network
/// not built for `input` is built with `seed`, and parameters that start constant are disturbed; `net` itself is not
/// changed. Elements where the function has a kink within 2 `step` are skipped and counted.
///
/// Cost: four forward passes per element of x and of the parameters, so use small shapes. Throws what build throws.
inline GradientCheck check_gradients(const Sequential<double>& net, const Shape& input, std::uint64_t seed = 1,
                                     const GradientCheckOptions& options = {}) {
  return detail::GradientChecker(net, input, seed, options).run();
}

/// The same for one layer of any type, which must also give the same where its IgnoresOutput and OverwritesInput have
/// gradients written over its output and input.
template <class L>
requires Layer<L, double> GradientCheck check_gradients(const L& layer, const Shape& input, std::uint64_t seed = 1,
                                                        const GradientCheckOptions& options = {}) {
  detail::GradientChecker checker(Sequential<double>(layer), input, seed, options);
  const GradientCheck alone = checker.run();
  return alone ? checker.check_between(layer) : alone;
}

}  // namespace mien
