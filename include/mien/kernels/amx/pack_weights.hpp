// Weights as right tiles.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/amx/pack_images.hpp"

namespace mien::kernels::detail::amx {

/// Fills right tiles for `columns` outputs (at most 16 per tile, two tiles if above 16) and `steps` steps of 32: value
/// q of output k is w[source[q] + k * output], or zero where source[q] is negative.
/// Returns a value that is zero if all weights were finite, NaN else.
MIEN_AMX inline float pack_right(const float* w, const std::int32_t* source, index_t steps, index_t output,
                                 index_t columns, bfloat16* to) {
  using Index __attribute__((vector_size(64))) = std::int64_t;
  using Half __attribute__((vector_size(32))) = float;
  Floats check{};
  const int tiles = columns > 16 ? 2 : 1;
  // Offsets of 16 outputs in bytes from the first, as two vectors of 64-bit indices.
  Index low, high;
  for (int k = 0; k < 8; ++k) {
    low[k] = output * k;
    high[k] = output * (k + 8);
  }
  for (index_t pair = 0; pair < steps * 16; ++pair) {
    for (int tile = 0; tile < tiles; ++tile) {
      const index_t valid = columns - 16 * tile < 16 ? columns - 16 * tile : 16;
      const auto mask = static_cast<std::uint32_t>((1U << valid) - 1);
      Floats value[2] = {};
      for (int half = 0; half < 2; ++half) {
        const std::int32_t at = source[pair * 2 + half];
        if (at < 0) continue;
        const float* from = w + at + 16 * tile * output;
        if (output == 1 && valid == 16) {
          value[half] = *reinterpret_cast<const Floats*>(from);
          continue;
        }
        Half first{}, second{};
        __asm__ volatile("kmovw %3, %%k1\n\tvgatherqps (%1,%2,4), %0%{%%k1%}"
                         : "+&v"(first)
                         : "r"(from), "v"(low), "r"(mask & 0xffU)
                         : "k1", "memory");
        __asm__ volatile("kmovw %3, %%k1\n\tvgatherqps (%1,%2,4), %0%{%%k1%}"
                         : "+&v"(second)
                         : "r"(from), "v"(high), "r"(mask >> 8)
                         : "k1", "memory");
        __asm__("vinsertf64x4 $1, %2, %g1, %0" : "=v"(value[half]) : "v"(first), "v"(second));
      }
      check += value[0] * 0.0F + value[1] * 0.0F;
      // Rounded, the two values of a pair stand in the lower and upper half of one word.
      Bits even, odd, both;
      __asm__("vcvtneps2bf16 %1, %t0" : "=v"(even) : "v"(value[0]));
      __asm__("vcvtneps2bf16 %1, %t0" : "=v"(odd) : "v"(value[1]));
      __asm__("vpmovzxwd %t1, %0" : "=v"(both) : "v"(even));
      even = both;
      __asm__("vpmovzxwd %t1, %0" : "=v"(both) : "v"(odd));
      both = even | both << 16;
      const index_t step = pair / 16;
      *reinterpret_cast<Bits*>(to + ((step * tiles + tile) * 16 + pair % 16) * 32) = both;
    }
  }
  float sum = 0;
  for (int k = 0; k < 16; ++k) sum += check[k];
  return sum;
}

/// pack_right() where the channels of an output are neighbours, 32 `steps` of them, and `columns` is 16 or 32: whole
/// lines are read and turned over, which is several times faster than picking the values one by one.
MIEN_AMX inline float pack_right_lines(const float* w, index_t steps, index_t output, index_t columns, bfloat16* to) {
  Floats check{};
  for (index_t step = 0; step < steps; ++step, w += 32)
    for (index_t first = 0; first < columns; first += 16, to += tile_values) {
      AlignedBits row[16];
#pragma GCC unroll 16
      for (int k = 0; k < 16; ++k) {
        const float* from = w + (first + k) * output;
        const Floats low = *reinterpret_cast<const Floats*>(from), high = *reinterpret_cast<const Floats*>(from + 16);
        check += low * 0.0F + high * 0.0F;
        __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(row[k]) : "v"(low), "v"(high));
      }
      transpose_words(row);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) *reinterpret_cast<Bits*>(to + 32 * i) = row[i];
    }
  float sum = 0;
  for (int k = 0; k < 16; ++k) sum += check[k];
  return sum;
}

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
