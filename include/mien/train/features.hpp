// CachedFeatures: what comes out of a network's first layers, computed once and trained on many times.
#pragma once

#include <vector>

#include "mien/train/evaluate.hpp"

namespace mien {

/// A dataset of the outputs of the first `layers` layers of `net` on every sample of `dataset`, computed in inference
/// on construction: 4 bytes a value. Throws ArgumentError where `net` has fewer layers. When those layers are frozen
/// (`layers` = net.frozen_prefix()), training the rest on them with FitOptions::first_layer = layers gives what
/// training the whole network would, at the cost of the rest.
class CachedFeatures : public Dataset {
 public:
  template <class T>
  CachedFeatures(const Sequential<T>& net, index_t layers, const Dataset& dataset, Workspace& workspace,
                 index_t batch = 128)
      : values_(shape_of(net, layers).with_batch(dataset.size())), classes_(dataset.classes()) {
    Batches batches(dataset, {.batch = batch, .shuffle = false, .prefetch = 1, .threads = 1});
    Tensor<T> converted, features;
    index_t first = 0;
    while (const Batch* b = batches.next()) {
      const Shape shape = shape_().with_batch(b->count);
      if (features.size() < shape.size()) features = Tensor<T>(shape);
      const TensorView<const float> inputs(b->inputs.data(), dataset.shape().with_batch(b->count));
      net.infer(detail::convert_batch(inputs, converted, workspace.threads()), TensorView<T>(features.data(), shape),
                workspace, {0, layers});
      float* to = values_.data() + first * shape_().size();
      for (index_t i = 0; i < shape.size(); ++i) to[i] = static_cast<float>(features[i]);
      labels_.insert(labels_.end(), b->labels.begin(), b->labels.end());
      first += b->count;
    }
  }

  index_t size() const override { return values_.shape()[0]; }
  Shape shape() const override { return shape_(); }
  int classes() const override { return classes_; }
  int label(index_t i) const override {
    detail::check_index(i, size());
    return labels_[static_cast<std::size_t>(i)];
  }
  void get(index_t i, const SampleKey&, std::span<float> input) const override {
    detail::check_index(i, size());
    detail::check_input_size(input, shape_());
    std::copy_n(values_.data() + i * shape_().size(), input.size(), input.data());
  }

  /// (samples, ... shape of one).
  const Tensor<float>& values() const { return values_; }
  Tensor<float>& values() { return values_; }

 private:
  template <class T>
  static const Shape& shape_of(const Sequential<T>& net, index_t layers) {
    if (layers < 0 || layers > net.layer_count()) {
      fail<ArgumentError>({"no features behind ", layers, " layers: the network has ", net.layer_count()});
    }
    return net.shape_after(layers);
  }
  Shape shape_() const { return values_.shape().without_batch(); }

  Tensor<float> values_;
  std::vector<int> labels_;
  int classes_;
};

}  // namespace mien
