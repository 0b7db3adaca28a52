// Private: stb_image's JPEG and PNG decoders, in a namespace and on a heap of their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

// What stb_image includes itself has to be in before it is put into a namespace.
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "mien/core/error.hpp"

namespace mien::detail {

/// The memory of one decoding: within a budget, set to zero (what a decoder forgets to write must not be what was in
/// memory before), and all of it freed at the end, even when an exception leaves the decoder.
class StbHeap {
 public:
  explicit StbHeap(std::uint64_t budget) : budget_(budget), outer_(current) { current = this; }
  ~StbHeap() {
    while (first_ != nullptr) release(first_ + 1);
    current = outer_;
  }
  StbHeap(const StbHeap&) = delete;
  StbHeap& operator=(const StbHeap&) = delete;

  bool exhausted() const { return exhausted_; }

  static void* allocate(std::size_t size) {
    StbHeap& heap = *current;
    if (size > heap.budget_ - heap.used_) {
      heap.exhausted_ = true;
      return nullptr;
    }
    void* memory = std::calloc(1, sizeof(Block) + size);
    if (memory == nullptr) return nullptr;
    Block* block = static_cast<Block*>(memory);
    block->size = size;
    block->next = heap.first_;
    if (block->next != nullptr) block->next->previous = block;
    heap.first_ = block;
    heap.used_ += size;
    return block + 1;
  }
  static void release(void* pointer) {
    if (pointer == nullptr) return;
    StbHeap& heap = *current;
    Block* block = static_cast<Block*>(pointer) - 1;
    (block->previous != nullptr ? block->previous->next : heap.first_) = block->next;
    if (block->next != nullptr) block->next->previous = block->previous;
    heap.used_ -= block->size;
    std::free(block);
  }
  static void* reallocate(void* pointer, std::size_t size) {
    void* memory = allocate(size);
    if (pointer == nullptr || memory == nullptr) return memory;
    const std::size_t old = (static_cast<Block*>(pointer) - 1)->size;
    std::memcpy(memory, pointer, old < size ? old : size);
    release(pointer);
    return memory;
  }

 private:
  struct alignas(16) Block {
    Block* next;
    Block* previous;
    std::size_t size;
  };

  static inline thread_local StbHeap* current = nullptr;
  std::uint64_t budget_;
  std::uint64_t used_ = 0;
  bool exhausted_ = false;
  Block* first_ = nullptr;
  StbHeap* outer_;
};

inline void stb_expect(bool holds) {
  if (!holds) fail<FormatError>("the image decoder met data that contradicts itself");
}

}  // namespace mien::detail

// A program may have an stb_image of its own: ours has internal linkage and leaves no macro behind that would change
// the other's.
#ifdef STBI_INCLUDE_STB_IMAGE_H
#undef STBI_INCLUDE_STB_IMAGE_H
#undef STBIDEF
#endif
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS 65535
#define STBI_ASSERT(x) ::mien::detail::stb_expect(static_cast<bool>(x))
#define STBI_MALLOC(size) ::mien::detail::StbHeap::allocate(size)
#define STBI_REALLOC(pointer, size) ::mien::detail::StbHeap::reallocate(pointer, size)
#define STBI_FREE(pointer) ::mien::detail::StbHeap::release(pointer)

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wextra"
#endif
namespace mien::detail::stb {
#if __has_include(<stb_image.h>)
#include <stb_image.h>
#else
#include <stb/stb_image.h>
#endif
}  // namespace mien::detail::stb
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#undef STBI_INCLUDE_STB_IMAGE_H
#undef STBIDEF
#undef STB_IMAGE_STATIC
#undef STB_IMAGE_IMPLEMENTATION
#undef STBI_ONLY_JPEG
#undef STBI_ONLY_PNG
#undef STBI_NO_STDIO
#undef STBI_NO_LINEAR
#undef STBI_MAX_DIMENSIONS
#undef STBI_ASSERT
#undef STBI_MALLOC
#undef STBI_REALLOC
#undef STBI_REALLOC_SIZED
#undef STBI_FREE
