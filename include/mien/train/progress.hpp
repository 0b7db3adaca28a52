// Progress on the terminal: a bar that is redrawn where there is one, plain lines elsewhere.
#pragma once

#include <cstdio>

#include "mien/train/history.hpp"

namespace mien {

namespace detail {

/// Seconds on a clock that only goes forward.
double clock_seconds();

}  // namespace detail

/// Shows training on `file` (standard error unless told otherwise): on a terminal a bar with loss, accuracy, images/s
/// and the time left of the epoch, redrawn ten times a second; and one line per epoch everywhere.
class Progress : public TrainingObserver {
 public:
  explicit Progress(std::FILE* file = stderr);

  MIEN_BODY void batch(const BatchReport& r) override;

  MIEN_BODY bool epoch(const EpochReport& e, const History& h) override;

 private:
  std::FILE* file_;
  bool terminal_;
  double drawn_ = 0, started_ = 0;  // by the clock
  int started_epoch_ = 0;
  index_t first_batch_ = 1;
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/train/impl/progress.hpp"
#endif
