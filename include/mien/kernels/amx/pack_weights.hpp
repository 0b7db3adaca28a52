// Weights as right tiles.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/amx/pack_images.hpp"
#include "mien/kernels/pack.hpp"

namespace mien::kernels::detail::amx {

/// What overflows by this factor, rounds to infinity or is within 2^-8 of that: then padding matters, as it is
/// multiplied.
inline constexpr float edge = 1 + 0x1p-8F;

/// 16 words, each with one of `low`, rounded, in its lower half and one of `high` in its upper.
MIEN_AMX_INLINE inline AlignedBits round_pairs(Floats low, Floats high) {
  constexpr AlignedBits pairs = {0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007,
                                 0x180008, 0x190009, 0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f};
  AlignedBits both;
  __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(low), "v"(high));
  __asm__("vpermw %0, %1, %0" : "+v"(both) : "v"(pairs));
  return both;
}

/// Fills right tiles for `columns` outputs (at most 16 per tile, two tiles if above 16) and `steps` steps of 32: value
/// q of output k is w[source[q] + k * output], or zero where source[q] is negative.
/// Returns a value that is zero if all weights were finite and stay so, NaN else.
MIEN_AMX inline float pack_right(const float* w, const index_t* source, index_t steps, index_t output, index_t columns,
                                 bfloat16* to) {
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
    // Rows of outputs may stand in pages of their own, which processors do not fetch ahead of.
    if (constexpr index_t ahead = 16; output == 1 && pair + ahead < steps * 16) {
      for (index_t row = 2 * (pair + ahead); row < 2 * (pair + ahead + 1); ++row)
        for (int tile = 0; tile < tiles && source[row] >= 0; ++tile) __builtin_prefetch(w + source[row] + 16 * tile);
    }
    for (int tile = 0; tile < tiles; ++tile) {
      const index_t valid = columns - 16 * tile < 16 ? columns - 16 * tile : 16;
      const auto mask = static_cast<std::uint32_t>((1U << valid) - 1);
      Floats value[2] = {};
      for (int half = 0; half < 2; ++half) {
        const index_t at = source[pair * 2 + half];
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
      check += (value[0] * edge) * 0.0F + (value[1] * edge) * 0.0F;
      const index_t step = pair / 16;
      *reinterpret_cast<Bits*>(to + ((step * tiles + tile) * 16 + pair % 16) * 32) = round_pairs(value[0], value[1]);
    }
  }
  float sum = 0;
  for (int k = 0; k < 16; ++k) sum += check[k];
  return sum;
}

/// pack_right() where each tap has `steps` steps of its own, filled with `depth` channels and zeros: the taps (at most
/// 16) of two channels become a line of pairs, and the lines of 16 outputs are turned over. Picking values one by one
/// takes ten times as long, and was a fifth of the passes over images of 5x5.
MIEN_AMX inline float pack_right_windows(const float* w, const WeightLayout& layout, index_t depth, index_t steps,
                                         index_t columns, bfloat16* to) {
  const auto taps = static_cast<std::uint32_t>((1U << layout.taps) - 1);
  const index_t tiles = columns > 16 ? 2 : 1;
  const auto load = [taps](const float* from) MIEN_AMX_INLINE {
    Floats values;
    __asm__ volatile("vmovups %1, %0%{%2%}%{z%}"
                     : "=v"(values)
                     : "m"(*reinterpret_cast<const Floats*>(from)), "Yk"(static_cast<std::uint16_t>(taps))
                     : "memory");
    return values;
  };
  Floats check{};
  for (index_t c = 0; c < 32 * steps; c += 2)
    for (index_t tile = 0; tile < tiles; ++tile) {
      AlignedBits row[16];
#pragma GCC unroll 1
      for (index_t k = 0; k < 16; ++k) {
        const index_t output = 16 * tile + k;
        const float* from = w + output * layout.output + c * layout.depth;
        Floats even{}, odd{};
        if (output < columns && c < depth) even = load(from);
        if (output < columns && c + 1 < depth) odd = load(from + layout.depth);
        check += (even * edge) * 0.0F + (odd * edge) * 0.0F;
        row[k] = round_pairs(even, odd);
      }
      transpose_words(row);
      bfloat16* at = to + (c / 32 * tiles + tile) * tile_values + c % 32 * 16;
      for (index_t t = 0; t < layout.taps; ++t, at += steps * tiles * tile_values)
        *reinterpret_cast<Bits*>(at) = row[layout.flip ? layout.taps - 1 - t : t];
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
        check += (low * edge) * 0.0F + (high * edge) * 0.0F;
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
