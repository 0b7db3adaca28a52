// Datasets: definitions for mien/data/dataset.hpp. Private.
#pragma once

#include <algorithm>
#include <cmath>

#include "mien/data/dataset.hpp"

namespace mien {

namespace detail {

MIEN_BODY void check_index(index_t i, index_t size) {
  if (i < 0 || i >= size) {
    fail<ArgumentError>({"sample ", i, " of a dataset of ", size});
  }
}

MIEN_BODY void check_input_size(std::span<float> input, const Shape& shape) {
  if (static_cast<index_t>(input.size()) != shape.size()) {
    fail<ShapeError>({"room for ", input.size(), " values where a sample of shape ", shape, " was asked for"});
  }
}

MIEN_BODY void check_labels(std::span<const int> labels, index_t samples, int classes) {
  if (classes < 1) fail<ArgumentError>({"a dataset of ", classes, " classes: at least one is needed"});
  if (static_cast<index_t>(labels.size()) != samples) {
    fail<ShapeError>({labels.size(), " labels for ", samples, " images"});
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= classes) {
      fail<ArgumentError>({"label ", labels[i], " of sample ", i, " is not in 0..", classes - 1});
    }
  }
}

}  // namespace detail

MIEN_BODY TensorDataset::TensorDataset(Tensor<float> images, std::vector<int> labels, int classes)
    : images_(std::move(images)), labels_(std::move(labels)), classes_(classes) {
  if (images_.shape().rank() != 4) {
    fail<ShapeError>({"images of shape ", images_.shape(), ": expected (n, height, width, channels)"});
  }
  detail::check_labels(labels_, images_.shape()[0], classes_);
}

MIEN_BODY index_t TensorDataset::size() const { return images_.shape()[0]; }

MIEN_BODY Shape TensorDataset::shape() const { return images_.shape().without_batch(); }

MIEN_BODY int TensorDataset::classes() const { return classes_; }

MIEN_BODY int TensorDataset::label(index_t i) const {
  detail::check_index(i, size());
  return labels_[static_cast<std::size_t>(i)];
}

MIEN_BODY void TensorDataset::get(index_t i, const SampleKey&, std::span<float> input) const {
  detail::check_index(i, size());
  detail::check_input_size(input, shape());
  std::copy_n(images_.data() + i * shape().size(), input.size(), input.data());
}

MIEN_BODY ByteDataset::ByteDataset(std::vector<std::uint8_t> pixels, const Shape& shape, std::vector<int> labels,
                                   int classes, float mean, float deviation)
    : pixels_(std::move(pixels)), shape_(shape), labels_(std::move(labels)), classes_(classes) {
  if (shape_.rank() != 3 || shape_.size() == 0) {
    fail<ShapeError>({"samples of shape ", shape_, ": expected (height, width, channels), none empty"});
  }
  const auto bytes = static_cast<std::size_t>(shape_.size());
  if (pixels_.size() % bytes != 0) {
    fail<ShapeError>({pixels_.size(), " bytes are no whole number of images of shape ", shape_});
  }
  detail::check_labels(labels_, static_cast<index_t>(pixels_.size() / bytes), classes_);
  normalize(mean, deviation);
}

MIEN_BODY void ByteDataset::normalize(float mean, float deviation) {
  if (!std::isfinite(mean) || !std::isfinite(deviation) || !(deviation > 0.0f)) {
    fail<ArgumentError>(
        {"mean ", mean, ", deviation ", deviation, ": expected finite numbers, the deviation positive"});
  }
  mean_ = mean;
  deviation_ = deviation;
  for (int value = 0; value < 256; ++value) {
    values_[value] = (static_cast<float>(value) / 255.0f - mean) / deviation;
  }
}

MIEN_BODY index_t ByteDataset::size() const { return static_cast<index_t>(labels_.size()); }

MIEN_BODY Shape ByteDataset::shape() const { return shape_; }

MIEN_BODY int ByteDataset::classes() const { return classes_; }

MIEN_BODY int ByteDataset::label(index_t i) const {
  detail::check_index(i, size());
  return labels_[static_cast<std::size_t>(i)];
}

MIEN_BODY void ByteDataset::get(index_t i, const SampleKey&, std::span<float> input) const {
  detail::check_input_size(input, shape_);
  const auto bytes = pixels(i);
  for (std::size_t k = 0; k < bytes.size(); ++k) input[k] = values_[bytes[k]];
}

MIEN_BODY std::span<const std::uint8_t> ByteDataset::pixels(index_t i) const {
  detail::check_index(i, size());
  const auto bytes = static_cast<std::size_t>(shape_.size());
  return {pixels_.data() + static_cast<std::size_t>(i) * bytes, bytes};
}

MIEN_BODY PixelStatistics pixel_statistics(std::span<const std::uint8_t> pixels) {
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

MIEN_BODY Subset::Subset(const Dataset& dataset, std::vector<index_t> indices)
    : dataset_(&dataset), indices_(std::move(indices)) {
  for (const index_t i : indices_) detail::check_index(i, dataset.size());
}

MIEN_BODY index_t Subset::size() const { return static_cast<index_t>(indices_.size()); }

MIEN_BODY Shape Subset::shape() const { return dataset_->shape(); }

MIEN_BODY int Subset::classes() const { return dataset_->classes(); }

MIEN_BODY int Subset::label(index_t i) const { return dataset_->label(original(i)); }

MIEN_BODY void Subset::get(index_t i, const SampleKey& key, std::span<float> input) const {
  dataset_->get(original(i), key, input);
}

MIEN_BODY index_t Subset::original(index_t i) const {
  detail::check_index(i, size());
  return indices_[static_cast<std::size_t>(i)];
}

}  // namespace mien
