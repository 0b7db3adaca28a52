// Tile products by AVX-512's dot products of bfloat16, for processors that have these and no tiles: the same operands,
// the same sums.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/amx/gradient_tiles.hpp"
#include "mien/kernels/amx/tiles.hpp"

namespace mien::kernels::detail::amx {

/// sum[p][v] += the 32 products of row p of a left tile, rows being `row` values apart, with each column of right tile
/// v. A load of weights serves P rows and one of a row's values V vectors, so that the multiply-add units bind.
template <int P, int V>
MIEN_AMX_INLINE inline void dot_step(const bfloat16* left, index_t row, const bfloat16* right, Floats (&sum)[P][V]) {
  using Pair __attribute__((may_alias, aligned(2))) = std::uint32_t;
#pragma GCC unroll 2
  for (index_t pair = 0; pair < 32; pair += 2) {
    AlignedBits columns[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) columns[v] = *reinterpret_cast<const Bits*>(right + v * tile_values + 16 * pair);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      AlignedBits value;
      __asm__("vpbroadcastd %1, %0" : "=v"(value) : "m"(*reinterpret_cast<const Pair*>(left + p * row + pair)));
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum[p][v]) : "v"(value), "v"(columns[v]));
    }
  }
}

/// P rows and V tiles of columns of tile_products(): sums, 32 floats to a row, are assigned.
template <int P, int V>
MIEN_AMX void dot_products(const bfloat16* left, TileRows rows, const TileSegment* segments, index_t count,
                           const bfloat16* right, float* sums) {
  Floats sum[P][V] = {};
  for (index_t i = 0; i < count; ++i) {
    const bfloat16* a = left + segments[i].left;
    const bfloat16* b = right + segments[i].right;
    for (index_t step = 0; step < segments[i].steps; ++step, a += rows.step, b += V * tile_values)
      dot_step<P, V>(a, rows.row_bytes / 2, b, sum);
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) *reinterpret_cast<Floats*>(sums + 32 * p + 16 * v) = sum[p][v];
}

/// P filters and V blocks of channels of tile_gradients().
template <int P, int V>
MIEN_AMX void dot_gradients(const TileGradientBlock& block, index_t filter, const TileSums& sums) {
  Floats sum[P][V];
  float* const at = sums.at + filter / 16 * sums.down + filter % 16 * sums.row;
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      sum[p][v] = sums.start ? Floats{} : *reinterpret_cast<const Floats*>(at + p * sums.row + v * sums.across);
  for (index_t n = 0; n < block.groups; ++n)
    for (index_t i = 0; i < block.rows; ++i) {
      const bfloat16* a = block.left + n * block.left_group + i * block.left_row + filter * 32;
      const bfloat16* b = block.right + n * block.right_group + i * block.right_row;
      for (index_t j = 0; j < block.columns; ++j, a += block.left_pixel, b += block.right_pixel)
        dot_step<P, V>(a, 32, b, sum);
    }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) *reinterpret_cast<Floats*>(at + p * sums.row + v * sums.across) = sum[p][v];
}

/// As tile_block().
inline void dot_block(index_t rows, index_t columns, const bfloat16* left0, const bfloat16* left1, TileRows lines,
                      const TileSegment* segments, index_t count, const bfloat16* right, float* sums) {
  const bool wide = columns > 16;
  for (index_t first = 0; first < rows; first += wide ? 8 : 16) {
    const bfloat16* left = (first < 16 ? left0 : left1) + first % 16 * (lines.row_bytes / 2);
    wide ? dot_products<8, 2>(left, lines, segments, count, right, sums + first * 32)
         : dot_products<16, 1>(left, lines, segments, count, right, sums + first * 32);
  }
}

/// As tile_gradients() of as many blocks of 16 filters, and one or, if `wide`, two of channels.
inline void dot_gradient_block(const TileGradientBlock& block, index_t blocks, bool wide, const TileSums& sums) {
  for (index_t filter = 0; filter < 16 * blocks; filter += wide ? 8 : 16) {
    wide ? dot_gradients<8, 2>(block, filter, sums) : dot_gradients<16, 1>(block, filter, sums);
  }
}

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
