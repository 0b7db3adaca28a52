// Workspace: the memory that passes through a network compute in.
// IWYU pragma: private, include "mien/nn/sequential.hpp"
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "mien/nn/layer.hpp"

namespace mien {

/// Per-thread memory for passes through a network. Grows to what the largest pass needs and is then reused: passes do
/// not allocate once it has grown. Not to be shared by two passes at once.
class Workspace {
 public:
  /// `threads` must outlive the workspace. Without it, passes run in the calling thread.
  explicit Workspace(const Threads* threads = nullptr) : threads_(threads) {
    if (threads_ == nullptr) {
      own_ = std::make_unique<Threads>(1);
      threads_ = own_.get();
    }
  }
  explicit Workspace(const Threads& threads) : Workspace(&threads) {}

  const Threads& threads() const { return *threads_; }
  /// Bytes held.
  std::size_t size() const { return static_cast<std::size_t>(saved_.size() + scratch_.size()); }

  /// Grows to at least this; contents are lost where it grows.
  void reserve(const Memory& memory) {
    if (saved_.size() < static_cast<index_t>(memory.saved)) kept_ = {};
    grow(saved_, memory.saved);
    grow(scratch_, memory.scratch);
  }
  std::span<std::byte> saved() { return saved_.span(); }
  std::span<std::byte> scratch() { return scratch_.span(); }

 private:
  template <class T>
  friend class Sequential;

  static void grow(Tensor<std::byte>& bytes, std::size_t size) {
    if (static_cast<std::size_t>(bytes.size()) >= size) return;
    bytes = {};  // freed before the larger block is asked for
    bytes = Tensor<std::byte>(Shape{static_cast<index_t>(size)});
  }

  const Threads* threads_;
  std::unique_ptr<Threads> own_;
  Tensor<std::byte> saved_;
  Tensor<std::byte> scratch_;
  /// The forward pass that left what is in `saved_`: one that came to its end, and no backward pass has written over
  /// it.
  struct Kept {
    const void* network = nullptr;
    Shape x = {};
    index_t first = 0, last = 0;
    bool operator==(const Kept&) const = default;
  };
  Kept kept_ = {};
};

}  // namespace mien
