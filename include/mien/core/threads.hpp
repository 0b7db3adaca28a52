// Threads: an explicit pool with a deterministic parallel-for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "mien/core/config.hpp"
#include "mien/core/shape.hpp"

#if MIEN_HAS_THREADS
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>
#endif

namespace mien {

/// A pool of `count` workers, the calling thread being one of them; the others sleep when idle.
///
/// `parallel_for(n, f)` calls `f(i)` once for every i in [0, n) and returns when all are done. Which worker takes which
/// i is not determined, so results are bit-identical for any thread count as long as `f(i)` writes only what belongs to
/// i: callers cut work into pieces that do not depend on the thread count and reduce the pieces in order.
///
/// One parallel_for runs at a time: a call from inside another one's `f`, or from a second thread while the pool is
/// busy, runs in the calling thread alone. An exception thrown by `f` is rethrown in the caller (the first one by time;
/// the other pieces may or may not have run).
class Threads {
 public:
  /// `count` = 0 asks for one per available core. Throws ArgumentError when negative or above 1024.
  explicit Threads(int count = 1);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return count_; }

  template <class F>
  void parallel_for(index_t n, F&& f) const {
    using Function = std::remove_reference_t<F>;
    run(
        n, [](void* object, index_t i) { (*static_cast<Function*>(object))(i); },
        const_cast<std::remove_const_t<Function>*>(std::addressof(f)));
  }

 private:
  using Call = void (*)(void*, index_t);
  void run(index_t n, Call call, void* object) const;

  int count_ = 1;
#if MIEN_HAS_THREADS
  struct Pool;
  std::unique_ptr<Pool> pool_;
#endif
};

#if MIEN_HAS_THREADS

struct Threads::Pool {
  std::atomic<bool> busy{false};  // taken by the caller of the running parallel_for
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable finished;
  std::uint64_t generation = 0;
  bool stop = false;
  int active = 0;
  Call call = nullptr;
  void* object = nullptr;
  index_t n = 0;
  std::atomic<index_t> next{0};
  std::exception_ptr error;
  std::vector<std::thread> workers;

  void work() {
    for (index_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) {
#if MIEN_HAS_EXCEPTIONS
      try {
        call(object, i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        next.store(n);
      }
#else
      call(object, i);
#endif
    }
  }

  void loop() {
    std::uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stop || generation != seen; });
        if (stop) return;
        seen = generation;
      }
      work();
      const std::lock_guard lock(mutex);
      if (--active == 0) finished.notify_one();
    }
  }
};

inline Threads::Threads(int count) {
  if (count < 0 || count > 1024) fail<ArgumentError>("thread count " + std::to_string(count) + " is not in 0..1024");
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  count_ = count > 0 ? count : (cores > 0 ? cores : 1);
  if (count_ == 1) return;
  pool_ = std::make_unique<Pool>();
  for (int i = 1; i < count_; ++i) pool_->workers.emplace_back([pool = pool_.get()] { pool->loop(); });
}

inline Threads::~Threads() {
  if (!pool_) return;
  {
    const std::lock_guard lock(pool_->mutex);
    pool_->stop = true;
  }
  pool_->wake.notify_all();
  for (std::thread& worker : pool_->workers) worker.join();
}

inline void Threads::run(index_t n, Call call, void* object) const {
  if (!pool_ || n < 2 || pool_->busy.exchange(true)) {
    for (index_t i = 0; i < n; ++i) call(object, i);
    return;
  }
  Pool& pool = *pool_;
  {
    const std::lock_guard lock(pool.mutex);
    pool.call = call;
    pool.object = object;
    pool.n = n;
    pool.next.store(0);
    pool.error = nullptr;
    pool.active = count_ - 1;
    ++pool.generation;
  }
  pool.wake.notify_all();
  pool.work();
  std::exception_ptr error;
  {
    std::unique_lock lock(pool.mutex);
    pool.finished.wait(lock, [&] { return pool.active == 0; });
    error = std::exchange(pool.error, nullptr);
  }
  pool.busy.store(false);
  if (error) std::rethrow_exception(error);
}

#else

inline Threads::Threads(int) {}
inline Threads::~Threads() {}
inline void Threads::run(index_t n, Call call, void* object) const {
  for (index_t i = 0; i < n; ++i) call(object, i);
}

#endif

}  // namespace mien
