// What training reports, epoch by epoch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mien/core/shape.hpp"

namespace mien {

/// One epoch. Training figures are means over the epoch's batches as they were trained on (augmented, with dropout);
/// validation figures belong to the weights at its end, averaged ones where averaging is on, and are 0 without a
/// validation set.
struct EpochReport {
  int epoch = 0;  ///< counted from 1
  double train_loss = 0;
  double train_accuracy = 0;
  double validation_loss = 0;
  double validation_accuracy = 0;
  double validation_macro_f1 = 0;
  double learning_rate = 0;  ///< of the last step
  double seconds = 0;        ///< of training alone
  double images_per_second = 0;
};

struct History {
  std::vector<EpochReport> epochs;
  /// Epoch of the highest validation accuracy, the first of several equal ones; 0 without a validation set.
  int best_epoch = 0;
  double best_accuracy = 0;
  bool stopped_early = false;
};

/// A batch has been trained on.
struct BatchReport {
  int epoch = 0;  ///< counted from 1
  int epochs = 0;
  index_t batch = 0;  ///< counted from 1
  index_t batches = 0;
  double loss = 0;      ///< mean of this epoch so far
  double accuracy = 0;  ///< of this epoch so far
  double images_per_second = 0;
};

/// Is told how training goes. Both may be left as they are.
class TrainingObserver {
 public:
  virtual ~TrainingObserver() = default;
  virtual void batch(const BatchReport&) {}
  /// Returns whether to go on. After the last call, fit returns.
  virtual bool epoch(const EpochReport&, const History&) { return true; }
};

}  // namespace mien
