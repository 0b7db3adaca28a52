// Threads: definitions for mien/core/threads.hpp. Private.
#pragma once

#include "mien/core/threads.hpp"

#if MIEN_HAS_THREADS
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>
#endif

namespace mien {

namespace detail {

/// While it lives, its thread reads and writes subnormal numbers as zeros. x86 handles each of them in some hundred
/// cycles, and in training they come to stay: what decays by a tenth a step, as an optimizer's means of a dead unit's
/// gradients do, ends at a few times the smallest one, where a tenth is rounded away.
class FlushSubnormals {
 public:
  FlushSubnormals() : added_(flush & ~mode()) {
    if (added_ != 0) set_mode(mode() | added_);
  }
  ~FlushSubnormals() {
    if (added_ != 0) set_mode(mode() & ~added_);
  }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr unsigned flush = 0x8040;  // results (FTZ) and operands (DAZ), in MXCSR
  static unsigned mode() { return __builtin_ia32_stmxcsr(); }
  static void set_mode(unsigned mode) { __builtin_ia32_ldmxcsr(mode); }
#else
  static constexpr unsigned flush = 0;
  static unsigned mode() { return 0; }
  static void set_mode(unsigned) {}
#endif
  unsigned added_;
};

}  // namespace detail

#if MIEN_HAS_THREADS

struct Threads::Pool {
  /// Waking a sleeper costs as much as a small layer's work, so those who wait look around for that long first, unless
  /// there are more of them than cores. By the clock: a pause takes 40 cycles on one processor and 140 on the next.
  static constexpr std::chrono::microseconds patience{50};

  std::atomic<bool> busy{false};  // taken by the caller of the running parallel_for
  std::atomic<std::uint32_t> generation{0};
  // A worker counts itself in before it asks whether there is anything open to it, and the caller closes before it
  // waits for those inside: so it waits for nobody who has not begun, as a sleeper, or one whose core others have, may
  // not do for milliseconds. All sequentially consistent, for each side writes one and then reads the other.
  std::atomic<bool> open{false};
  std::atomic<int> inside{0};
  std::atomic<bool> stop{false};
  bool patient = false;
  Call call = nullptr;
  void* object = nullptr;
  std::size_t taking_part = 0;  // workers, the first ones
  /// The pieces that one worker begins with; who has none left helps another. Neighbours share what they read, and in
  /// the next loop find in their caches what they wrote in this one.
  struct Range {
    std::atomic<index_t> next{0};
    index_t end = 0;
    std::byte apart[48]{};  // no two in one line of a cache
  };
  std::vector<Range> ranges;  // the caller's first
  std::mutex mutex;           // of the error
  std::exception_ptr error;
  std::vector<std::thread> workers;

  /// Returns when `value` is no longer `old`.
  template <class V>
  void await_change(const std::atomic<V>& value, V old) const {
    if (patient) {
      using Clock = std::chrono::steady_clock;
      const Clock::time_point end = Clock::now() + patience;
      do {
        for (int i = 0; i < 16; ++i) {
          if (value.load(std::memory_order_acquire) != old) return;
#if defined(__x86_64__) || defined(__i386__)
          __builtin_ia32_pause();
#endif
        }
      } while (Clock::now() < end);
    }
    value.wait(old, std::memory_order_acquire);
  }

  void share_out(index_t n) {
    const index_t count = Threads::workers(static_cast<int>(ranges.size()), n);
    taking_part = static_cast<std::size_t>(count);
    index_t begin = 0, more = n % count;
    for (std::size_t i = 0; i < taking_part; ++i) {
      ranges[i].next.store(begin, std::memory_order_relaxed);
      ranges[i].end = begin += n / count + (more-- > 0 ? 1 : 0);
    }
  }

  void work(std::size_t worker) {
    if (worker >= taking_part) return;
    const int index = static_cast<int>(worker);
    for (std::size_t left = taking_part; left > 0; --left, worker = worker > 0 ? worker - 1 : taking_part - 1) {
      Range& range = ranges[worker];
      for (index_t i = range.next.fetch_add(1); i < range.end; i = range.next.fetch_add(1)) {
#if MIEN_HAS_EXCEPTIONS
        try {
          call(object, i, index);
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!error) error = std::current_exception();
          for (std::size_t k = 0; k < taking_part; ++k) ranges[k].next.store(ranges[k].end);
        }
#else
        call(object, i, index);
#endif
      }
    }
  }

  void loop(std::size_t worker) {
    const detail::FlushSubnormals flush;
    for (std::uint32_t seen = 0;;) {
      await_change(generation, seen);
      seen = generation.load(std::memory_order_acquire);
      if (stop) return;  // asked after that: the last generation, which nothing follows, may have been seen just now
      inside.fetch_add(1);
      if (open) work(worker);
      if (inside.fetch_sub(1) == 1) inside.notify_one();
    }
  }

  void end() {
    stop = true;
    start();
    for (std::thread& worker : workers) worker.join();
  }

  void start() {
    generation.fetch_add(1, std::memory_order_acq_rel);
    generation.notify_all();
  }
};

MIEN_COLD MIEN_BODY Threads::Threads(int count) {
  if (count < 0 || count > 1024) fail<ArgumentError>({"thread count ", count, " is not in 0..1024"});
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  count_ = count > 0 ? count : (cores > 0 ? cores : 1);
  if (count_ == 1) return;
  pool_ = std::make_unique<Pool>();
  pool_->patient = count_ <= cores;
  const auto workers = static_cast<std::size_t>(count_);
  pool_->ranges = std::vector<Pool::Range>(workers);
  pool_->workers.reserve(workers - 1);
#if MIEN_HAS_EXCEPTIONS
  try {
#endif
    for (std::size_t i = 1; i < workers; ++i) pool_->workers.emplace_back([i, pool = pool_.get()] { pool->loop(i); });
#if MIEN_HAS_EXCEPTIONS
  } catch (const std::exception& error) {
    pool_->end();
    fail<Error>({"of ", count_, " threads the system has started ", pool_->workers.size() + 1,
                 ", and no more: ", error.what(), "; ask for fewer"});
  }
#endif
}

MIEN_COLD MIEN_BODY Threads::~Threads() {
  if (pool_) pool_->end();
}

MIEN_BODY void Threads::run(index_t n, Call call, void* object) const {
  const detail::FlushSubnormals flush;
  if (!pool_ || n < 2 || pool_->busy.exchange(true)) {
    for (index_t i = 0; i < n; ++i) call(object, i, 0);
    return;
  }
  Pool& pool = *pool_;
  pool.call = call;
  pool.object = object;
  pool.share_out(n);
  pool.open = true;
  pool.start();
  pool.work(0);
  pool.open = false;
  for (int inside = pool.inside; inside > 0; inside = pool.inside) pool.await_change(pool.inside, inside);
  const std::exception_ptr error = std::exchange(pool.error, nullptr);
  pool.busy.store(false);
  if (error) std::rethrow_exception(error);
}

#else

MIEN_COLD MIEN_BODY Threads::Threads(int) {}
MIEN_COLD MIEN_BODY Threads::~Threads() {}
MIEN_BODY void Threads::run(index_t n, Call call, void* object) const {
  const detail::FlushSubnormals flush;
  for (index_t i = 0; i < n; ++i) call(object, i, 0);
}

#endif

}  // namespace mien
