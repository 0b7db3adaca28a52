// Batches: a dataset's samples in shuffled order, several at a time, prepared ahead by a thread of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "mien/core/config.hpp"
#include "mien/core/error.hpp"
#include "mien/core/random.hpp"
#include "mien/core/shape.hpp"
#include "mien/core/tensor.hpp"
#include "mien/core/threads.hpp"
#include "mien/data/dataset.hpp"

namespace mien {

/// Some samples and what they should be recognized as.
struct Batch {
  Tensor<float> inputs;     ///< (count, height, width, channels)
  Tensor<float> targets;    ///< (count, classes): the share of each class, 1 for the label unless samples are mixed
  std::vector<int> labels;  ///< of the samples themselves, mixed with another (see mixup_alpha) or not
  index_t count = 0;
};

struct BatchOptions {
  index_t batch = 64;
  bool shuffle = true;
  /// Leave out the last batch if it is not full.
  bool drop_last = false;
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
  /// Batches to skip at the start: to go on in the middle of an epoch with exactly what would have followed.
  index_t first_batch = 0;
  /// Above 0: mixup (Zhang, Cisse, Dauphin and Lopez-Paz, "mixup", ICLR 2018). Every sample is mixed with another of
  /// its batch, inputs and targets alike, lambda : 1 - lambda, lambda of the batch drawn from Beta(alpha, alpha).
  float mixup_alpha = 0.0f;
  /// Batches prepared ahead; 0 prepares each when it is asked for, without a thread.
  int prefetch = 2;
  /// Threads that share the samples of a batch. Has no influence on what they contain.
  int threads = 1;
};

/// The weight of a batch's own samples in mixup, from Beta(alpha, alpha): it depends on (seed, epoch, batch) alone.
float mixup_lambda(float alpha, const Random& random);

/// The random numbers of a batch's mixup: those from 0 on permute it, see also mixup_lambda.
Random mixup_random(std::uint64_t seed, std::uint64_t epoch, index_t batch);

/// One pass over a dataset. What each batch contains depends on the dataset, on (seed, epoch) and on the batch's
/// number, not on threads, prefetching or the batches skipped:
///
///     Batches batches(train, {.batch = 128, .seed = seed, .epoch = epoch});
///     while (const Batch* batch = batches.next()) ...
///
/// The dataset is borrowed; its `get` is called from other threads until the last batch is out or this is destroyed.
class Batches {
 public:
  /// Throws ArgumentError for a batch below 1, a negative count, an alpha that is negative or not finite.
  Batches(const Dataset& dataset, const BatchOptions& options);
  Batches(Dataset&&, const BatchOptions&) = delete;
  ~Batches();
  Batches(const Batches&) = delete;
  Batches& operator=(const Batches&) = delete;

  /// The next batch, valid until the next call; nullptr after the last one. An exception of the dataset is rethrown
  /// when the batch that it belongs to is due, and again at every later call.
  const Batch* next();

  /// Batches of a whole epoch, those skipped included.
  index_t size() const { return batches_; }
  /// Number within the epoch of the batch that the next call returns.
  index_t position() const { return position_; }
  /// The samples of the epoch in their order.
  std::span<const index_t> order() const { return order_; }

 private:
  struct Slot;
  struct Producer;

  void fill(index_t number, Slot& slot) const;
  void mix(index_t number, Slot& slot) const;
  Slot& slot(index_t number);
  void produce();

  const Dataset& dataset_;
  BatchOptions options_;
  index_t batches_ = 0;
  index_t position_ = 0;
  std::vector<index_t> order_;
  std::vector<Slot> slots_;
  Threads threads_;
#if MIEN_HAS_THREADS
  std::unique_ptr<Producer> producer_;
#endif
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/data/impl/batches.hpp"
#endif
