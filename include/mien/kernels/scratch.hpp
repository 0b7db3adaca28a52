// Carving scratch memory into aligned pieces.
#pragma once

#include <cstddef>

#include "mien/core/shape.hpp"

namespace mien::kernels::detail {

/// Between what one thread writes and what another one does: what processors fetch ahead of a core's accesses lies at
/// most a page away, and would be taken from the other core each time this one comes to the end of its own. In bytes,
/// and in values.
inline constexpr std::size_t apart = 4096;
template <class T>
inline constexpr index_t apart_values = index_t{apart / sizeof(T)};

/// A buffer for each worker of Threads.
template <class T>
struct WorkerBuffers {
  T* operator[](int worker) const { return reinterpret_cast<T*>(base + static_cast<std::size_t>(worker) * stride); }
  std::byte* base = nullptr;
  std::size_t stride = 0;
};

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
  /// `count` for each worker: large ones in different large pages, which two cores with caches far from each other
  /// write at once up to 1.6 times as fast as different parts of one (docs/kernels.md).
  template <class T>
  WorkerBuffers<T> take_each(index_t count, int workers) {
    constexpr std::size_t large = 128 * 1024, page = 2 * 1024 * 1024;
    std::size_t stride = (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    if (workers > 1 && stride > 0) stride = stride < large ? stride + apart : (stride + page - 1) / page * page;
    return {take<std::byte>(static_cast<index_t>(stride) * workers), stride};
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

}  // namespace mien::kernels::detail
