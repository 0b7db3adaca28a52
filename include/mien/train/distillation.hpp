// Distillation: a network learns what other networks answer, besides what the labels say.
#pragma once

#include <utility>

#include "mien/nn/loss.hpp"
#include "mien/nn/prepared.hpp"
#include "mien/train/evaluate.hpp"
#include "mien/train/fit.hpp"

namespace mien {

/// Targets (1 - weight) t + weight p, t being those of the labels and p the mean of what the teachers' softmax gives
/// for the very inputs that the student sees, augmented and mixed as they are: Hinton, Vinyals and Dean, "Distilling
/// the Knowledge in a Neural Network", 2015, at temperature 1, with the same view for both as in Beyer et al.,
/// "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022. Each teacher costs a forward pass per
/// batch.
template <class T>
class Distillation : public TargetSource {
 public:
  /// Teachers with the student's input and output, for batches of `batch` (others are only slower); `threads` must
  /// outlive this. Throws ArgumentError without a teacher, for a weight outside [0, 1] or a network that is not built,
  /// ShapeError for teachers that differ from each other.
  Distillation(std::vector<Sequential<T>> teachers, float weight, index_t batch, const Threads& threads)
      : weight_(weight), workspace_(threads) {
    if (teachers.empty()) fail<ArgumentError>("Distillation: no teacher is given");
    if (!(weight >= 0 && weight <= 1)) {
      fail<ArgumentError>({"Distillation: the teachers' weight is ", weight, ", expected a value from 0 to 1"});
    }
    for (Sequential<T>& teacher : teachers) {
      teachers_.emplace_back(std::move(teacher), batch);
      const Sequential<T>&first = teachers_.front().network(), &net = teachers_.back().network();
      if (net.input_shape() != first.input_shape() || net.output_shape() != first.output_shape()) {
        fail<ShapeError>({"Distillation: one teacher takes ", first.input_shape(), " and gives ", first.output_shape(),
                          ", another takes ", net.input_shape(), " and gives ", net.output_shape()});
      }
    }
  }

  /// Throws ShapeError where inputs or targets are not what the teachers take and give, NumericError where a teacher's
  /// answer is not finite.
  void retarget(TensorView<const float> inputs, TensorView<float> targets) override {
    const Shape out = teachers_.front().network().output_shape().with_batch(inputs.shape()[0]);
    if (targets.shape() != out) {
      fail<ShapeError>({"Distillation: the teachers give ", out, ", the targets are ", targets.shape()});
    }
    if (logits_.size() < out.size()) {
      logits_ = Tensor<T>(out);
      answers_ = Tensor<float>(out);
    }
    const TensorView<T> y(logits_.data(), out);
    const TensorView<float> p(answers_.data(), out);
    const float share = weight_ / static_cast<float>(teachers_.size());
    for (float& value : targets) value *= 1 - weight_;
    const TensorView<const T> x = detail::convert_batch(inputs, converted_, workspace_.threads());
    for (const Prepared<T>& teacher : teachers_) {
      teacher.infer(x, y, workspace_);
      softmax(TensorView<const T>(y), p);
      for (index_t i = 0; i < out.size(); ++i) {
        if (!std::isfinite(p[i])) fail<NumericError>("Distillation: a teacher's answer is not finite");
        targets[i] += share * p[i];
      }
    }
  }

 private:
  std::vector<Prepared<T>> teachers_;
  float weight_;
  Workspace workspace_;
  Tensor<T> converted_, logits_;
  Tensor<float> answers_;
};

}  // namespace mien
