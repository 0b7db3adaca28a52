// AMX tiles of bfloat16: configuration, the tile-product loop, and storing its result.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include <cstdint>
#include <cstring>

#include "mien/core/bfloat16.hpp"
#include "mien/core/shape.hpp"

// A tile is 16 rows of 64 bytes. Here tiles 0 to 3 hold sums (16 x 16 floats), 4 and 5 left operands (16 rows x 32
// bfloat16), 6 and 7 right operands (16 pairs of rows x 16 columns). The processor treats subnormal operands and
// results as zero in these products.
#define MIEN_AMX __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16"), noinline))

namespace mien::kernels::detail::amx {

inline constexpr index_t tile_values = 512;  // bfloat16 values in a tile: 1 kB

/// Makes the calling thread's tile registers usable for as long as it lives.
class TileScope {
 public:
  MIEN_AMX TileScope() {
    struct alignas(64) Configuration {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const configuration;
    static_assert(sizeof(Configuration) == 64);
    __asm__ volatile("ldtilecfg %0" : : "m"(configuration));
  }
  MIEN_AMX ~TileScope() { __asm__ volatile("tilerelease"); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

/// `steps` products along consecutive left tiles (32 values apart in each row) and consecutive right tiles.
struct TileSegment {
  index_t left, right, steps;  // offsets in elements
};

/// sums (32 rows x 32 columns of float, row pitch 32) = left rows times right columns over all segments. M = 2 takes 32
/// rows, 16 each from `left0` and `left1`; M = 1 the first 16. N = 2 takes 32 columns: two right tiles per step.
template <int M, int N>
MIEN_AMX void tile_products(const bfloat16* left0, const bfloat16* left1, index_t row_bytes,
                            const TileSegment* segments, index_t count, const bfloat16* right, float* sums) {
  __asm__ volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3" : : : "memory");
  const index_t right_row = 64;
  for (index_t i = 0; i < count; ++i) {
    const bfloat16* a0 = left0 + segments[i].left;
    [[maybe_unused]] const bfloat16* a1 = left1 + segments[i].left;
    const bfloat16* b = right + segments[i].right;
    for (index_t step = 0; step < segments[i].steps; ++step, a0 += 32, a1 += 32, b += N * tile_values) {
      __asm__ volatile("tileloadd (%0,%1,1), %%tmm4" : : "r"(a0), "r"(row_bytes) : "memory");
      __asm__ volatile("tileloadd (%0,%1,1), %%tmm6" : : "r"(b), "r"(right_row) : "memory");
      __asm__ volatile("tdpbf16ps %%tmm6, %%tmm4, %%tmm0" : : : "memory");
      if constexpr (N == 2) {
        __asm__ volatile("tileloadd (%0,%1,1), %%tmm7" : : "r"(b + tile_values), "r"(right_row) : "memory");
        __asm__ volatile("tdpbf16ps %%tmm7, %%tmm4, %%tmm1" : : : "memory");
      }
      if constexpr (M == 2) {
        __asm__ volatile("tileloadd (%0,%1,1), %%tmm5" : : "r"(a1), "r"(row_bytes) : "memory");
        __asm__ volatile("tdpbf16ps %%tmm6, %%tmm5, %%tmm2" : : : "memory");
        if constexpr (N == 2) __asm__ volatile("tdpbf16ps %%tmm7, %%tmm5, %%tmm3" : : : "memory");
      }
    }
  }
  const index_t pitch = 128;
  __asm__ volatile("tilestored %%tmm0, (%0,%1,1)" : : "r"(sums), "r"(pitch) : "memory");
  if constexpr (N == 2) __asm__ volatile("tilestored %%tmm1, (%0,%1,1)" : : "r"(sums + 16), "r"(pitch) : "memory");
  if constexpr (M == 2) {
    __asm__ volatile("tilestored %%tmm2, (%0,%1,1)" : : "r"(sums + 16 * 32), "r"(pitch) : "memory");
    if constexpr (N == 2) {
      __asm__ volatile("tilestored %%tmm3, (%0,%1,1)" : : "r"(sums + 16 * 32 + 16), "r"(pitch) : "memory");
    }
  }
}

// Attributes behind the name: behind the type clang leaves the alignment out.
using Floats __attribute__((vector_size(64), aligned(4), may_alias)) = float;
using Bits __attribute__((vector_size(64), aligned(2), may_alias)) = std::uint32_t;
// The same, aligned: for arrays, which compilers take for aligned when they are passed on.
using AlignedBits __attribute__((vector_size(64))) = std::uint32_t;

/// Rounds rows of `sums` (pitch 32) plus `bias` (32 values) to bfloat16: the first `columns` of each go to
/// out + row * pitch.
MIEN_AMX inline void store_rows(const float* sums, index_t rows, const float* bias, index_t columns, bfloat16* out,
                                index_t pitch) {
  const Floats bias0 = *reinterpret_cast<const Floats*>(bias), bias1 = *reinterpret_cast<const Floats*>(bias + 16);
  const auto mask = static_cast<std::uint32_t>((std::uint64_t{1} << columns) - 1);
  for (index_t row = 0; row < rows; ++row, sums += 32, out += pitch) {
    const Floats a = *reinterpret_cast<const Floats*>(sums) + bias0;
    const Floats b = *reinterpret_cast<const Floats*>(sums + 16) + bias1;
    Bits both;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(a), "v"(b));
    __asm__ volatile("vmovdqu16 %1, %0%{%2%}" : "=m"(*reinterpret_cast<Bits*>(out)) : "v"(both), "Yk"(mask) : "memory");
  }
}

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

/// to[i * pitch + ...] = `channels` values per pixel, padded with zeros to `padded`; pixels follow each other in
/// `from`.
MIEN_AMX inline void spread_pixels(const bfloat16* from, index_t pixels, index_t channels, index_t padded, bfloat16* to,
                                   index_t pitch) {
  for (index_t p = 0; p < pixels; ++p, from += channels, to += pitch) {
    index_t c = 0;
    for (; c + 32 <= channels; c += 32) *reinterpret_cast<Bits*>(to + c) = *reinterpret_cast<const Bits*>(from + c);
    if (c == padded) continue;
    Bits rest{};
    const auto mask = static_cast<std::uint32_t>((std::uint64_t{1} << (channels - c)) - 1);
    __asm__ volatile("vmovdqu16 %1, %0%{%2%}%{z%}"
                     : "=v"(rest)
                     : "m"(*reinterpret_cast<const Bits*>(from + c)), "Yk"(mask)
                     : "memory");
    *reinterpret_cast<Bits*>(to + c) = rest;
  }
}

/// copy_windows() for 3x3 windows of one channel, the first layer of most networks for gray images; reads one value
/// behind the last window.
MIEN_AMX inline void copy_windows_3x3(const bfloat16* rows, index_t columns, index_t step, index_t row, bfloat16* to,
                                      index_t pitch) {
  constexpr std::uint64_t three = 0xffffffffffffULL;
  const auto load = [](const bfloat16* from) {
    std::uint64_t word;
    std::memcpy(&word, from, sizeof(word));
    return word & three;
  };
  for (index_t j = 0; j < columns; ++j, rows += step, to += pitch) {
    const std::uint64_t a = load(rows), b = load(rows + row), c = load(rows + 2 * row);
    if (pitch == 32) *reinterpret_cast<Bits*>(to) = Bits{};
    const std::uint64_t window[4] = {a | b << 48, b >> 16 | c << 32, c >> 32, 0};
    std::memcpy(static_cast<void*>(to), window, sizeof(window));
  }
}

/// Copies windows: for each of `columns` pixels (`step` values apart in `rows`), `count` runs of `run` values, `row`
/// apart, follow each other in `to`, filled up with zeros to `pitch`, the distance of pixels there.
MIEN_AMX inline void copy_windows(const bfloat16* rows, index_t columns, index_t step, index_t count, index_t run,
                                  index_t row, bfloat16* to, index_t pitch) {
  if (count == 3 && run == 3 && pitch <= 32) return copy_windows_3x3(rows, columns, step, row, to, pitch);
  const auto bits = [](index_t n) { return static_cast<std::uint32_t>((std::uint64_t{1} << (n < 32 ? n : 32)) - 1); };
  for (index_t j = 0; j < columns; ++j, rows += step) {
    bfloat16* const end = to + pitch;
    for (index_t r = 0; r < count; ++r)
      for (index_t c = 0; c < run; c += 32) {
        // The store runs on with zeros, which the next run overwrites.
        Bits values;
        __asm__ volatile("vmovdqu16 %1, %0%{%2%}%{z%}"
                         : "=v"(values)
                         : "m"(*reinterpret_cast<const Bits*>(rows + r * row + c)), "Yk"(bits(run - c))
                         : "memory");
        __asm__ volatile("vmovdqu16 %1, %0%{%2%}"
                         : "=m"(*reinterpret_cast<Bits*>(to))
                         : "v"(values), "Yk"(bits(end - to))
                         : "memory");
        to += run - c < 32 ? run - c : 32;
      }
    __asm__ volatile("vmovdqu16 %1, %0%{%2%}"
                     : "=m"(*reinterpret_cast<Bits*>(to))
                     : "v"(Bits{}), "Yk"(bits(end - to))
                     : "memory");
    to = end;
  }
}

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
