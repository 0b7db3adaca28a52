// Progress: definitions for mien/train/progress.hpp. Private.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "mien/train/progress.hpp"

namespace mien {

MIEN_BODY double detail::clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

MIEN_BODY Progress::Progress(std::FILE* file) : file_(file), terminal_(isatty(fileno(file)) != 0) {}

MIEN_BODY void Progress::batch(const BatchReport& r) {
  if (!terminal_) return;
  const double now = detail::clock_seconds();
  if (r.batch < r.batches && now - drawn_ < 0.1) return;
  drawn_ = now;
  if (r.batch == 1 || started_epoch_ != r.epoch) {
    started_epoch_ = r.epoch;
    started_ = now;
    first_batch_ = r.batch;
  }
  const double done = static_cast<double>(r.batch) / static_cast<double>(r.batches);
  const double spent = now - started_;
  const double trained = static_cast<double>(r.batch - first_batch_);
  const double left = trained > 0 ? spent / trained * static_cast<double>(r.batches - r.batch) : 0;
  constexpr int width = 24;
  const int filled = static_cast<int>(done * width);
  std::string bar(static_cast<std::size_t>(filled), '#');
  bar.resize(width, '.');
  std::fprintf(file_, "\repoch %d/%d [%s] %3.0f%%  loss %.4f  accuracy %.2f%%  %.0f images/s  %d:%02d left \033[K",
               r.epoch, r.epochs, bar.c_str(), 100 * done, r.loss, 100 * r.accuracy, r.images_per_second,
               static_cast<int>(left) / 60, static_cast<int>(left) % 60);
  std::fflush(file_);
}

MIEN_BODY bool Progress::epoch(const EpochReport& e, const History& h) {
  std::fprintf(file_, "%sepoch %3d  loss %.4f  accuracy %.2f%%", terminal_ ? "\r\033[K" : "", e.epoch, e.train_loss,
               100 * e.train_accuracy);
  if (h.best_epoch > 0) {
    std::fprintf(file_, "  validation loss %.4f  accuracy %.2f%%%s", e.validation_loss, 100 * e.validation_accuracy,
                 h.best_epoch == e.epoch ? " *" : "");
  }
  std::fprintf(file_, "  rate %.3g  %.0f images/s  %.1f s\n", e.learning_rate, e.images_per_second, e.seconds);
  std::fflush(file_);
  return true;
}

}  // namespace mien
