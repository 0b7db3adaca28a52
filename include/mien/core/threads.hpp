// Threads: an explicit pool with a deterministic parallel-for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "mien/core/config.hpp"
#include "mien/core/shape.hpp"

namespace mien {

/// A pool of `count` workers, the calling thread being one of them; the others sleep when idle for longer than a
/// moment. The caller takes pieces itself and waits only for workers that have one: on a busy machine, or after a long
/// pause, it goes on without those that are late.
///
/// `parallel_for(n, f)` calls `f(i)`, or `f(i, worker)`, once for every i in [0, n) and returns when all are done. Each
/// worker begins with a range of its own, in ascending order, and then helps the others. So which worker takes which i
/// is not determined, and results are bit-identical for any thread count as long as `f(i)` writes only what belongs to
/// i: callers cut work into pieces that do not depend on the thread count and reduce the pieces in order.
///
/// `worker` is in [0, workers(count(), n)), and no two calls with the same one run at once: it tells which buffer to
/// use, the same for a thread in every loop, so that buffers stay in the caches of its core.
///
/// On x86-64, `f` reads and writes subnormal numbers as zeros, in the calling thread too: they slow training up to
/// threefold. Its floating-point environment is as before when parallel_for returns. Otherwise workers keep the one of
/// the thread that made the pool: whoever rounds in another way sets that before, for the same results in all threads.
///
/// A child made by fork() has none of the workers: parallel_for runs in it alone, and it must end by _exit or exec, as
/// nobody is there to be waited for. For the same reason `f` must not call std::exit.
///
/// One parallel_for runs at a time: a call from inside another one's `f`, or from a second thread while the pool is
/// busy, runs in the calling thread alone. An exception thrown by `f` is rethrown in the caller (the first one by time;
/// the other pieces may or may not have run).
class Threads {
 public:
  /// `count` = 0 asks for one per available core. Throws ArgumentError when negative or above 1024, and Error where the
  /// system does not start as many.
  explicit Threads(int count = 1);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return count_; }
  /// How many of `count` workers take part in a parallel_for of n.
  static constexpr int workers(int count, index_t n) { return n < count ? static_cast<int>(n > 1 ? n : 1) : count; }

  template <class F>
  void parallel_for(index_t n, F&& f) const {
    using Function = std::remove_reference_t<F>;
    run(
        n,
        [](void* object, index_t i, int worker) {
          if constexpr (std::is_invocable_v<Function&, index_t, int>) {
            (*static_cast<Function*>(object))(i, worker);
          } else {
            (void)worker;
            (*static_cast<Function*>(object))(i);
          }
        },
        const_cast<std::remove_const_t<Function>*>(std::addressof(f)));
  }

 private:
  using Call = void (*)(void*, index_t, int);
  void run(index_t n, Call call, void* object) const;

  int count_ = 1;
#if MIEN_HAS_THREADS
  struct Pool;
  std::unique_ptr<Pool> pool_;
#endif
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/core/impl/threads.hpp"
#endif
