// Operands whose inner dimension is 32 images: the layout in which sums over images and pixels become tile products.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/amx/tiles.hpp"

namespace mien::kernels::detail::amx {

/// Turns a square of 16 x 16 words over.
MIEN_AMX inline void transpose_words(AlignedBits (&m)[16]) {
  AlignedBits t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    __asm__("vpunpckldq %2, %1, %0" : "=v"(t[2 * i]) : "v"(m[2 * i]), "v"(m[2 * i + 1]));
    __asm__("vpunpckhdq %2, %1, %0" : "=v"(t[2 * i + 1]) : "v"(m[2 * i]), "v"(m[2 * i + 1]));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    __asm__("vpunpcklqdq %2, %1, %0" : "=v"(m[4 * i]) : "v"(t[4 * i]), "v"(t[4 * i + 2]));
    __asm__("vpunpckhqdq %2, %1, %0" : "=v"(m[4 * i + 1]) : "v"(t[4 * i]), "v"(t[4 * i + 2]));
    __asm__("vpunpcklqdq %2, %1, %0" : "=v"(m[4 * i + 2]) : "v"(t[4 * i + 1]), "v"(t[4 * i + 3]));
    __asm__("vpunpckhqdq %2, %1, %0" : "=v"(m[4 * i + 3]) : "v"(t[4 * i + 1]), "v"(t[4 * i + 3]));
  }
  // m[4g + q] holds, in its quarter r, column 4r + q of rows 4g .. 4g + 3.
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    __asm__("vshufi32x4 $0x88, %2, %1, %0" : "=v"(t[q]) : "v"(m[q]), "v"(m[4 + q]));
    __asm__("vshufi32x4 $0xdd, %2, %1, %0" : "=v"(t[4 + q]) : "v"(m[q]), "v"(m[4 + q]));
    __asm__("vshufi32x4 $0x88, %2, %1, %0" : "=v"(t[8 + q]) : "v"(m[8 + q]), "v"(m[12 + q]));
    __asm__("vshufi32x4 $0xdd, %2, %1, %0" : "=v"(t[12 + q]) : "v"(m[8 + q]), "v"(m[12 + q]));
  }
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    __asm__("vshufi32x4 $0x88, %2, %1, %0" : "=v"(m[q]) : "v"(t[q]), "v"(t[8 + q]));
    __asm__("vshufi32x4 $0x88, %2, %1, %0" : "=v"(m[4 + q]) : "v"(t[4 + q]), "v"(t[12 + q]));
    __asm__("vshufi32x4 $0xdd, %2, %1, %0" : "=v"(m[8 + q]) : "v"(t[q]), "v"(t[8 + q]));
    __asm__("vshufi32x4 $0xdd, %2, %1, %0" : "=v"(m[12 + q]) : "v"(t[4 + q]), "v"(t[12 + q]));
  }
}

/// For each of `pixels` neighbouring pixels and each block of 16 channels one tile: right tiles (16 pairs of images x
/// 16 channels x 2), or with Turn left ones (16 channels x 32 images). `images` of the 32 exist, the others are zero;
/// `image` and `pixel` are distances in values. to: [pixel][block][512].
template <bool Turn>
MIEN_AMX void pack_images(const bfloat16* from, index_t images, index_t image, index_t pixels, index_t pixel,
                          index_t channels, bfloat16* to) {
  using Half __attribute__((vector_size(32), aligned(2), may_alias)) = std::uint32_t;
  for (index_t p = 0; p < pixels; ++p, from += pixel)
    for (index_t c = 0; c < channels; c += 16, to += tile_values) {
      const index_t valid = channels - c < 16 ? channels - c : 16;
      const auto mask = static_cast<std::uint32_t>((1U << valid) - 1);
      AlignedBits row[16];
#pragma GCC unroll 16
      for (int pair = 0; pair < 16; ++pair) {
        const bfloat16* even = from + 2 * pair * image + c;
        // vpmovzxwd reads only the halves that its mask keeps.
        Bits low{}, high{};
        if (2 * pair < images)
          __asm__ volatile("vpmovzxwd %1, %0%{%2%}%{z%}"
                           : "=v"(low)
                           : "m"(*reinterpret_cast<const Half*>(even)), "Yk"(mask));
        if (2 * pair + 1 < images)
          __asm__ volatile("vpmovzxwd %1, %0%{%2%}%{z%}"
                           : "=v"(high)
                           : "m"(*reinterpret_cast<const Half*>(even + image)), "Yk"(mask));
        row[pair] = low | high << 16;
      }
      if constexpr (Turn) transpose_words(row);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) *reinterpret_cast<Bits*>(to + 32 * i) = row[i];
    }
}

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
