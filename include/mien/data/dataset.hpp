// Datasets: numbered samples, each an image of floats and a label.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"
#include "mien/core/tensor.hpp"

namespace mien {

/// What the random part of a sample (augmentation) depends on, beside its index. A dataset without one ignores it.
struct SampleKey {
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
};

/// `size()` samples of one shape (height, width, channels), each with a label in [0, classes()).
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual index_t size() const = 0;
  /// Of one sample: (height, width, channels).
  virtual Shape shape() const = 0;
  virtual int classes() const = 0;
  virtual int label(index_t i) const = 0;
  /// Writes sample i, row-major, to all of `input` (shape().size() floats). Depends on (i, key) alone, and may be
  /// called by several threads at once. Throws ArgumentError for i outside [0, size()), ShapeError for another input
  /// size.
  virtual void get(index_t i, const SampleKey& key, std::span<float> input) const = 0;
};

namespace detail {

inline void check_index(index_t i, index_t size) {
  if (i < 0 || i >= size) {
    fail<ArgumentError>("sample " + std::to_string(i) + " of a dataset of " + std::to_string(size));
  }
}

inline void check_input_size(std::span<float> input, const Shape& shape) {
  if (static_cast<index_t>(input.size()) != shape.size()) {
    fail<ShapeError>("room for " + std::to_string(input.size()) + " values where a sample of shape " +
                     shape.to_string() + " was asked for");
  }
}

inline void check_labels(std::span<const int> labels, index_t samples, int classes) {
  if (classes < 1) fail<ArgumentError>("a dataset of " + std::to_string(classes) + " classes: at least one is needed");
  if (static_cast<index_t>(labels.size()) != samples) {
    fail<ShapeError>(std::to_string(labels.size()) + " labels for " + std::to_string(samples) + " images");
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= classes) {
      fail<ArgumentError>("label " + std::to_string(labels[i]) + " of sample " + std::to_string(i) + " is not in 0.." +
                          std::to_string(classes - 1));
    }
  }
}

}  // namespace detail

/// Samples held as floats, given out as they are: 4 bytes a value.
class TensorDataset : public Dataset {
 public:
  /// `images` (n, height, width, channels), one label for each. Throws ShapeError when the rank or the counts differ,
  /// ArgumentError for a label outside [0, classes).
  TensorDataset(Tensor<float> images, std::vector<int> labels, int classes)
      : images_(std::move(images)), labels_(std::move(labels)), classes_(classes) {
    if (images_.shape().rank() != 4) {
      fail<ShapeError>("images of shape " + images_.shape().to_string() + ": expected (n, height, width, channels)");
    }
    detail::check_labels(labels_, images_.shape()[0], classes_);
  }

  index_t size() const override { return images_.shape()[0]; }
  Shape shape() const override { return images_.shape().without_batch(); }
  int classes() const override { return classes_; }
  int label(index_t i) const override {
    detail::check_index(i, size());
    return labels_[static_cast<std::size_t>(i)];
  }
  void get(index_t i, const SampleKey&, std::span<float> input) const override {
    detail::check_index(i, size());
    detail::check_input_size(input, shape());
    std::copy_n(images_.data() + i * shape().size(), input.size(), input.data());
  }

  const Tensor<float>& images() const { return images_; }

 private:
  Tensor<float> images_;
  std::vector<int> labels_;
  int classes_;
};

/// Samples held as bytes, one a value; given out as (byte / 255 - mean) / deviation.
class ByteDataset : public Dataset {
 public:
  /// `pixels` holds the images one after the other, each of `shape` (height, width, channels), row-major. Throws
  /// ShapeError when their number is not that of the labels, ArgumentError for a label outside [0, classes), a mean
  /// that is not finite, or a deviation that is not positive and finite.
  ByteDataset(std::vector<std::uint8_t> pixels, const Shape& shape, std::vector<int> labels, int classes, float mean,
              float deviation)
      : pixels_(std::move(pixels)), shape_(shape), labels_(std::move(labels)), classes_(classes) {
    if (shape_.rank() != 3 || shape_.size() == 0) {
      fail<ShapeError>("samples of shape " + shape_.to_string() + ": expected (height, width, channels), none empty");
    }
    const auto bytes = static_cast<std::size_t>(shape_.size());
    if (pixels_.size() % bytes != 0) {
      fail<ShapeError>(std::to_string(pixels_.size()) + " bytes are no whole number of images of shape " +
                       shape_.to_string());
    }
    detail::check_labels(labels_, static_cast<index_t>(pixels_.size() / bytes), classes_);
    normalize(mean, deviation);
  }

  /// Gives the samples out with another mean and deviation from now on. Not while others call get.
  void normalize(float mean, float deviation) {
    if (!std::isfinite(mean) || !std::isfinite(deviation) || !(deviation > 0.0f)) {
      fail<ArgumentError>("mean " + std::to_string(mean) + ", deviation " + std::to_string(deviation) +
                          ": expected finite numbers, the deviation positive");
    }
    mean_ = mean;
    deviation_ = deviation;
    for (int value = 0; value < 256; ++value) {
      values_[value] = (static_cast<float>(value) / 255.0f - mean) / deviation;
    }
  }

  index_t size() const override { return static_cast<index_t>(labels_.size()); }
  Shape shape() const override { return shape_; }
  int classes() const override { return classes_; }
  int label(index_t i) const override {
    detail::check_index(i, size());
    return labels_[static_cast<std::size_t>(i)];
  }
  void get(index_t i, const SampleKey&, std::span<float> input) const override {
    detail::check_input_size(input, shape_);
    const auto bytes = pixels(i);
    for (std::size_t k = 0; k < bytes.size(); ++k) input[k] = values_[bytes[k]];
  }

  /// The bytes of sample i. Throws ArgumentError outside [0, size()).
  std::span<const std::uint8_t> pixels(index_t i) const {
    detail::check_index(i, size());
    const auto bytes = static_cast<std::size_t>(shape_.size());
    return {pixels_.data() + static_cast<std::size_t>(i) * bytes, bytes};
  }
  float mean() const { return mean_; }
  float deviation() const { return deviation_; }

 private:
  std::vector<std::uint8_t> pixels_;
  Shape shape_;
  std::vector<int> labels_;
  int classes_;
  float mean_ = 0.0f;
  float deviation_ = 1.0f;
  float values_[256] = {};
};

/// Mean and deviation (root of the mean squared distance from the mean) of all bytes, in units of 255: what ByteDataset
/// takes to give out values of mean 0 and deviation 1. Exact sums, so the order of the bytes does not matter. Of no
/// bytes or equal ones the deviation is 1.
struct PixelStatistics {
  float mean = 0.0f;
  float deviation = 1.0f;
};
inline PixelStatistics pixel_statistics(std::span<const std::uint8_t> pixels) {
  if (pixels.empty()) return {};
  std::uint64_t counts[256] = {};
  for (const std::uint8_t value : pixels) ++counts[value];
  double sum = 0.0;
  for (int value = 0; value < 256; ++value) sum += static_cast<double>(counts[value]) * value;
  const double count = static_cast<double>(pixels.size());
  const double mean = sum / count;
  double squares = 0.0;
  for (int value = 0; value < 256; ++value) {
    squares += static_cast<double>(counts[value]) * (value - mean) * (value - mean);
  }
  const double deviation = std::sqrt(squares / count);
  return {static_cast<float>(mean / 255.0), deviation > 0.0 ? static_cast<float>(deviation / 255.0) : 1.0f};
}

/// Samples `indices` of another dataset, in that order, as samples 0, 1, ... The other one is borrowed and has to
/// outlive this. A sample keeps its index there for the draws of an augmentation inside it, while an augmentation
/// around this draws by the new index.
class Subset : public Dataset {
 public:
  /// Throws ArgumentError for an index outside the dataset.
  Subset(const Dataset& dataset, std::vector<index_t> indices) : dataset_(&dataset), indices_(std::move(indices)) {
    for (const index_t i : indices_) detail::check_index(i, dataset.size());
  }
  Subset(Dataset&&, std::vector<index_t>) = delete;

  index_t size() const override { return static_cast<index_t>(indices_.size()); }
  Shape shape() const override { return dataset_->shape(); }
  int classes() const override { return dataset_->classes(); }
  int label(index_t i) const override { return dataset_->label(original(i)); }
  void get(index_t i, const SampleKey& key, std::span<float> input) const override {
    dataset_->get(original(i), key, input);
  }

  /// The index of sample i in the dataset it comes from.
  index_t original(index_t i) const {
    detail::check_index(i, size());
    return indices_[static_cast<std::size_t>(i)];
  }

 private:
  const Dataset* dataset_;
  std::vector<index_t> indices_;
};

}  // namespace mien
