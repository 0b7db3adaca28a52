// The tile-product loops of weight gradients: sums over images and pixels.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/amx/tiles.hpp"

namespace mien::kernels::detail::amx {

/// Left and right tiles of `groups` x `rows` x `columns` pixels, with the distance in values from one group of images,
/// row and pixel to the next.
struct TileGradientBlock {
  const bfloat16 *left, *right;
  index_t groups, rows, columns;
  index_t left_group, left_row, left_pixel;
  index_t right_group, right_row, right_pixel;
};

/// Blocks of 16 filters x 16 channels of sums: a row of 16 channels is `row` floats from the next, a block of filters
/// `down`, a block of channels `across`. Where `start` is set, what stands there is not read.
struct TileSums {
  float* at;
  index_t row, down, across;
  bool start;
};

template <int Tile>
MIEN_INLINE inline void tile_begin(const TileSums& sums, const float* at) {
  sums.start ? tile_zero<Tile>() : tile_load<Tile>(at, sums.row * 4);
}

/// sums += left tiles times right tiles over all pixels: M neighbouring blocks of filters times N of channels.
template <int M, int N>
MIEN_AMX void tile_gradients(const TileGradientBlock& block, TileSums sums) {
  float* const below = sums.at + sums.down;
  tile_begin<0>(sums, sums.at);
  if constexpr (N == 2) tile_begin<1>(sums, sums.at + sums.across);
  if constexpr (M == 2) tile_begin<2>(sums, below);
  if constexpr (M == 2 && N == 2) tile_begin<3>(sums, below + sums.across);
  for (index_t n = 0; n < block.groups; ++n)
    for (index_t i = 0; i < block.rows; ++i) {
      const bfloat16* a = block.left + n * block.left_group + i * block.left_row;
      const bfloat16* b = block.right + n * block.right_group + i * block.right_row;
      for (index_t j = 0; j < block.columns; ++j, a += block.left_pixel, b += block.right_pixel) {
        tile_load<4>(a, 64);
        tile_load<6>(b, 64);
        tile_product<4, 6, 0>();
        if constexpr (N == 2) {
          tile_load<7>(b + tile_values, 64);
          tile_product<4, 7, 1>();
        }
        if constexpr (M == 2) {
          tile_load<5>(a + tile_values, 64);
          tile_product<5, 6, 2>();
          if constexpr (N == 2) tile_product<5, 7, 3>();
        }
      }
    }
  tile_store<0>(sums.at, sums.row * 4);
  if constexpr (N == 2) tile_store<1>(sums.at + sums.across, sums.row * 4);
  if constexpr (M == 2) tile_store<2>(below, sums.row * 4);
  if constexpr (M == 2 && N == 2) tile_store<3>(below + sums.across, sums.row * 4);
}

/// What tile_gradient_row() runs over: rows of left tiles (output pixels) and of right tiles (input pixels), `columns`
/// and `width` in each row; output pixel j meets input pixel j + tap - shift.
struct TileGradientRows {
  const bfloat16 *left, *right;
  index_t groups, rows, columns, width, shift;
  index_t left_group, left_row, left_pixel;
  index_t right_group, right_row, right_pixel;
};

/// Step e of a row, e % 3 = E: output pixel e is loaded, input pixel e - shift meets the last three of them.
template <int E>
MIEN_INLINE inline void tile_gradient_step(const TileGradientRows& row, const bfloat16* a, const bfloat16* b,
                                           index_t e) {
  constexpr int now = 3 + E, before = 3 + (E + 2) % 3, first = 3 + (E + 1) % 3;
  if (e < row.columns) tile_load<now>(a + e * row.left_pixel, 64);
  const index_t v = e - row.shift;
  if (v < 0 || v >= row.width) return;
  tile_load<6 + E % 2>(b + v * row.right_pixel, 64);
  if (e < row.columns) tile_product<now, 6 + E % 2, 0>();
  if (e >= 1 && e <= row.columns) tile_product<before, 6 + E % 2, 1>();
  if (e >= 2 && e <= row.columns + 1) tile_product<first, 6 + E % 2, 2>();
}

/// sums[tap], `tap` floats apart, += left tiles times right tiles, for the three taps of a row of the window. Two loads
/// feed three products, as three output pixels stay in registers.
MIEN_AMX inline void tile_gradient_row(TileGradientRows row, float* sums, index_t tap) {
  tile_load<0>(sums, 64), tile_load<1>(sums + tap, 64), tile_load<2>(sums + 2 * tap, 64);
  for (index_t n = 0; n < row.groups; ++n)
    for (index_t i = 0; i < row.rows; ++i) {
      const bfloat16* a = row.left + n * row.left_group + i * row.left_row;
      const bfloat16* b = row.right + n * row.right_group + i * row.right_row;
      for (index_t e = 0; e < row.columns + 2; e += 3) {
        tile_gradient_step<0>(row, a, b, e);
        tile_gradient_step<1>(row, a, b, e + 1);
        tile_gradient_step<2>(row, a, b, e + 2);
      }
    }
  tile_store<0>(sums, 64), tile_store<1>(sums + tap, 64), tile_store<2>(sums + 2 * tap, 64);
}

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
