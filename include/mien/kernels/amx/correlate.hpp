// Forward and backward data in bfloat16 by AMX tile products, or by dot products in their place.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/core/threads.hpp"
#include "mien/kernels/amx/pack_weights.hpp"
#include "mien/kernels/amx/tile_piece.hpp"
#include "mien/kernels/epilogue.hpp"

namespace mien::kernels::detail::amx {

inline void pack_tile_weights(const Correlation& c, const TilePlan& plan, const float* w, const TileWeights& to,
                              const Threads& threads) {
  for (index_t q = 0; q < plan.inner; ++q) {
    const index_t width = plan.source == RowSource::windows ? c.depth : plan.depth;
    const index_t t = q / width, channel = q % width;
    const bool real = t < c.taps() && channel < c.depth;
    to.table[q] = real ? channel * c.layout.depth + (c.layout.flip ? c.layout.taps - 1 - t : t) : -1;
  }
  threads.parallel_for(plan.blocks * c.groups, [&](index_t p) {
    const index_t group = p / plan.blocks, first = p % plan.blocks * 32;
    const index_t columns = c.outputs - first < 32 ? c.outputs - first : 32;
    const float* from = w + group * c.group_weights + first * c.layout.output;
    bfloat16* panel = to.weights + group * plan.panel_values + first * plan.inner;
    const index_t steps = plan.inner / 32;
    const bool lines = c.taps() == 1 && c.layout.depth == 1 && c.depth == plan.inner && columns % 16 == 0;
    const bool windows = plan.source != RowSource::windows && c.taps() >= 4 && c.taps() <= 16;
    to.checks[p] = lines     ? pack_right_lines(from, steps, c.layout.output, columns, panel)
                   : windows ? pack_right_windows(from, c.layout, c.depth, plan.depth / 32, columns, panel)
                             : pack_right(from, to.table, steps, c.layout.output, columns, panel);
  });
}

/// As detail::run_correlation; of epilogues it has a way for the Relu.
inline bool run_correlation(Correlation c, Products products, const bfloat16* x, const float* w, const float* bias,
                            bfloat16* y, std::byte* memory, const Threads& threads, PackedWeights packed = {},
                            const Epilogue<float>& epilogue = {}) {
  if (epilogue.scale != nullptr || epilogue.pool) return false;
  flatten_pixels(c);
  const TilePlan plan(c, products);
  const TileScratch scratch(c, plan, threads.count(), memory);

  const TileWeights weights(c, plan, packed.memory != nullptr ? packed.memory : scratch.packed);
  if (!packed.ready) pack_tile_weights(c, plan, w, weights, threads);
  if (plan.source != RowSource::images && plan.source != RowSource::direct) {
    float sum = 0;
    for (index_t p = 0; p < plan.blocks * c.groups; ++p) sum += weights.checks[p];
    if (!c.place.is_identity() && !(sum == 0.0F)) return false;
  }

  threads.parallel_for(plan.pieces * plan.block_pieces, [&](index_t piece, int worker) {
    const TileScope tiles(products);
    const index_t part = piece % plan.block_pieces, chunk = piece / plan.block_pieces;
    const index_t n0 = chunk / plan.row_pieces * plan.images, i0 = chunk % plan.row_pieces * plan.rows;
    const index_t n1 = n0 + plan.images < c.batch ? n0 + plan.images : c.batch;
    const index_t i1 = i0 + plan.rows < c.out_height ? i0 + plan.rows : c.out_height;
    TilePiece{c,
              plan,
              weights.weights,
              x,
              bias,
              epilogue.relu,
              y,
              n0,
              n1,
              i0,
              i1,
              plan.blocks * part / plan.block_pieces,
              plan.blocks * (part + 1) / plan.block_pieces,
              scratch.copy[worker],
              scratch.segments[worker]}
        .run();
  });
  return true;
}

inline std::size_t correlation_scratch_bytes(Correlation c, Products products, int threads) {
  flatten_pixels(c);
  return TileScratch(c, TilePlan(c, products), threads, nullptr).bytes;
}

inline std::size_t correlation_packed_bytes(Correlation c, Products products) {
  flatten_pixels(c);
  return TileWeights(c, TilePlan(c, products), nullptr).bytes;
}

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
