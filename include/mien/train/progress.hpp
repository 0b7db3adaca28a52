// Progress on the terminal: a bar that is redrawn where there is one, plain lines elsewhere.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "mien/train/history.hpp"

namespace mien {

/// Shows training on `file` (standard error unless told otherwise): on a terminal a bar with loss, accuracy, images/s
/// and the time left of the epoch, redrawn ten times a second; and one line per epoch everywhere.
class Progress : public TrainingObserver {
 public:
  explicit Progress(std::FILE* file = stderr) : file_(file), terminal_(isatty(fileno(file)) != 0) {}

  void batch(const BatchReport& r) override {
    if (!terminal_) return;
    const auto now = std::chrono::steady_clock::now();
    if (r.batch < r.batches && now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    if (r.batch == 1 || started_epoch_ != r.epoch) {
      started_epoch_ = r.epoch;
      started_ = now;
      first_batch_ = r.batch;
    }
    const double done = static_cast<double>(r.batch) / static_cast<double>(r.batches);
    const double spent = std::chrono::duration<double>(now - started_).count();
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

  bool epoch(const EpochReport& e, const History& h) override {
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

 private:
  std::FILE* file_;
  bool terminal_;
  std::chrono::steady_clock::time_point drawn_{}, started_{};
  int started_epoch_ = 0;
  index_t first_batch_ = 1;
};

}  // namespace mien
