// Carving scratch memory into aligned pieces, and handing some of them to whoever works.
#pragma once

#include <atomic>
#include <cstddef>

#include "mien/core/shape.hpp"

namespace mien::kernels::detail {

/// Cuts one block of memory into 64-byte aligned arrays. Without memory (null) it only counts bytes.
class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}

  template <class T>
  T* take(index_t count) {
    std::byte* at = base_ != nullptr ? base_ + used_ : nullptr;
    used_ += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* base_;
  std::size_t used_ = 0;
};

/// Memory of the caller's for weights in the order in which a kernel reads them. Null: they are packed into scratch in
/// every call. Otherwise they are packed into it, or stand there already (`ready`).
struct PackedWeights {
  std::byte* memory = nullptr;
  bool ready = false;
};

/// Which of `count` buffers are in use: as many as pieces of work run at once, so that one is always free.
struct Slots {
  Slots() = default;
  Slots(Carver& carver, int threads, index_t pieces)
      : count(pieces < threads ? static_cast<int>(pieces) : threads), taken(carver.take<int>(count)) {}
  /// To be called once before the first Slot, as scratch memory holds anything.
  void clear() const {
    for (int i = 0; i < count; ++i) taken[i] = 0;
  }
  int count = 0;
  int* taken = nullptr;
};

/// One of the buffers for as long as a piece of work runs.
class Slot {
 public:
  explicit Slot(const Slots& slots) : taken_(slots.taken) {
    for (;;) {
      for (index_ = 0; index_ < slots.count; ++index_) {
        int expected = 0;
        if (std::atomic_ref<int>(taken_[index_]).compare_exchange_strong(expected, 1, std::memory_order_acquire))
          return;
      }
    }
  }
  ~Slot() { std::atomic_ref<int>(taken_[index_]).store(0, std::memory_order_release); }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  int index() const { return index_; }

 private:
  int* taken_;
  int index_ = 0;
};

}  // namespace mien::kernels::detail
