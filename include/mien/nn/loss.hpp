// Losses: softmax cross entropy on logits, mean squared error.
#pragma once

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "mien/core/tensor.hpp"

namespace mien {

namespace detail {

/// Largest value of a row and the logarithm of the sum of exp(value - largest). A NaN anywhere makes the sum NaN; so
/// does a row of nothing but -infinity, or one with +infinity.
struct LogSumExp {
  double largest;
  double log_sum;
};

template <class T>
LogSumExp log_sum_exp(const T* row, index_t count) {
  double largest = static_cast<double>(row[0]);
  for (index_t i = 1; i < count; ++i) {
    const auto value = static_cast<double>(row[i]);
    if (value > largest) largest = value;
  }
  double sum = 0;
  for (index_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(row[i]) - largest);
  return {largest, std::log(sum)};
}

template <class T>
T round_to(double value) {
  return static_cast<T>(static_cast<parameter_t<T>>(value));
}

inline void check_loss_shapes(const char* name, const Shape& outputs, const Shape& targets, const Shape* gradient) {
  if (outputs != targets) {
    fail<ShapeError>({name, ": targets are ", targets, ", expected the shape of the outputs, ", outputs});
  }
  if (gradient != nullptr && *gradient != outputs) {
    fail<ShapeError>(
        {name, ": the gradient is ", gradient->to_string(), ", expected the shape of the outputs, ", outputs});
  }
}

inline void check_rows(const char* name, const Shape& shape) {
  if (shape.rank() != 2 || shape[1] < 1) {
    fail<ShapeError>({name, ": got ", shape, ", expected (samples, classes)"});
  }
}

}  // namespace detail

/// Softmax and cross entropy as one operation on logits, so that no probability can round to zero: finite for all
/// finite logits.
///
/// With logits z and targets t, both (n, k), class weights w (1 where none are given) and smoothing e:
///   a_rc  = w_c ((1 - e) t_rc + e / k)
///   loss  = (1/D) sum_r sum_c a_rc (log sum_j exp(z_rj) - z_rc)
///   dz_rc = (1/D) (p_rc sum_j a_rj - a_rc),  p = softmax(z);  for targets that sum to one without weights: (p - a) / n
/// D is n without class weights and sum_r sum_c w_c t_rc with them. For one-hot targets that is the weighted mean of
/// PyTorch's CrossEntropyLoss given class numbers, for soft targets without weights its mean given probabilities. For
/// soft targets with weights it is the same weighted mean, in which a mixture of two classes counts as much as its
/// parts; PyTorch divides by n there, so that its loss jumps when the last mixed row of a batch becomes one-hot.
///
/// Computed in double, row by row in order; about 20 ns per logit.
struct CrossEntropy {
  /// Share of each target that is spread evenly over all classes, 0 to 1.
  float label_smoothing = 0;
  /// One weight >= 0 per class, or none.
  std::vector<float> class_weights = {};

  /// Returns the mean loss. `dlogits` (n, k) is assigned unless it is an empty view; it may be `logits` itself.
  /// Of no rows, or of rows that all weigh nothing, loss and gradient are zero.
  /// Throws ShapeError for shapes that do not fit, ArgumentError for a smoothing or weights out of range.
  template <class T>
  double operator()(std::type_identity_t<TensorView<const T>> logits, TensorView<const float> targets,
                    TensorView<T> dlogits) const {
    static_assert(!std::is_const_v<T>, "the gradient is written to");
    const Shape& shape = logits.shape();
    check(shape);
    detail::check_loss_shapes("CrossEntropy", shape, targets.shape(), dlogits ? &dlogits.shape() : nullptr);
    const index_t n = shape[0];
    const index_t k = shape[1];
    const double total = denominator(targets, n, k);
    if (total == 0) {
      for (T& value : dlogits) value = T{};
      return 0;
    }
    double loss = 0;
    for (index_t r = 0; r < n; ++r) {
      const T* z = logits.data() + r * k;
      const float* t = targets.data() + r * k;
      const auto [largest, log_sum] = detail::log_sum_exp(z, k);
      double mass = 0;
      for (index_t c = 0; c < k; ++c) {
        const double share = target(t[c], c, k);
        mass += share;
        // A class with logit -infinity is allowed where it is not asked for.
        if (share != 0) loss += share * (log_sum + (largest - static_cast<double>(z[c])));
      }
      if (!dlogits) continue;
      T* dz = dlogits.data() + r * k;
      const double scale = mass / std::exp(log_sum);
      for (index_t c = 0; c < k; ++c) {
        const double expected = scale * std::exp(static_cast<double>(z[c]) - largest);
        dz[c] = detail::round_to<T>((expected - target(t[c], c, k)) / total);
      }
    }
    return loss / total;
  }

  /// The loss alone.
  template <class V>
  double operator()(TensorView<V> logits, TensorView<const float> targets) const {
    return (*this)(logits, targets, TensorView<std::remove_const_t<V>>{});
  }

 private:
  double weight(index_t c) const {
    return class_weights.empty() ? 1.0 : static_cast<double>(class_weights[static_cast<std::size_t>(c)]);
  }
  double target(float t, index_t c, index_t k) const {
    const auto smoothing = static_cast<double>(label_smoothing);
    return weight(c) * ((1 - smoothing) * static_cast<double>(t) + smoothing / static_cast<double>(k));
  }
  double denominator(TensorView<const float> targets, index_t n, index_t k) const {
    if (class_weights.empty()) return static_cast<double>(n);
    double sum = 0;
    for (index_t r = 0; r < n; ++r)
      for (index_t c = 0; c < k; ++c) sum += weight(c) * static_cast<double>(targets[r * k + c]);
    return sum;
  }
  void check(const Shape& shape) const {
    detail::check_rows("CrossEntropy", shape);
    if (!(label_smoothing >= 0 && label_smoothing <= 1)) {
      fail<ArgumentError>({"CrossEntropy: label_smoothing is ", label_smoothing, ", expected a value from 0 to 1"});
    }
    if (class_weights.empty()) return;
    if (static_cast<index_t>(class_weights.size()) != shape[1]) {
      fail<ArgumentError>({"CrossEntropy: ", class_weights.size(), " class weights for ", shape[1], " classes"});
    }
    for (float w : class_weights) {
      if (!(w >= 0) || std::isinf(w)) {
        fail<ArgumentError>({"CrossEntropy: class weight ", w, " is not a finite value of at least 0"});
      }
    }
  }
};

/// Mean over all elements of (output - target)^2. Shapes are free but equal.
struct MeanSquaredError {
  /// Returns the loss; `doutputs` = 2 (output - target) / count is assigned unless it is an empty view, and may be
  /// `outputs` itself. Of no elements the loss is zero. Computed in double in order. Throws ShapeError.
  template <class T>
  double operator()(std::type_identity_t<TensorView<const T>> outputs, TensorView<const float> targets,
                    TensorView<T> doutputs) const {
    static_assert(!std::is_const_v<T>, "the gradient is written to");
    detail::check_loss_shapes("MeanSquaredError", outputs.shape(), targets.shape(),
                              doutputs ? &doutputs.shape() : nullptr);
    const index_t count = outputs ? outputs.size() : 0;
    const double scale = count > 0 ? 1 / static_cast<double>(count) : 0;
    double sum = 0;
    for (index_t i = 0; i < count; ++i) {
      const double difference = static_cast<double>(outputs[i]) - static_cast<double>(targets[i]);
      sum += difference * difference;
      if (doutputs) doutputs[i] = detail::round_to<T>(2 * difference * scale);
    }
    return sum * scale;
  }

  /// The loss alone.
  template <class V>
  double operator()(TensorView<V> outputs, TensorView<const float> targets) const {
    return (*this)(outputs, targets, TensorView<std::remove_const_t<V>>{});
  }
};

/// Probabilities (n, k) of logits (n, k): each row positive or zero and summing to one up to rounding, for all finite
/// logits. Computed in double. `probabilities` may be `logits` itself. Throws ShapeError.
template <class T, class U>
void softmax(TensorView<T> logits, TensorView<U> probabilities) {
  detail::check_rows("softmax", logits.shape());
  if (probabilities.shape() != logits.shape()) {
    fail<ShapeError>({"softmax: the result is ", probabilities.shape(), ", expected ", logits.shape()});
  }
  const index_t k = logits.shape()[1];
  for (index_t r = 0; r < logits.shape()[0]; ++r) {
    const T* z = logits.data() + r * k;
    const auto [largest, log_sum] = detail::log_sum_exp(z, k);
    const double sum = std::exp(log_sum);
    for (index_t c = 0; c < k; ++c) {
      probabilities[r * k + c] = detail::round_to<U>(std::exp(static_cast<double>(z[c]) - largest) / sum);
    }
  }
}

}  // namespace mien
