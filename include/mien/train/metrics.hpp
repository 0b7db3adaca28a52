// Metrics of a classifier, accumulated batch by batch.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "mien/core/tensor.hpp"
#include "mien/nn/loss.hpp"

namespace mien {

/// The figures of an evaluation in one line. All are 0 for no samples.
struct Metrics {
  index_t count = 0;
  double loss = 0;
  double accuracy = 0;
  double macro_f1 = 0;
  double calibration_error = 0;
};

/// Figures of one class. A quotient of 0 by 0 counts as 0.
struct ClassMetrics {
  index_t support = 0;    // samples of this class
  index_t predicted = 0;  // samples taken for this class
  index_t correct = 0;    // samples of this class taken for it
  double precision = 0;   // correct / predicted
  double recall = 0;      // correct / support
  double f1 = 0;          // 2 correct / (support + predicted), the harmonic mean of the two
};

/// Collects predictions and their labels; every figure can be asked for at any time. The predicted class is the most
/// probable one, the first of several equal ones. Sums are taken in double in the order of add, so the same samples in
/// the same order give the same figures to the bit.
class Evaluation {
 public:
  /// Bins of the calibration error.
  static constexpr int calibration_bins = 15;

  /// Throws ArgumentError for fewer than one class or more than 65,536 (the confusion matrix is held whole).
  explicit Evaluation(index_t classes);

  /// Adds samples by their logits (n, classes). Throws ShapeError where sizes do not fit, ArgumentError for a label
  /// outside 0..classes-1, NumericError for a row that gives no probabilities (NaN, +infinity); nothing has been added
  /// then.
  template <class T>
  void add_logits(TensorView<T> logits, std::span<const int> labels) {
    add(logits, labels, [](const auto* z, index_t k, double* p) {
      const auto [largest, log_sum] = detail::log_sum_exp(z, k);
      const double sum = std::exp(log_sum);
      for (index_t c = 0; c < k; ++c) p[c] = std::exp(static_cast<double>(z[c]) - largest) / sum;
      // Exact where the probability itself would round to 0.
      return [z, largest = largest, log_sum = log_sum](index_t c) {
        return log_sum + (largest - static_cast<double>(z[c]));
      };
    });
  }

  /// Adds samples by their probabilities (n, classes), such as means over several crops. The loss of a sample whose
  /// probability is below the smallest normal float is taken for that one: 87.3. Throws as add_logits.
  template <class T>
  void add_probabilities(TensorView<T> probabilities, std::span<const int> labels) {
    add(probabilities, labels, [](const auto* row, index_t k, double* p) {
      for (index_t c = 0; c < k; ++c) p[c] = static_cast<double>(row[c]);
      return [p](index_t c) { return -std::log(std::max(p[c], 0x1p-126)); };
    });
  }

  /// Adds the samples of another evaluation, as if they came after those of this one.
  void merge(const Evaluation& other);

  index_t classes() const { return classes_; }
  index_t count() const { return count_; }
  /// Samples whose label is `truth` and that were taken for `prediction`.
  index_t confusion(index_t truth, index_t prediction) const {
    return confusion_[static_cast<std::size_t>(truth * classes_ + prediction)];
  }
  /// The whole matrix, row-major: a row per true class, a column per predicted one.
  std::span<const index_t> confusion() const { return confusion_; }

  /// Mean of -log(probability of the label).
  double loss() const { return ratio(loss_, static_cast<double>(count_)); }
  /// Share of samples taken for their class.
  double accuracy() const;
  ClassMetrics of_class(index_t c) const;
  /// Mean F1 over the classes that occur among the labels. (Over all classes, a class that is absent from a small test
  /// set would count as a failure.)
  double macro_f1() const;
  /// Expected calibration error (Guo et al., arXiv 1706.04599): samples go into 15 equal bins (0, 1/15], (1/15, 2/15],
  /// ... by the probability of the predicted class; the error is the mean over samples of how far their bin's accuracy
  /// lies from its mean probability.
  double calibration_error() const;
  Metrics metrics() const;

 private:
  struct Bin {
    double confidence = 0;
    double correct = 0;
  };
  struct Sample {
    index_t prediction;
    double confidence;
    double loss;
  };

  static double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

  template <class T, class ReadRow>
  void add(TensorView<T> rows, std::span<const int> labels, ReadRow&& read_row) {
    const Shape& shape = rows.shape();
    const auto n = static_cast<index_t>(labels.size());
    if (shape != Shape{n, classes_}) {
      fail<ShapeError>({"evaluation: got ", shape, " with ", n, " labels, expected ", Shape{n, classes_}.to_string()});
    }
    std::vector<double> p(static_cast<std::size_t>(classes_));
    std::vector<Sample> samples(labels.size());
    for (index_t r = 0; r < n; ++r) {
      const int label = labels[static_cast<std::size_t>(r)];
      if (label < 0 || label >= classes_) {
        fail<ArgumentError>({"evaluation: label ", label, " of sample ", count_ + r, " is not in 0..", classes_ - 1});
      }
      const auto loss = read_row(rows.data() + r * classes_, classes_, p.data());
      Sample& sample = samples[static_cast<std::size_t>(r)];
      for (index_t c = 1; c < classes_; ++c) {
        if (p[static_cast<std::size_t>(c)] > p[static_cast<std::size_t>(sample.prediction)]) sample.prediction = c;
      }
      for (double value : p) {
        if (!std::isfinite(value)) {
          fail<NumericError>({"evaluation: the network's answer to sample ", count_ + r, " is not finite"});
        }
      }
      sample.confidence = p[static_cast<std::size_t>(sample.prediction)];
      sample.loss = loss(label);
    }
    for (std::size_t r = 0; r < samples.size(); ++r) record(samples[r], labels[r]);
  }

  void record(const Sample& sample, index_t label);

  index_t classes_;
  index_t count_ = 0;
  double loss_ = 0;
  std::vector<index_t> confusion_;
  std::array<Bin, calibration_bins> bins_{};
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/train/impl/metrics.hpp"
#endif
