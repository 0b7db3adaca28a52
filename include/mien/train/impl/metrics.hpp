// Metrics: definitions for mien/train/metrics.hpp. Private.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "mien/train/metrics.hpp"

namespace mien {

MIEN_BODY Evaluation::Evaluation(index_t classes) : classes_(classes) {
  if (classes < 1 || classes > 65536) {
    fail<ArgumentError>({"evaluation: ", classes, " classes, expected 1 to 65536"});
  }
  confusion_.assign(static_cast<std::size_t>(classes * classes), 0);
}

MIEN_BODY void Evaluation::merge(const Evaluation& other) {
  if (other.classes_ != classes_) {
    fail<ArgumentError>({"evaluation: cannot merge one of ", other.classes_, " classes into one of ", classes_});
  }
  count_ += other.count_;
  loss_ += other.loss_;
  for (std::size_t i = 0; i < confusion_.size(); ++i) confusion_[i] += other.confusion_[i];
  for (std::size_t i = 0; i < bins_.size(); ++i) {
    bins_[i].confidence += other.bins_[i].confidence;
    bins_[i].correct += other.bins_[i].correct;
  }
}

MIEN_BODY double Evaluation::accuracy() const {
  index_t correct = 0;
  for (index_t c = 0; c < classes_; ++c) correct += confusion(c, c);
  return ratio(static_cast<double>(correct), static_cast<double>(count_));
}

MIEN_BODY ClassMetrics Evaluation::of_class(index_t c) const {
  ClassMetrics m;
  m.correct = confusion(c, c);
  for (index_t other = 0; other < classes_; ++other) {
    m.support += confusion(c, other);
    m.predicted += confusion(other, c);
  }
  m.precision = ratio(static_cast<double>(m.correct), static_cast<double>(m.predicted));
  m.recall = ratio(static_cast<double>(m.correct), static_cast<double>(m.support));
  m.f1 = ratio(2 * static_cast<double>(m.correct), static_cast<double>(m.support + m.predicted));
  return m;
}

MIEN_BODY double Evaluation::macro_f1() const {
  double sum = 0;
  double present = 0;
  for (index_t c = 0; c < classes_; ++c) {
    const ClassMetrics m = of_class(c);
    if (m.support == 0) continue;
    sum += m.f1;
    present += 1;
  }
  return ratio(sum, present);
}

MIEN_BODY double Evaluation::calibration_error() const {
  double sum = 0;
  for (const Bin& bin : bins_) sum += std::abs(bin.correct - bin.confidence);
  return ratio(sum, static_cast<double>(count_));
}

MIEN_BODY Metrics Evaluation::metrics() const { return {count_, loss(), accuracy(), macro_f1(), calibration_error()}; }

MIEN_BODY void Evaluation::record(const Sample& sample, index_t label) {
  ++count_;
  loss_ += sample.loss;
  ++confusion_[static_cast<std::size_t>(label * classes_ + sample.prediction)];
  const double place = std::ceil(sample.confidence * calibration_bins) - 1;
  Bin& bin = bins_[static_cast<std::size_t>(std::clamp(place, 0.0, calibration_bins - 1.0))];
  bin.confidence += sample.confidence;
  bin.correct += sample.prediction == label ? 1 : 0;
}

}  // namespace mien
