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
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>
#endif

namespace mien {

/// A pool of `count` workers, the calling thread being one of them; the others sleep when idle for longer than a
/// moment.
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
  /// Waking a sleeper costs as much as a small layer's work, so those who wait look around for a while first (some 50
  /// us), unless there are more of them than cores.
  static constexpr int glances = 1000;

  std::atomic<bool> busy{false};  // taken by the caller of the running parallel_for
  std::atomic<std::uint32_t> generation{0};
  std::atomic<int> active{0};  // workers that have not finished this generation
  bool stop = false;
  int patience = 0;
  Call call = nullptr;
  void* object = nullptr;
  index_t n = 0;
  std::atomic<index_t> next{0};
  std::mutex mutex;  // of the error
  std::exception_ptr error;
  std::vector<std::thread> workers;

  /// Returns when `value` is no longer `old`.
  template <class V>
  void await_change(const std::atomic<V>& value, V old) const {
    for (int i = 0; i < patience; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#endif
    }
    value.wait(old, std::memory_order_acquire);
  }

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
    for (std::uint32_t seen = 0;; ++seen) {
      await_change(generation, seen);
      if (stop) return;
      work();
      if (active.fetch_sub(1, std::memory_order_acq_rel) == 1) active.notify_one();
    }
  }

  void start() {
    generation.fetch_add(1, std::memory_order_acq_rel);
    generation.notify_all();
  }
};

inline Threads::Threads(int count) {
  if (count < 0 || count > 1024) fail<ArgumentError>("thread count " + std::to_string(count) + " is not in 0..1024");
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  count_ = count > 0 ? count : (cores > 0 ? cores : 1);
  if (count_ == 1) return;
  pool_ = std::make_unique<Pool>();
  pool_->patience = count_ <= cores ? Pool::glances : 0;
  for (int i = 1; i < count_; ++i) pool_->workers.emplace_back([pool = pool_.get()] { pool->loop(); });
}

inline Threads::~Threads() {
  if (!pool_) return;
  pool_->stop = true;
  pool_->start();
  for (std::thread& worker : pool_->workers) worker.join();
}

inline void Threads::run(index_t n, Call call, void* object) const {
  if (!pool_ || n < 2 || pool_->busy.exchange(true)) {
    for (index_t i = 0; i < n; ++i) call(object, i);
    return;
  }
  Pool& pool = *pool_;
  pool.call = call;
  pool.object = object;
  pool.n = n;
  pool.next.store(0);
  pool.active.store(count_ - 1);
  pool.start();
  pool.work();
  for (int left = pool.active.load(std::memory_order_acquire); left > 0;
       left = pool.active.load(std::memory_order_acquire))
    pool.await_change(pool.active, left);
  const std::exception_ptr error = std::exchange(pool.error, nullptr);
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
