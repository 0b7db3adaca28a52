// The personal head: a softmax regression that starts from, is anchored at and is held to the general one.
#pragma once

#include <cmath>
#include <deque>
#include <span>
#include <vector>

#include "mien/core/tensor.hpp"
#include "mien/core/threads.hpp"
#include "mien/kernels/parallel.hpp"

namespace mien::fer {

/// Weights (classes, width) and bias (classes) of a dense layer, in double.
struct Head {
  index_t classes = 0, width = 0;
  std::vector<double> values;  ///< classes rows of width weights and the bias

  Head(index_t k, index_t d) : classes(k), width(d), values(static_cast<std::size_t>(k * (d + 1))) {}
  double* row(index_t k) { return values.data() + k * (width + 1); }
  const double* row(index_t k) const { return values.data() + k * (width + 1); }

  /// Softmax of the logits of one feature vector.
  void probabilities(const float* feature, double* p) const {
    double largest = -INFINITY, sum = 0;
    for (index_t k = 0; k < classes; ++k) {
      const double* w = row(k);
      double z = w[width];
      for (index_t i = 0; i < width; ++i) z += w[i] * static_cast<double>(feature[i]);
      p[k] = z;
      largest = std::max(largest, z);
    }
    for (index_t k = 0; k < classes; ++k) sum += p[k] = std::exp(p[k] - largest);
    for (index_t k = 0; k < classes; ++k) p[k] /= sum;
  }
};

/// Class probabilities (n, classes) of features (n, width).
inline std::vector<float> predict(const Head& head, TensorView<const float> features) {
  const index_t n = features.shape()[0];
  std::vector<float> result(static_cast<std::size_t>(n * head.classes));
  std::vector<double> p(static_cast<std::size_t>(head.classes));
  for (index_t i = 0; i < n; ++i) {
    head.probabilities(features.data() + i * head.width, p.data());
    for (index_t k = 0; k < head.classes; ++k)
      result[static_cast<std::size_t>(i * head.classes + k)] = static_cast<float>(p[static_cast<std::size_t>(k)]);
  }
  return result;
}

struct HeadOptions {
  /// Pull towards the general weights: lambda * |w - w0|^2.
  double anchor = 1e-4;
  /// Weight of the replay term: how strongly the general network's answers are to be kept.
  double replay = 1;
  int steps = 80;
};

namespace detail {

/// The objective, convex in the head:
///   mean over the person's pictures of -log p(label) + anchor * |w - w0|^2
///   + replay * mean over the bank of the cross entropy between the general answers and these (distillation)
class HeadObjective {
 public:
  HeadObjective(const Head& general, TensorView<const float> features, std::span<const int> labels,
                TensorView<const float> bank, const HeadOptions& options, const Threads& threads)
      : general_(general), options_(options), threads_(threads) {
    const auto classes = static_cast<std::size_t>(general.classes);
    for (index_t i = 0; i < features.shape()[0]; ++i) {
      std::vector<double> target(classes, 0);
      target[static_cast<std::size_t>(labels[static_cast<std::size_t>(i)])] = 1;
      samples_.push_back(
          {features.data() + i * general.width, std::move(target), 1.0 / static_cast<double>(features.shape()[0])});
    }
    const index_t m = bank ? bank.shape()[0] : 0;
    for (index_t i = 0; i < m && options.replay > 0; ++i) {
      std::vector<double> target(classes);
      general.probabilities(bank.data() + i * general.width, target.data());
      samples_.push_back({bank.data() + i * general.width, std::move(target), options.replay / static_cast<double>(m)});
    }
    pieces_ = (static_cast<index_t>(samples_.size()) + piece - 1) / piece;
    partial_.resize(static_cast<std::size_t>(pieces_) * (general.values.size() + 1));
  }

  /// Value and gradient at `head`. Pieces of the samples go over threads and are added in order.
  double operator()(const Head& head, std::vector<double>& gradient) const {
    const std::size_t size = head.values.size();
    kernels::parallel_pieces(threads_, static_cast<index_t>(samples_.size()), piece,
                             [&](index_t first, index_t last) MIEN_INLINE {
                               double* out = partial_.data() + static_cast<std::size_t>(first / piece) * (size + 1);
                               std::fill_n(out, size + 1, 0.0);
                               for (index_t i = first; i < last; ++i)
                                 add(head, samples_[static_cast<std::size_t>(i)], out, out + size);
                             });
    gradient.assign(size, 0);
    double value = 0;
    for (index_t p = 0; p < pieces_; ++p) {
      const double* from = partial_.data() + static_cast<std::size_t>(p) * (size + 1);
      for (std::size_t i = 0; i < size; ++i) gradient[i] += from[i];
      value += from[size];
    }
    for (std::size_t i = 0; i < size; ++i) {
      const double d = head.values[i] - general_.values[i];
      value += options_.anchor * d * d;
      gradient[i] += 2 * options_.anchor * d;
    }
    return value;
  }

 private:
  struct Sample {
    const float* feature;
    std::vector<double> target;
    double weight;
  };
  static constexpr index_t piece = 128;

  MIEN_INLINE static void add(const Head& head, const Sample& s, double* gradient, double* value) {
    constexpr index_t lanes = 8;
    const index_t width = head.width, whole = width / lanes * lanes;
    double z[16], largest = -INFINITY, sum = 0;
    for (index_t k = 0; k < head.classes; ++k) {
      const double* w = head.row(k);
      double partial[lanes] = {};
      for (index_t i = 0; i < whole; i += lanes)
        for (index_t l = 0; l < lanes; ++l) partial[l] += w[i + l] * static_cast<double>(s.feature[i + l]);
      double total = w[width];
      for (index_t i = whole; i < width; ++i) total += w[i] * static_cast<double>(s.feature[i]);
      for (index_t l = 0; l < lanes; ++l) total += partial[l];
      z[k] = total;
      largest = std::max(largest, total);
    }
    for (index_t k = 0; k < head.classes; ++k) sum += std::exp(z[k] - largest);
    const double log_sum = largest + std::log(sum);
    for (index_t k = 0; k < head.classes; ++k) {
      const double target = s.target[static_cast<std::size_t>(k)];
      if (target > 0) *value += s.weight * target * (log_sum - z[k]);
      const double slope = s.weight * (std::exp(z[k] - log_sum) - target);
      double* g = gradient + k * (width + 1);
      for (index_t i = 0; i < width; ++i) g[i] += slope * static_cast<double>(s.feature[i]);
      g[width] += slope;
    }
  }

  const Head& general_;
  HeadOptions options_;
  const Threads& threads_;
  std::vector<Sample> samples_;
  index_t pieces_ = 0;
  mutable std::vector<double> partial_;
};

inline double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace detail

/// Adapts `general` to a person's features (n, width) and labels, n >= 1, held to its own answers on `bank` (m, width),
/// which may be empty. Throws ShapeError or ArgumentError where these do not fit. Minimizes the objective above by
/// L-BFGS (Nocedal, "Updating quasi-Newton matrices with limited storage", 1980; ten pairs, backtracking line search).
/// Bit-identical for any thread count.
inline Head personalize_head(const Head& general, TensorView<const float> features, std::span<const int> labels,
                             TensorView<const float> bank, const HeadOptions& options, const Threads& threads) {
  if (general.classes > 16) fail<ArgumentError>("a personal head has at most 16 classes");
  const Shape& shape = features.shape();
  if (shape.rank() != 2 || shape[0] < 1 || shape[1] != general.width ||
      shape[0] != static_cast<index_t>(labels.size()) ||
      (bank && (bank.shape().rank() != 2 || bank.shape()[1] != general.width))) {
    fail<ShapeError>("personal head: features are " + shape.to_string() + " with " + std::to_string(labels.size()) +
                     " labels, the bank is " + bank.shape().to_string() + "; expected (n, " +
                     std::to_string(general.width) + ") with n labels, n >= 1");
  }
  for (const int label : labels) {
    if (label < 0 || label >= general.classes) {
      fail<ArgumentError>("personal head: label " + std::to_string(label) + " of " + std::to_string(general.classes) +
                          " classes");
    }
  }
  const detail::HeadObjective objective(general, features, labels, bank, options, threads);
  Head head = general, next = general;
  std::vector<double> gradient, next_gradient, direction;
  double value = objective(head, gradient);
  struct Pair {
    std::vector<double> step, change;
    double scale;
  };
  std::deque<Pair> pairs;
  for (int iteration = 0; iteration < options.steps; ++iteration) {
    if (detail::dot(gradient, gradient) < 1e-16) break;
    // The two-loop recursion: direction = -H * gradient.
    direction = gradient;
    std::vector<double> alpha(pairs.size());
    for (std::size_t i = pairs.size(); i-- > 0;) {
      alpha[i] = pairs[i].scale * detail::dot(pairs[i].step, direction);
      for (std::size_t k = 0; k < direction.size(); ++k) direction[k] -= alpha[i] * pairs[i].change[k];
    }
    double first = 1 / std::max(1.0, std::sqrt(detail::dot(gradient, gradient)));
    if (!pairs.empty()) first = 1 / (pairs.back().scale * detail::dot(pairs.back().change, pairs.back().change));
    for (double& d : direction) d *= first;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const double beta = pairs[i].scale * detail::dot(pairs[i].change, direction);
      for (std::size_t k = 0; k < direction.size(); ++k) direction[k] += (alpha[i] - beta) * pairs[i].step[k];
    }
    const double slope = -detail::dot(gradient, direction);
    double length = 1, next_value = value;
    bool found = false;
    for (int trial = 0; trial < 30 && !found; ++trial, length *= 0.5) {
      for (std::size_t k = 0; k < head.values.size(); ++k) next.values[k] = head.values[k] - length * direction[k];
      next_value = objective(next, next_gradient);
      found = next_value <= value + 1e-4 * length * slope;
    }
    if (!found) break;
    Pair pair{next.values, next_gradient, 0};
    for (std::size_t k = 0; k < pair.step.size(); ++k) {
      pair.step[k] -= head.values[k];
      pair.change[k] -= gradient[k];
    }
    const double curvature = detail::dot(pair.step, pair.change);
    if (curvature > 1e-12) {
      pair.scale = 1 / curvature;
      pairs.push_back(std::move(pair));
      if (pairs.size() > 10) pairs.pop_front();
    }
    std::swap(head.values, next.values);
    std::swap(gradient, next_gradient);
    const bool settled = value - next_value < 1e-10 * std::abs(value);
    value = next_value;
    if (settled) break;
  }
  return head;
}

}  // namespace mien::fer
