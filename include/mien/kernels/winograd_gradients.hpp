// Backward weights of 3x3 windows in float by Winograd's minimal filtering F(3x3, 2x2): 16 products where the sum over
// a tile of 2x2 output gradients has 36. See winograd.hpp; here, with g the 2x2 gradients and d the 4x4 inputs of a
// tile, dW = A' [sum over tiles of (G g G') * (B' d B)] A, where
//   G = |  1    0  |   A' = | 1  1  1  0 |
//       | 1/2  1/2 |        | 0  1 -1  0 |
//       | 1/2 -1/2 |        | 0  1  1 -1 |
//       |  0    1  |
// Rounding: |result - exact| <= 4 (n + 12) u sum over the n tiles of D G, D and G being the sums of |d| and |g| over
// the tile.
#pragma once

#include "mien/kernels/weight_gradients.hpp"
#include "mien/kernels/winograd.hpp"

namespace mien::kernels::detail {

/// How the sum over tiles is cut; does not depend on the number of threads.
struct WinogradGradientPlan {
  // Parts, whose sums are added in order at the end: each of enough tiles to be worth its sums.
  static constexpr index_t most_parts = 8, tiles_per_part = 512;
  static constexpr index_t budget = 512 * 1024;    // bytes of transformed operands per piece
  static constexpr index_t most_sums = 128 * 128;  // channels times filters: sixteen sums each, in the second cache

  WinogradGradientPlan(const ConvGeometry& g, const BlockKernels<float>& kernels)
      : forward(forward_correlation(g), kernels) {
    fits = forward.fits && g.channels * g.filters <= most_sums;
    if (!fits) return;
    parts = forward.tiles / tiles_per_part < most_parts ? forward.tiles / tiles_per_part : most_parts;
    piece_tiles = budget / (64 * (g.channels + g.filters));
    if (piece_tiles < 32) piece_tiles = 32;
    x_plane = piece_tiles * g.channels + 16;
    dy_plane = piece_tiles * forward.outputs + 16;
    sums_plane = g.channels * forward.outputs;
    part_values = 16 * sums_plane + forward.outputs;  // the last for the bias
  }

  WinogradPlan forward;
  bool fits = false;
  index_t parts = 0, piece_tiles = 0, x_plane = 0, dy_plane = 0, sums_plane = 0, part_values = 0;
};

struct WinogradGradientScratch {
  WinogradGradientScratch(const ConvGeometry& g, const WinogradGradientPlan& plan, int threads, std::byte* base) {
    Carver carver(base);
    taken = carver.take<int>(threads);
    finite = carver.take<bool>(g.channels);
    zeros = carver.take<float>(g.channels > g.filters ? g.channels : g.filters);
    sums = carver.take<float>(plan.part_values * plan.parts);
    x = carver.take<float>(16 * plan.x_plane * threads);
    dy = carver.take<float>(16 * plan.dy_plane * threads);
    bytes = carver.used();
  }
  int* taken;
  bool* finite;
  float *zeros, *sums, *x, *dy;
  std::size_t bytes;
};

/// to[element * plane + k] = G g G' for each filter k, g[2 r + s] being the gradients; filters is a multiple of 16.
MIEN_INLINE inline void winograd_gradient_input(const float* const* g, index_t filters, float* to, index_t plane) {
  for (index_t k = 0; k < filters; k += 16) {
    WinogradVector half[4][2];
#pragma GCC unroll 2
    for (int s = 0; s < 2; ++s) {
      const WinogradVector g0 = *reinterpret_cast<const WinogradVector*>(g[s] + k),
                           g1 = *reinterpret_cast<const WinogradVector*>(g[2 + s] + k);
      half[0][s] = g0;
      half[1][s] = (g0 + g1) * 0.5f;
      half[2][s] = (g0 - g1) * 0.5f;
      half[3][s] = g1;
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      float* row = to + 4 * r * plane + k;
      *reinterpret_cast<WinogradVector*>(row) = half[r][0];
      *reinterpret_cast<WinogradVector*>(row + plane) = (half[r][0] + half[r][1]) * 0.5f;
      *reinterpret_cast<WinogradVector*>(row + 2 * plane) = (half[r][0] - half[r][1]) * 0.5f;
      *reinterpret_cast<WinogradVector*>(row + 3 * plane) = half[r][1];
    }
  }
}

/// Assigns dw (OIHW) and dbias, either of which may be null. False where a result is not finite: then only the direct
/// way tells which are.
inline bool run_winograd_gradients(const ConvGeometry& g, const WinogradGradientPlan& plan,
                                   const BlockKernels<float>& kernels, const float* x, const float* dy, float* dw,
                                   float* dbias, std::byte* memory, const Threads& threads) {
  const WinogradGradientScratch scratch(g, plan, threads.count(), memory);
  for (int i = 0; i < threads.count(); ++i) scratch.taken[i] = 0;
  const index_t channels = g.channels, filters = g.filters, oh = g.out_height(), ow = g.out_width();
  for (index_t k = 0; k < (channels > filters ? channels : filters); ++k) scratch.zeros[k] = 0.0f;
  const index_t columns = plan.forward.tile_columns, per_image = plan.forward.tile_rows * columns;

  threads.parallel_for(plan.parts, [&](index_t part) {
    const Slot slot(scratch.taken, threads.count());
    float* v = scratch.x + slot.index() * 16 * plan.x_plane;
    float* d = scratch.dy + slot.index() * 16 * plan.dy_plane;
    float* sums = scratch.sums + part * plan.part_values;
    std::memset(sums, 0, static_cast<std::size_t>(plan.part_values) * sizeof(float));
    const index_t begin = plan.forward.tiles * part / plan.parts, end = plan.forward.tiles * (part + 1) / plan.parts;
    for (index_t first = begin; first < end; first += plan.piece_tiles) {
      const index_t count = end - first < plan.piece_tiles ? end - first : plan.piece_tiles;
      run_vectorized(0, count, [&](index_t from, index_t to) MIEN_INLINE {
        for (index_t t = from; t < to; ++t) {
          const index_t n = (first + t) / per_image, tile = (first + t) % per_image;
          const index_t i = tile / columns * 2, j = tile % columns * 2, top = i - g.pad_top, left = j - g.pad_left;
          const float* pixels[16];
          for (index_t r = 0; r < 4; ++r)
            for (index_t s = 0; s < 4; ++s) {
              const bool inside = top + r >= 0 && top + r < g.height && left + s >= 0 && left + s < g.width;
              pixels[4 * r + s] =
                  inside ? x + ((n * g.height + top + r) * g.width + left + s) * channels : scratch.zeros;
            }
          winograd_input(pixels, channels, v + t * channels, plan.x_plane);
          const float* gradients[4];
          for (index_t r = 0; r < 2; ++r)
            for (index_t s = 0; s < 2; ++s)
              gradients[2 * r + s] =
                  i + r < oh && j + s < ow ? dy + ((n * oh + i + r) * ow + j + s) * filters : scratch.zeros;
          winograd_gradient_input(gradients, filters, d + t * filters, plan.dy_plane);
        }
      });
      for (index_t k = 0; k < filters;) {
        const int index = panel_index(kernels, filters - k);
        const index_t panel = kernels.lanes << index;
        WeightsBlock<float> block{nullptr, nullptr, 1, 1, count, 0, 0, channels, 0, 0, filters};
        for (index_t element = 0; element < 16; ++element) {
          block.dy = d + element * plan.dy_plane + k;
          float* to = sums + element * plan.sums_plane + k * channels;
          for (index_t c = 0; c < channels;) {
            const int size = weights_size(kernels, channels - c);
            block.x = v + element * plan.x_plane + c;
            kernels.weights[index][size](block, to + c * panel);
            c += kernels.sizes[size];
          }
        }
        // Element (1, 1) is a quarter of the tile's sum.
        static constexpr float four = 4;
        const WeightsBlock<float> bias{&four, d + 5 * plan.dy_plane + k, 1, 1, count, 0, 0, 0, 0, 0, filters};
        kernels.weights[index][weights_size(kernels, 1)](bias, sums + 16 * plan.sums_plane + k);
        k += panel;
      }
    }
  });

  // The parts are added in order, and the sums of each channel turned into windows.
  const index_t full = kernels.lanes << kernels.widest;
  threads.parallel_for(channels, [&](index_t c) {
    bool finite = true;
    run_vectorized(0, filters / 16, [&](index_t begin, index_t end) MIEN_INLINE {
      for (index_t k = 16 * begin; k < 16 * end; k += 16) {
        // Panels are multiples of 16 wide, as filters are.
        const index_t start = k / full * full, panel = kernels.lanes << panel_index(kernels, filters - start);
        const index_t at = start * channels + c * panel + k - start;
        WinogradVector half[3][4], check{};
        for (int s = 0; s < 4; ++s) {
          WinogradVector m[4]{};
          for (int r = 0; r < 4; ++r)
            for (index_t part = 0; part < plan.parts; ++part)
              m[r] += *reinterpret_cast<const WinogradVector*>(scratch.sums + part * plan.part_values +
                                                               (4 * r + s) * plan.sums_plane + at);
          half[0][s] = m[0] + m[1] + m[2];
          half[1][s] = m[1] - m[2];
          half[2][s] = m[1] + m[2] - m[3];
        }
        for (int r = 0; r < 3; ++r) {
          const WinogradVector w[3] = {half[r][0] + half[r][1] + half[r][2], half[r][1] - half[r][2],
                                       half[r][1] + half[r][2] - half[r][3]};
          for (int s = 0; s < 3; ++s) {
            check += w[s] * 0.0f;
            for (index_t lane = 0; dw != nullptr && lane < 16; ++lane)
              dw[((k + lane) * channels + c) * 9 + 3 * r + s] = w[s][lane];
          }
        }
        for (int lane = 0; lane < 16; ++lane) finite = finite && check[lane] == 0.0f;
      }
    });
    scratch.finite[c] = finite;
  });
  for (index_t k = 0; k < filters; ++k) {
    float sum = 0;
    for (index_t part = 0; part < plan.parts; ++part)
      sum += scratch.sums[part * plan.part_values + 16 * plan.sums_plane + k];
    if (!(sum * 0.0f == 0.0f)) return false;
    if (dbias != nullptr) dbias[k] = sum;
  }
  for (index_t c = 0; c < channels; ++c)
    if (!scratch.finite[c]) return false;
  return true;
}

}  // namespace mien::kernels::detail
