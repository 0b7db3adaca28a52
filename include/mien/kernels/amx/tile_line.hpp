// Neighbouring output pixels under windows of 3x3 in AMX tiles: the products of most convolutions.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/amx/early_copies.hpp"
#include "mien/kernels/amx/store_rows.hpp"

namespace mien::kernels::detail::amx {

/// What tile_line() reads along a line of positions, which are neighbours in a row or in a column: left tiles,
/// `position` values apart, of positions [first, last) of the windows' reach; right tiles, those of neighbours along
/// the line `tap` values apart, those of two steps of 32 channels `step`.
struct TileLine {
  TileRows rows;
  index_t position, first, last;
  index_t steps, step, tap;
};

/// Position U of the reach: it meets tap t of pixel U - t.
template <int P, int U>
MIEN_INLINE inline void tile_position(const bfloat16* left, const bfloat16* right, const TileLine& line) {
  if constexpr (U < 3) tile_load<4 + U>(right + U * line.tap, 64);
  if (U < line.first || U >= line.last) return;
  tile_load<7>(left + U * line.position, line.rows.row_bytes);
  if constexpr (U >= 2) tile_product<7, 6, U - 2>();
  if constexpr (U >= 1 && U <= P) tile_product<7, 5, U - 1>();
  if constexpr (U < P) tile_product<7, 4, U>();
}

/// Sums of P (3 or 4) output pixels next to each other on a line, under windows of 3x3: 16 rows by 16 columns (outputs)
/// each. `segments`: for each line of the window the offset of the reach's position 0 and of its tap 0. Three right
/// tiles stay in registers while the left ones pass, each of which meets up to three of them: 3 + P + 2 loads feed 3 P
/// products, where two by two tiles need a load for each. The sums, [pixel][row], go to `columns` of stores.next().
/// Twice a step a share of what waits there is stored, and one of `copies` made.
template <int P>
MIEN_AMX void tile_line(const bfloat16* left, const bfloat16* right, const TileLine& line, const TileSegment* segments,
                        index_t count, index_t columns, LateStores& stores, EarlyCopies& copies) {
  tile_zero<0>(), tile_zero<1>(), tile_zero<2>();
  if constexpr (P == 4) tile_zero<3>();
  for (index_t i = 0; i < count; ++i) {
    const bfloat16* a = left + segments[i].left;
    const bfloat16* b = right + segments[i].right;
    for (index_t k = 0; k < line.steps; ++k, a += line.rows.step, b += line.step) {
      tile_position<P, 0>(a, b, line);
      tile_position<P, 1>(a, b, line);
      tile_position<P, 2>(a, b, line);
      stores.some(), copies.some();
      tile_position<P, 3>(a, b, line);
      tile_position<P, 4>(a, b, line);
      if constexpr (P == 4) tile_position<P, 5>(a, b, line);
      stores.some(), copies.some();
    }
  }
  float* const sums = stores.next() + columns;
  constexpr index_t pitch = 32 * sizeof(float);
  tile_store<0>(sums, pitch), tile_store<1>(sums + 16 * 32, pitch), tile_store<2>(sums + 2 * 16 * 32, pitch);
  if constexpr (P == 4) tile_store<3>(sums + 3 * 16 * 32, pitch);
}

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
