// AMX tiles of bfloat16: configuration, loads and products, and what copies operands for them.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include <cstdint>
#include <cstring>

#include "mien/core/bfloat16.hpp"
#include "mien/core/shape.hpp"
#include "mien/kernels/parallel.hpp"

// A tile is 16 rows of 64 bytes. Here tiles 0 to 3 hold sums (16 x 16 floats), 4 to 7 operands: left ones (16 rows x 32
// bfloat16) and right ones (16 pairs of rows x 16 columns). The processor treats subnormal operands and
// results as zero in these products.
#define MIEN_AMX_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16"
#define MIEN_AMX __attribute__((target(MIEN_AMX_TARGET), noinline))
#define MIEN_AMX_INLINE __attribute__((target(MIEN_AMX_TARGET), always_inline))

namespace mien::kernels::detail::amx {

inline constexpr index_t tile_values = 512;  // bfloat16 values in a tile: 1 kB

/// What multiplies: the tile unit, or AVX-512's dot products of bfloat16, which read and write the same (dots.hpp).
enum class Products { tiles, dots };

/// Makes the calling thread's tile registers usable for as long as it lives, where there are any.
class TileScope {
 public:
  MIEN_AMX explicit TileScope(Products products) : used_(products == Products::tiles) {
    if (!used_) return;
    struct alignas(64) Configuration {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const configuration;
    static_assert(sizeof(Configuration) == 64);
    __asm__ volatile("ldtilecfg %0" : : "m"(configuration));
  }
  MIEN_AMX ~TileScope() {
    if (used_) __asm__ volatile("tilerelease");
  }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;

 private:
  bool used_;
};

template <int Left, int Right, int Sum>
MIEN_INLINE inline void tile_product() {
  __asm__ volatile("tdpbf16ps %%tmm%c0, %%tmm%c1, %%tmm%c2" : : "i"(Right), "i"(Left), "i"(Sum) : "memory");
}
template <int Tile>
MIEN_INLINE inline void tile_load(const void* from, index_t row_bytes) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(row_bytes), "i"(Tile) : "memory");
}
template <int Tile>
MIEN_INLINE inline void tile_store(void* to, index_t row_bytes) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(row_bytes), "i"(Tile) : "memory");
}
template <int Tile>
MIEN_INLINE inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(Tile) : "memory");
}

/// Left tiles: their rows are `row_bytes` apart, those of two steps of 32 channels `step` values.
struct TileRows {
  index_t row_bytes, step;
};

/// `steps` products along the left tiles of a pixel and consecutive right tiles.
struct TileSegment {
  index_t left, right, steps;  // offsets in elements
};

/// sums (32 rows x 32 columns of float, row pitch 32) = left rows times right columns over all segments. M = 2 takes 32
/// rows, 16 each from `left0` and `left1`; M = 1 the first 16. N = 2 takes 32 columns: two right tiles per step.
template <int M, int N>
MIEN_AMX void tile_products(const bfloat16* left0, const bfloat16* left1, TileRows rows, const TileSegment* segments,
                            index_t count, const bfloat16* right, float* sums) {
  tile_zero<0>(), tile_zero<1>(), tile_zero<2>(), tile_zero<3>();
  for (index_t i = 0; i < count; ++i) {
    const bfloat16* a0 = left0 + segments[i].left;
    [[maybe_unused]] const bfloat16* a1 = left1 + segments[i].left;
    const bfloat16* b = right + segments[i].right;
    for (index_t step = 0; step < segments[i].steps; ++step, a0 += rows.step, a1 += rows.step, b += N * tile_values) {
      tile_load<4>(a0, rows.row_bytes);
      tile_load<6>(b, 64);
      tile_product<4, 6, 0>();
      if constexpr (N == 2) {
        tile_load<7>(b + tile_values, 64);
        tile_product<4, 7, 1>();
      }
      if constexpr (M == 2) {
        tile_load<5>(a1, rows.row_bytes);
        tile_product<5, 6, 2>();
        if constexpr (N == 2) tile_product<5, 7, 3>();
      }
    }
  }
  const index_t pitch = 128;
  tile_store<0>(sums, pitch);
  if constexpr (N == 2) tile_store<1>(sums + 16, pitch);
  if constexpr (M == 2) tile_store<2>(sums + 16 * 32, pitch);
  if constexpr (M == 2 && N == 2) tile_store<3>(sums + 16 * 32 + 16, pitch);
}

// Attributes behind the name: behind the type clang leaves the alignment out.
using Floats __attribute__((vector_size(64), aligned(4), may_alias)) = float;
using Bits __attribute__((vector_size(64), aligned(2), may_alias)) = std::uint32_t;
// The same, aligned: for arrays, which compilers take for aligned when they are passed on.
using AlignedBits __attribute__((vector_size(64))) = std::uint32_t;

/// Steps of 32 channels of neighbouring pixels: to[i * pixel + k * step + ...] = values 32 k and on of pixel i, filled
/// up with zeros.
MIEN_AMX inline void spread_pixels(const bfloat16* from, index_t pixels, index_t channels, bfloat16* to, index_t pixel,
                                   index_t step) {
  const auto mask = static_cast<std::uint32_t>((std::uint64_t{1} << channels % 32) - 1);
  for (index_t p = 0; p < pixels; ++p, from += channels, to += pixel) {
    bfloat16* at = to;
    index_t c = 0;
    for (; c + 32 <= channels; c += 32, at += step) {
      *reinterpret_cast<Bits*>(at) = *reinterpret_cast<const Bits*>(from + c);
    }
    if (mask == 0) continue;
    Bits rest{};
    __asm__ volatile("vmovdqu16 %1, %0%{%2%}%{z%}"
                     : "=v"(rest)
                     : "m"(*reinterpret_cast<const Bits*>(from + c)), "Yk"(mask)
                     : "memory");
    *reinterpret_cast<Bits*>(at) = rest;
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
