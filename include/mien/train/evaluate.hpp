// Evaluation of a network on a dataset.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mien/data/batches.hpp"
#include "mien/kernels/round_row.hpp"
#include "mien/nn/sequential.hpp"
#include "mien/train/metrics.hpp"

namespace mien {

namespace detail {

/// Values of T from floats (the form in which batches come), reusing `to` where it is large enough.
template <class T>
TensorView<const T> convert_batch(TensorView<const float> from, Tensor<T>& to, const Threads& threads) {
  if constexpr (std::same_as<T, float>) {
    return from;
  } else {
    const Shape& shape = from.shape();
    if (to.size() < shape.size()) to = Tensor<T>(shape);
    using namespace kernels;
    parallel_pieces(threads, shape.size(), elementwise_piece,
                    [source = from.data(), out = to.data(), rounds = rounds_rows()](index_t first, index_t last)
                        MIEN_INLINE {
                          for (index_t i = first; i < last; i += row_values) {
                            write_row<float>(last - i < row_values ? last - i : row_values, out + i, rounds,
                                             [at = source + i](index_t k) MIEN_INLINE { return at[k]; });
                          }
                        });
    return {to.data(), shape};
  }
}

/// Looks for the first layer whose output is not finite.
template <class T>
class NonFiniteFinder : public Observer<T> {
 public:
  MIEN_COLD void output(std::string_view layer, std::string_view kind, TensorView<const T> y) override {
    if (!found.empty()) return;
    for (const T& value : y) {
      if (!std::isfinite(static_cast<parameter_t<T>>(value))) {
        found = "layer '" + std::string(layer) + "' (" + std::string(kind) + ") is the first with such an output";
        return;
      }
    }
  }
  std::string found;
};

/// y = the network's answers to x, from `first_layer` on. Throws NumericError, naming the first layer that went wrong,
/// when one is not finite.
template <class T>
MIEN_COLD void infer_finite(const Sequential<T>& net, TensorView<const T> x, TensorView<T> y, Workspace& workspace,
                            index_t first_layer) {
  net.infer(x, y, workspace, {first_layer});
  if (std::all_of(y.begin(), y.end(), [](T value) { return std::isfinite(static_cast<parameter_t<T>>(value)); }))
    return;
  NonFiniteFinder<T> finder;
  net.infer(x, y, workspace, {first_layer}, &finder);
  fail<NumericError>(
      {"evaluation: the network's answers are not finite: ", (finder.found.empty() ? "an input is not" : finder.found),
       ". What was saved before is kept; if it came so in training, try a smaller learning rate"});
}

}  // namespace detail

/// Calls f(first sample, its probabilities (count, classes), its labels) for each batch of `views`, which are the same
/// samples seen in different ways (ten crops, say): the probabilities are the mean over the views. Throws NumericError
/// as evaluate().
template <class T, class F>
void for_each_prediction(const Sequential<T>& net, std::span<const Dataset* const> views, index_t batch,
                         Workspace& workspace, F&& f) {
  if (views.empty()) fail<ArgumentError>("nothing to evaluate: no view of a dataset");
  const index_t samples = views[0]->size();
  const Shape output = net.output_shape();
  if (output.rank() != 1) fail<ShapeError>({"a classifier gives (classes), this network ", output});
  const Shape most = output.with_batch(std::min(batch, std::max<index_t>(samples, 1)));
  Tensor<T> converted, logits(most);
  Tensor<float> one(most), mean(most);
  std::vector<std::unique_ptr<Batches>> streams;
  for (const Dataset* view : views) {
    if (view->size() != samples) fail<ArgumentError>("views of a dataset differ in their number of samples");
    streams.push_back(
        std::make_unique<Batches>(*view, BatchOptions{.batch = batch, .shuffle = false, .prefetch = 1, .threads = 1}));
  }
  for (index_t first = 0; first < samples;) {
    index_t count = 0;
    std::span<const int> labels;
    for (std::size_t v = 0; v < views.size(); ++v) {
      const Batch& b = *streams[v]->next();
      const bool begin = v == 0;
      count = b.count;
      labels = b.labels;
      const Shape shape = output.with_batch(count);
      const TensorView<T> y(logits.data(), shape);
      const TensorView<const float> inputs(b.inputs.data(), views[v]->shape().with_batch(count));
      detail::infer_finite(net, detail::convert_batch(inputs, converted, workspace.threads()), y, workspace, 0);
      softmax(TensorView<const T>(y), TensorView<float>(one.data(), shape));
      const float weight = 1.0f / static_cast<float>(views.size());
      for (index_t i = 0; i < shape.size(); ++i) mean[i] = (begin ? 0.0f : mean[i]) + weight * one[i];
    }
    f(first, TensorView<const float>(mean.data(), output.with_batch(count)), labels);
    first += count;
  }
}

/// Loss, accuracy, confusion matrix and calibration of `net` on `dataset`; from `first_layer` on, if the dataset holds
/// features (see CachedFeatures). Bit-identical for any thread count. Throws NumericError, naming the first layer that
/// went wrong, when an answer is not finite.
template <class T>
MIEN_COLD Evaluation evaluate(const Sequential<T>& net, const Dataset& dataset, Workspace& workspace,
                              index_t batch = 128, index_t first_layer = 0) {
  Evaluation result(dataset.classes());
  const index_t rows = std::min(batch, std::max<index_t>(dataset.size(), 1));
  Tensor<T> converted, logits(net.output_shape().with_batch(rows));
  Batches batches(dataset, {.batch = rows, .shuffle = false, .prefetch = 1, .threads = 1});
  while (const Batch* b = batches.next()) {
    const TensorView<T> y(logits.data(), net.output_shape().with_batch(b->count));
    const TensorView<const float> inputs(b->inputs.data(), dataset.shape().with_batch(b->count));
    const auto x = detail::convert_batch(inputs, converted, workspace.threads());
    detail::infer_finite(net, x, y, workspace, first_layer);
    result.add_logits(TensorView<const T>(y), b->labels);
  }
  return result;
}

}  // namespace mien
