// Carving scratch memory into aligned pieces.
#pragma once

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

}  // namespace mien::kernels::detail
