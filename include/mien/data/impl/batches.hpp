// Batches: definitions for mien/data/batches.hpp. Private.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "mien/core/config.hpp"
#if MIEN_HAS_THREADS
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#endif

#include "mien/data/batches.hpp"

namespace mien {

namespace detail {

/// Logarithm of a Gamma(alpha, 1) variate, for any alpha > 0, by G. Marsaglia and W. W. Tsang, "A simple method for
/// generating gamma variables", ACM TOMS 26 (2000). In logarithms, as Gamma(0.01) is usually below the smallest float.
/// Uses the draws of `random` from `draw` on.
MIEN_COLD inline double log_gamma_variate(double alpha, const Random& random, std::uint64_t draw) {
  // Gamma(alpha) = Gamma(alpha + 1) * uniform^(1 / alpha) brings alpha below 1 into the method's range.
  const double boost = alpha < 1.0 ? std::log(1.0 - static_cast<double>(random.uniform(draw))) / alpha : 0.0;
  const double d = (alpha < 1.0 ? alpha + 1.0 : alpha) - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  // More than 95 of 100 tries succeed, so that the limit is never met.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    draw += 4;
    const double x = random.normal(draw);
    const double root = 1.0 + c * x;
    if (root <= 0.0) continue;
    const double v = root * root * root;
    const double u = 1.0 - static_cast<double>(random.uniform(draw + 2));
    if (std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return boost + std::log(d * v);
  }
  return boost + std::log(d);
}

}  // namespace detail

MIEN_BODY float mixup_lambda(float alpha, const Random& random) {
  // Far behind the draws of the batch's permutation.
  constexpr std::uint64_t first = std::uint64_t{1} << 33;
  const double a = detail::log_gamma_variate(alpha, random, first);
  const double b = detail::log_gamma_variate(alpha, random, first + 8192);
  return static_cast<float>(1.0 / (1.0 + std::exp(b - a)));
}

MIEN_BODY Random mixup_random(std::uint64_t seed, std::uint64_t epoch, index_t batch) {
  return Random(seed, Stream::mixup, (epoch << 36) + static_cast<std::uint64_t>(batch));
}

struct Batches::Slot {
  Batch batch;
  Tensor<float> unmixed;
#if MIEN_HAS_THREADS
  std::exception_ptr error;
#endif
};

#if MIEN_HAS_THREADS
/// The thread that prepares batches, and what it shares with next().
struct Batches::Producer {
  std::mutex mutex;
  std::condition_variable changed;
  index_t filled = 0;    // batches before this number are ready
  index_t released = 0;  // batches before this number are no longer in use
  bool stop = false;
  bool failed = false;
  std::thread thread;
};
#endif

MIEN_BODY Batches::Slot& Batches::slot(index_t number) {
  return slots_[static_cast<std::size_t>(number) % slots_.size()];
}

MIEN_COLD MIEN_BODY Batches::Batches(const Dataset& dataset, const BatchOptions& options)
    : dataset_(dataset), options_(options), threads_(options.threads) {
  const auto non_negative = [](const char* field, index_t value) {
    if (value < 0) fail<ArgumentError>({"batches: ", field, " = ", value, " is negative"});
  };
  if (options.batch < 1) fail<ArgumentError>({"batches of ", options.batch, " samples: expected 1 or more"});
  non_negative("first_batch", options.first_batch);
  non_negative("prefetch", options.prefetch);
  if (!(options.mixup_alpha >= 0.0f) || !std::isfinite(options.mixup_alpha)) {
    fail<ArgumentError>({"batches: mixup_alpha = ", options.mixup_alpha, ", expected 0 or more"});
  }
  const index_t samples = dataset.size();
  if (samples > index_t{0xffffffff}) fail<ArgumentError>("a dataset of 2^32 samples or more cannot be shuffled");
  // No more than the dataset has, so that an absurd batch size costs nothing.
  if (samples > 0 && !options.drop_last) options_.batch = std::min(options.batch, samples);
  batches_ = samples / options_.batch + (!options.drop_last && samples % options_.batch != 0 ? 1 : 0);
  position_ = std::min(options.first_batch, batches_);

  order_.resize(static_cast<std::size_t>(samples));
  if (options.shuffle) {
    Random(options.seed, Stream::shuffle, options.epoch).permutation(std::span<index_t>(order_));
  } else {
    std::iota(order_.begin(), order_.end(), index_t{0});
  }

#if MIEN_HAS_THREADS
  const auto ahead = std::min<index_t>(options.prefetch, batches_ - position_);
  slots_ = std::vector<Slot>(static_cast<std::size_t>(ahead) + 1);
  if (ahead > 0) {
    producer_ = std::make_unique<Producer>();
    producer_->filled = producer_->released = position_;
    producer_->thread = std::thread([this] { produce(); });
  }
#else
  slots_ = std::vector<Slot>(1);
#endif
}

MIEN_COLD MIEN_BODY Batches::~Batches() {
#if MIEN_HAS_THREADS
  if (!producer_) return;
  {
    const std::lock_guard lock(producer_->mutex);
    producer_->stop = true;
  }
  producer_->changed.notify_all();
  producer_->thread.join();
#endif
}

MIEN_BODY const Batch* Batches::next() {
#if MIEN_HAS_THREADS
  if (producer_) {
    Producer& p = *producer_;
    std::unique_lock lock(p.mutex);
    // The batch before this one goes back to the producer.
    p.released = position_;
    p.changed.notify_all();
    if (position_ == batches_) return nullptr;
    p.changed.wait(lock, [&] { return p.filled > position_ || p.failed; });
    if (p.filled <= position_) std::rethrow_exception(slot(position_).error);
    return &slot(position_++).batch;
  }
#endif
  if (position_ == batches_) return nullptr;
  fill(position_, slots_[0]);
  ++position_;
  return &slots_[0].batch;
}

#if MIEN_HAS_THREADS
MIEN_BODY void Batches::produce() {
  Producer& p = *producer_;
  for (;;) {
    index_t number;
    {
      std::unique_lock lock(p.mutex);
      p.changed.wait(lock, [&] {
        return p.stop || p.filled == batches_ || p.filled < p.released + static_cast<index_t>(slots_.size());
      });
      if (p.stop || p.filled == batches_) return;
      number = p.filled;
    }
    bool done = true;
#if MIEN_HAS_EXCEPTIONS
    try {
      fill(number, slot(number));
    } catch (...) {
      slot(number).error = std::current_exception();
      done = false;
    }
#else
    fill(number, slot(number));
#endif
    {
      const std::lock_guard lock(p.mutex);
      if (done) {
        ++p.filled;
      } else {
        p.failed = true;
      }
    }
    p.changed.notify_all();
    if (!done) return;
  }
}
#endif

MIEN_BODY void Batches::fill(index_t number, Slot& slot) const {
  Batch& batch = slot.batch;
  const index_t first = number * options_.batch;
  const index_t count = std::min(options_.batch, dataset_.size() - first);
  const Shape shape = dataset_.shape();
  const index_t classes = dataset_.classes();
  if (batch.inputs.shape() != shape.with_batch(count)) {
    batch.inputs = Tensor<float>(shape.with_batch(count));
    batch.targets = Tensor<float>(Shape{count, classes});
    batch.labels.assign(static_cast<std::size_t>(count), 0);
    batch.count = count;
  }
  const bool mixing = options_.mixup_alpha > 0.0f && count > 1;
  if (mixing && slot.unmixed.shape() != batch.inputs.shape()) slot.unmixed = Tensor<float>(batch.inputs.shape());
  float* inputs = mixing ? slot.unmixed.data() : batch.inputs.data();

  const SampleKey key{options_.seed, options_.epoch};
  std::fill(batch.targets.begin(), batch.targets.end(), 0.0f);
  threads_.parallel_for(count, [&](index_t i) {
    const index_t sample = order_[static_cast<std::size_t>(first + i)];
    dataset_.get(sample, key, {inputs + i * shape.size(), static_cast<std::size_t>(shape.size())});
    const int label = dataset_.label(sample);
    if (label < 0 || label >= classes) {
      fail<ArgumentError>({"label ", label, " of sample ", sample, " is not in 0..", classes - 1});
    }
    batch.labels[static_cast<std::size_t>(i)] = label;
    batch.targets[i * classes + label] = 1.0f;
  });
  if (mixing) mix(number, slot);
}

MIEN_BODY void Batches::mix(index_t number, Slot& slot) const {
  Batch& batch = slot.batch;
  const Random random = mixup_random(options_.seed, options_.epoch, number);
  const float lambda = mixup_lambda(options_.mixup_alpha, random);
  std::vector<index_t> partners(static_cast<std::size_t>(batch.count));
  random.permutation(std::span<index_t>(partners));
  const index_t size = dataset_.shape().size();
  const index_t classes = dataset_.classes();
  std::fill(batch.targets.begin(), batch.targets.end(), 0.0f);
  threads_.parallel_for(batch.count, [&](index_t i) {
    const auto k = static_cast<std::size_t>(i);
    const float* own = slot.unmixed.data() + i * size;
    const float* other = slot.unmixed.data() + partners[k] * size;
    float* target = batch.inputs.data() + i * size;
    for (index_t v = 0; v < size; ++v) target[v] = lambda * own[v] + (1.0f - lambda) * other[v];
    batch.targets[i * classes + batch.labels[k]] += lambda;
    batch.targets[i * classes + batch.labels[static_cast<std::size_t>(partners[k])]] += 1.0f - lambda;
  });
}

}  // namespace mien
