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

// A program may have an stb_image of its own, implemented in a translation unit that does without this header: ours has
// internal linkage, and leaves no macro behind that would change what the other's header declares.
#pragma push_macro("STBI_INCLUDE_STB_IMAGE_H")
#pragma push_macro("STBIDEF")
#pragma push_macro("STB_IMAGE_STATIC")
#pragma push_macro("STB_IMAGE_IMPLEMENTATION")
#undef STBI_INCLUDE_STB_IMAGE_H
#undef STBIDEF
#undef STB_IMAGE_STATIC
#undef STB_IMAGE_IMPLEMENTATION
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

// stb declares its functions extern "C", so that their symbols would be those of a program's own, namespace or not (GCC
// then calls ours in their place): they get names of our own.
#define stbi__unpremultiply_on_load_thread mien_stbi__unpremultiply_on_load_thread  // NOLINT: the name is stb's
#define stbi_convert_iphone_png_to_rgb mien_stbi_convert_iphone_png_to_rgb
#define stbi_convert_iphone_png_to_rgb_thread mien_stbi_convert_iphone_png_to_rgb_thread
#define stbi_failure_reason mien_stbi_failure_reason
#define stbi_hdr_to_ldr_gamma mien_stbi_hdr_to_ldr_gamma
#define stbi_hdr_to_ldr_scale mien_stbi_hdr_to_ldr_scale
#define stbi_image_free mien_stbi_image_free
#define stbi_info_from_callbacks mien_stbi_info_from_callbacks
#define stbi_info_from_memory mien_stbi_info_from_memory
#define stbi_is_16_bit_from_callbacks mien_stbi_is_16_bit_from_callbacks
#define stbi_is_16_bit_from_memory mien_stbi_is_16_bit_from_memory
#define stbi_is_hdr_from_callbacks mien_stbi_is_hdr_from_callbacks
#define stbi_is_hdr_from_memory mien_stbi_is_hdr_from_memory
#define stbi_load_16_from_callbacks mien_stbi_load_16_from_callbacks
#define stbi_load_16_from_memory mien_stbi_load_16_from_memory
#define stbi_load_from_callbacks mien_stbi_load_from_callbacks
#define stbi_load_from_memory mien_stbi_load_from_memory
#define stbi_set_flip_vertically_on_load mien_stbi_set_flip_vertically_on_load
#define stbi_set_flip_vertically_on_load_thread mien_stbi_set_flip_vertically_on_load_thread
#define stbi_set_unpremultiply_on_load mien_stbi_set_unpremultiply_on_load
#define stbi_set_unpremultiply_on_load_thread mien_stbi_set_unpremultiply_on_load_thread
#define stbi_zlib_decode_buffer mien_stbi_zlib_decode_buffer
#define stbi_zlib_decode_malloc mien_stbi_zlib_decode_malloc
#define stbi_zlib_decode_malloc_guesssize mien_stbi_zlib_decode_malloc_guesssize
#define stbi_zlib_decode_malloc_guesssize_headerflag mien_stbi_zlib_decode_malloc_guesssize_headerflag
#define stbi_zlib_decode_noheader_buffer mien_stbi_zlib_decode_noheader_buffer
#define stbi_zlib_decode_noheader_malloc mien_stbi_zlib_decode_noheader_malloc

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

inline stbi_uc* load(const std::uint8_t* bytes, std::size_t size, int& width, int& height, int& channels) {
  return stbi_load_from_memory(bytes, static_cast<int>(size), &width, &height, &channels, 0);
}
inline const char* failure() { return stbi_failure_reason(); }
}  // namespace mien::detail::stb
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#pragma pop_macro("STBI_INCLUDE_STB_IMAGE_H")
#pragma pop_macro("STBIDEF")
#pragma pop_macro("STB_IMAGE_STATIC")
#pragma pop_macro("STB_IMAGE_IMPLEMENTATION")
#undef STBI_ONLY_JPEG
#undef STBI_ONLY_PNG
#undef STBI_NO_STDIO
#undef STBI_NO_LINEAR
#undef STBI_NO_HDR
#undef STBI_NO_BMP
#undef STBI_NO_PSD
#undef STBI_NO_TGA
#undef STBI_NO_GIF
#undef STBI_NO_PIC
#undef STBI_NO_PNM
#undef STBI_MAX_DIMENSIONS
#undef STBI_ASSERT
#undef STBI_MALLOC
#undef STBI_REALLOC
#undef STBI_REALLOC_SIZED
#undef STBI_FREE
#undef stbi__err
#undef stbi__errpf
#undef stbi__errpuc
#undef stbi__unpremultiply_on_load_thread
#undef stbi_convert_iphone_png_to_rgb
#undef stbi_convert_iphone_png_to_rgb_thread
#undef stbi_failure_reason
#undef stbi_hdr_to_ldr_gamma
#undef stbi_hdr_to_ldr_scale
#undef stbi_image_free
#undef stbi_info_from_callbacks
#undef stbi_info_from_memory
#undef stbi_is_16_bit_from_callbacks
#undef stbi_is_16_bit_from_memory
#undef stbi_is_hdr_from_callbacks
#undef stbi_is_hdr_from_memory
#undef stbi_load_16_from_callbacks
#undef stbi_load_16_from_memory
#undef stbi_load_from_callbacks
#undef stbi_load_from_memory
#undef stbi_set_flip_vertically_on_load
#undef stbi_set_flip_vertically_on_load_thread
#undef stbi_set_unpremultiply_on_load
#undef stbi_set_unpremultiply_on_load_thread
#undef stbi_zlib_decode_buffer
#undef stbi_zlib_decode_malloc
#undef stbi_zlib_decode_malloc_guesssize
#undef stbi_zlib_decode_malloc_guesssize_headerflag
#undef stbi_zlib_decode_noheader_buffer
#undef stbi_zlib_decode_noheader_malloc
