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

void check_index(index_t i, index_t size);

void check_input_size(std::span<float> input, const Shape& shape);

void check_labels(std::span<const int> labels, index_t samples, int classes);

}  // namespace detail

/// Samples held as floats, given out as they are: 4 bytes a value.
class TensorDataset : public Dataset {
 public:
  /// `images` (n, height, width, channels), one label for each. Throws ShapeError when the rank or the counts differ,
  /// ArgumentError for a label outside [0, classes).
  TensorDataset(Tensor<float> images, std::vector<int> labels, int classes);

  MIEN_BODY index_t size() const override;
  MIEN_BODY Shape shape() const override;
  MIEN_BODY int classes() const override;
  MIEN_BODY int label(index_t i) const override;
  MIEN_BODY void get(index_t i, const SampleKey&, std::span<float> input) const override;

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
              float deviation);

  /// Gives the samples out with another mean and deviation from now on. Not while others call get.
  void normalize(float mean, float deviation);

  MIEN_BODY index_t size() const override;
  MIEN_BODY Shape shape() const override;
  MIEN_BODY int classes() const override;
  MIEN_BODY int label(index_t i) const override;
  MIEN_BODY void get(index_t i, const SampleKey&, std::span<float> input) const override;

  /// The bytes of sample i. Throws ArgumentError outside [0, size()).
  std::span<const std::uint8_t> pixels(index_t i) const;
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
PixelStatistics pixel_statistics(std::span<const std::uint8_t> pixels);

/// Samples `indices` of another dataset, in that order, as samples 0, 1, ... The other one is borrowed and has to
/// outlive this. A sample keeps its index there for the draws of an augmentation inside it, while an augmentation
/// around this draws by the new index.
class Subset : public Dataset {
 public:
  /// Throws ArgumentError for an index outside the dataset.
  Subset(const Dataset& dataset, std::vector<index_t> indices);
  Subset(Dataset&&, std::vector<index_t>) = delete;

  MIEN_BODY index_t size() const override;
  MIEN_BODY Shape shape() const override;
  MIEN_BODY int classes() const override;
  MIEN_BODY int label(index_t i) const override;
  MIEN_BODY void get(index_t i, const SampleKey& key, std::span<float> input) const override;

  /// The index of sample i in the dataset it comes from.
  index_t original(index_t i) const;

 private:
  const Dataset* dataset_;
  std::vector<index_t> indices_;
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/data/impl/dataset.hpp"
#endif
