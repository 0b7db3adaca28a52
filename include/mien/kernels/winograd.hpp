// Forward and backward data of 3x3 windows in float by Winograd's minimal filtering F(2x2, 3x3): 16 products per four
// outputs instead of 36. Lavin and Gray, "Fast algorithms for convolutional neural networks" (2015).
//
// Outputs are computed in tiles of 2x2 from 4x4 pixels d and windows g: Y = A' [(G g G') * (B' d B)] A, where
//   B' = | 1  0 -1  0 |   G = |  1    0    0  |   A' = | 1  1  1  0 |
//        | 0  1  1  0 |       | 1/2  1/2  1/2 |        | 0  1 -1 -1 |
//        | 0 -1  1  0 |       | 1/2 -1/2  1/2 |
//        | 0  1  0 -1 |       |  0    0    1  |
// and * multiplies element by element. Summed over channels that is one matrix product for each of the 16 elements,
// done by the register blocks.
//
// Rounding: |result - exact| <= 4 (n + 12) u sum over the n channels of D G, with D the sum of |d| over the tile's 4x4
// pixels, G that of |g| over the window and u the unit roundoff: three sums of at most four terms before and after the
// n products each cost a few u, and the elements' sums |B'||d||B| and |G||g||G'| add up to at most 4 D G. So an error
// of one pixel of a tile reaches all of its outputs; on usual data the error is about that of the direct way.
#pragma once

#include "mien/core/threads.hpp"
#include "mien/kernels/blocks.hpp"
#include "mien/kernels/correlation.hpp"
#include "mien/kernels/parallel.hpp"
#include "mien/kernels/scratch.hpp"

namespace mien::kernels::detail {

/// How a correlation is cut into pieces of tiles; does not depend on the number of threads.
struct WinogradPlan {
  static constexpr index_t budget = 512 * 1024;  // bytes of transformed input per piece, to stay in the second cache
  static constexpr index_t least_tiles = 96;     // fewer do not pay for reading weights 16/9 as large

  WinogradPlan(const Correlation& c, const BlockKernels<float>& kernels) {
    tile_rows = (c.out_height + 1) / 2;
    tile_columns = (c.out_width + 1) / 2;
    tiles = c.batch * tile_rows * tile_columns;
    const bool plain = c.kernel_h == 3 && c.kernel_w == 3 && c.stride_h == 1 && c.stride_w == 1 && c.dilation_h == 1 &&
                       c.dilation_w == 1 && c.place.step_h == 1 && c.place.step_w == 1 && c.groups == 1;
    // Small images leave much of their tiles unused, and in them the direct way skips the padding.
    const bool filled = tiles * 4 * 4 <= c.batch * c.out_height * c.out_width * 5;
    fits = plain && filled && kernels.lanes >= 8 && c.depth % 16 == 0 && c.outputs % 16 == 0 && tiles >= least_tiles;
    if (!fits) return;
    for (index_t left = c.outputs; left > 0; left -= kernels.lanes << panel_index(kernels, left)) {
      outputs += kernels.lanes << panel_index(kernels, left);
    }
    piece_tiles = budget / (64 * c.depth);
    if (piece_tiles < 24) piece_tiles = 24;
    if (piece_tiles > (tiles + 7) / 8) piece_tiles = (tiles + 7) / 8;
    pieces = (tiles + piece_tiles - 1) / piece_tiles;
    // Sixteen planes at a power of two apart would meet in the same sets of the first cache.
    input_plane = piece_tiles * c.depth + 16;
    output_plane = (piece_tiles + BlockKernels<float>::max_pixels) * outputs + 16;
    weight_plane = c.depth * outputs;
  }

  bool fits = false;
  index_t tile_rows, tile_columns, tiles;
  index_t outputs = 0;  // padded to whole panels
  index_t piece_tiles = 0, pieces = 0, input_plane = 0, output_plane = 0, weight_plane = 0;
};

/// Transformed weights, and whether they are finite.
struct WinogradWeights {
  WinogradWeights(const WinogradPlan& plan, std::byte* base) {
    Carver carver(base);
    finite = carver.take<bool>(1);
    weights = carver.take<float>(16 * plan.weight_plane);
    bytes = carver.used();
  }
  bool* finite;
  float* weights;
  std::size_t bytes;
};

struct WinogradScratch {
  WinogradScratch(const Correlation& c, const WinogradPlan& plan, int threads, std::byte* base) {
    Carver carver(base);
    taken = carver.take<int>(threads);
    finite = carver.take<bool>(plan.pieces + c.depth);
    zeros = carver.take<float>(c.depth > plan.outputs ? c.depth : plan.outputs);
    bias = carver.take<float>(plan.outputs);
    packed = carver.take<std::byte>(static_cast<index_t>(WinogradWeights(plan, nullptr).bytes));
    input = carver.take<float>(16 * plan.input_plane * threads);
    output = carver.take<float>(16 * plan.output_plane * threads);
    table = carver.take<const float*>((plan.piece_tiles + BlockKernels<float>::max_pixels) * threads);
    bytes = carver.used();
  }
  int* taken;
  bool* finite;
  float *zeros, *bias, *input, *output;
  std::byte* packed;
  const float** table;
  std::size_t bytes;
};

/// Sixteen floats, in whatever registers the target has; anywhere in memory, which GCC forgets where a function's
/// return type is deduced from it.
using WinogradVector __attribute__((vector_size(64), aligned(4), may_alias)) = float;

/// weights[element][panel][c][output of the panel] = G g G', for one channel c. Returns whether all are finite.
MIEN_INLINE inline bool winograd_weights(const Correlation& c, const WinogradPlan& plan,
                                         const BlockKernels<float>& kernels, const float* w, index_t channel,
                                         float* to) {
  WinogradVector check{};
  for (index_t first = 0; first < c.outputs;) {
    const index_t panel = kernels.lanes << panel_index(kernels, c.outputs - first);
    const index_t lanes = panel < 16 ? panel : 16;
    for (index_t k = 0; k < panel; k += lanes) {
      alignas(64) float taps[9][16] = {};
      const index_t valid = c.outputs - first - k < lanes ? c.outputs - first - k : lanes;
      const float* from = w + (first + k) * c.layout.output + channel * c.layout.depth;
      for (index_t lane = 0; lane < valid; ++lane, from += c.layout.output)
        for (int t = 0; t < 9; ++t) taps[t][lane] = from[c.layout.flip ? 8 - t : t];
      WinogradVector g[9], half[4][3];
      for (int t = 0; t < 9; ++t) g[t] = *reinterpret_cast<const WinogradVector*>(taps[t]);
#pragma GCC unroll 3
      for (int s = 0; s < 3; ++s) {
        half[0][s] = g[s];
        half[1][s] = 0.5f * (g[s] + g[3 + s] + g[6 + s]);
        half[2][s] = 0.5f * (g[s] - g[3 + s] + g[6 + s]);
        half[3][s] = g[6 + s];
      }
      float* row = to + first * c.depth + channel * panel + k;
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const WinogradVector u[4] = {half[r][0], 0.5f * (half[r][0] + half[r][1] + half[r][2]),
                                     0.5f * (half[r][0] - half[r][1] + half[r][2]), half[r][2]};
#pragma GCC unroll 4
        for (int s = 0; s < 4; ++s) {
          float* const at = row + (4 * r + s) * plan.weight_plane;
          if (lanes == 16) {
            *reinterpret_cast<WinogradVector*>(at) = u[s];
          } else {
            for (index_t lane = 0; lane < lanes; ++lane) at[lane] = u[s][lane];
          }
          check += u[s] * 0.0f;
        }
      }
    }
    first += panel;
  }
  float sum = 0;
  for (int k = 0; k < 16; ++k) sum += check[k];
  return sum == 0.0f;
}

/// to[element * plane + c] = B' d B for each channel c, d[4 r + s] being the pixels; depth is a multiple of 16.
MIEN_INLINE inline void winograd_input(const float* const* d, index_t depth, float* to, index_t plane) {
  for (index_t c = 0; c < depth; c += 16) {
    WinogradVector half[4][4];
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      const WinogradVector d1 = *reinterpret_cast<const WinogradVector*>(d[4 + s] + c),
                           d2 = *reinterpret_cast<const WinogradVector*>(d[8 + s] + c);
      half[0][s] = *reinterpret_cast<const WinogradVector*>(d[s] + c) - d2;
      half[1][s] = d1 + d2;
      half[2][s] = d2 - d1;
      half[3][s] = d1 - *reinterpret_cast<const WinogradVector*>(d[12 + s] + c);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      float* row = to + 4 * r * plane + c;
      *reinterpret_cast<WinogradVector*>(row) = half[r][0] - half[r][2];
      *reinterpret_cast<WinogradVector*>(row + plane) = half[r][1] + half[r][2];
      *reinterpret_cast<WinogradVector*>(row + 2 * plane) = half[r][2] - half[r][1];
      *reinterpret_cast<WinogradVector*>(row + 3 * plane) = half[r][1] - half[r][3];
    }
  }
}

/// y[2 r + s][k] = (A' m A) + bias for each output k, m being elements `plane` apart; outputs is a multiple of 16.
/// Returns whether all are finite.
MIEN_INLINE inline bool winograd_output(const float* m, index_t plane, const float* bias, index_t outputs,
                                        float* const* y) {
  WinogradVector check{};
  for (index_t k = 0; k < outputs; k += 16) {
    WinogradVector half[2][4];
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      const float* column = m + s * plane + k;
      const WinogradVector m1 = *reinterpret_cast<const WinogradVector*>(column + 4 * plane);
      const WinogradVector m2 = *reinterpret_cast<const WinogradVector*>(column + 8 * plane);
      half[0][s] = *reinterpret_cast<const WinogradVector*>(column) + m1 + m2;
      half[1][s] = m1 - m2 - *reinterpret_cast<const WinogradVector*>(column + 12 * plane);
    }
    const WinogradVector start = *reinterpret_cast<const WinogradVector*>(bias + k);
#pragma GCC unroll 2
    for (int r = 0; r < 2; ++r) {
      const WinogradVector left = half[r][0] + half[r][1] + half[r][2] + start;
      const WinogradVector right = half[r][1] - half[r][2] - half[r][3] + start;
      *reinterpret_cast<WinogradVector*>(y[2 * r] + k) = left;
      *reinterpret_cast<WinogradVector*>(y[2 * r + 1] + k) = right;
      check += (left + right) * 0.0f;
    }
  }
  float sum = 0;
  for (int k = 0; k < 16; ++k) sum += check[k];
  return sum == 0.0f;
}

/// Runs the correlation. False, with y in any state, where a result is not finite: then inputs were not, or a sum of
/// the transformation overflowed, and only the direct way tells.
inline bool run_winograd(const Correlation& c, const WinogradPlan& plan, const BlockKernels<float>& kernels,
                         const float* x, const float* w, const float* bias, float* y, std::byte* memory,
                         const Threads& threads, PackedWeights packed) {
  const WinogradScratch scratch(c, plan, threads.count(), memory);
  for (int i = 0; i < threads.count(); ++i) scratch.taken[i] = 0;
  for (index_t k = 0; k < plan.outputs; ++k) scratch.bias[k] = bias != nullptr && k < c.outputs ? bias[k] : 0.0f;
  for (index_t k = 0; k < (c.depth > plan.outputs ? c.depth : plan.outputs); ++k) scratch.zeros[k] = 0.0f;

  const WinogradWeights transformed(plan, packed.memory != nullptr ? packed.memory : scratch.packed);
  if (!packed.ready) {
    threads.parallel_for(c.depth, [&](index_t channel) {
      run_vectorized(channel, channel + 1, [&](index_t at, index_t) MIEN_INLINE {
        scratch.finite[at] = winograd_weights(c, plan, kernels, w, at, transformed.weights);
      });
    });
    *transformed.finite = true;
    for (index_t channel = 0; channel < c.depth; ++channel)
      *transformed.finite = *transformed.finite && scratch.finite[channel];
  }
  if (!*transformed.finite) return false;

  threads.parallel_for(plan.pieces, [&](index_t piece) {
    const Slot slot(scratch.taken, threads.count());
    float* input = scratch.input + slot.index() * 16 * plan.input_plane;
    float* output = scratch.output + slot.index() * 16 * plan.output_plane;
    const float** table = scratch.table + slot.index() * (plan.piece_tiles + BlockKernels<float>::max_pixels);
    const index_t first = piece * plan.piece_tiles;
    const index_t count = plan.tiles - first < plan.piece_tiles ? plan.tiles - first : plan.piece_tiles;
    const Placement& p = c.place;
    const index_t per_image = plan.tile_rows * plan.tile_columns;

    run_vectorized(0, count, [&](index_t begin, index_t end) MIEN_INLINE {
      for (index_t t = begin; t < end; ++t) {
        const index_t n = (first + t) / per_image, tile = (first + t) % per_image;
        const index_t top = tile / plan.tile_columns * 2 - p.offset_h, left = tile % plan.tile_columns * 2 - p.offset_w;
        const float* pixels[16];
        for (index_t r = 0; r < 4; ++r)
          for (index_t s = 0; s < 4; ++s) {
            const bool inside = top + r >= 0 && top + r < p.height && left + s >= 0 && left + s < p.width;
            pixels[4 * r + s] =
                inside ? x + ((n * p.height + top + r) * p.width + left + s) * p.channels : scratch.zeros;
          }
        winograd_input(pixels, c.depth, input + t * c.depth, plan.input_plane);
      }
    });

    for (index_t t = 0; t < count + BlockKernels<float>::max_pixels; ++t)
      table[t] = input + (t < count ? t : count - 1) * c.depth;
    alignas(64) float none[BlockKernels<float>::max_panel] = {};
    for (index_t element = 0; element < 16; ++element)
      for (index_t from = 0; from < c.outputs;) {
        const int index = panel_index(kernels, c.outputs - from);
        const index_t panel = kernels.lanes << index, block = kernels.pixels[index];
        const float* weights = transformed.weights + element * plan.weight_plane + from * c.depth;
        const index_t pass = PassWalker::pass_values / panel;
        for (index_t depth = 0; depth < c.depth; depth += pass) {
          const Segment segment{element * plan.input_plane + depth, depth * panel,
                                c.depth - depth < pass ? c.depth - depth : pass};
          for (index_t t = 0; t < count; t += block) {
            float* to[BlockKernels<float>::max_pixels];
            for (index_t q = 0; q < block; ++q)
              to[q] = output + element * plan.output_plane + (t + q) * plan.outputs + from;
            kernels.correlate[index](table + t, &segment, 1, weights, depth == 0 ? none : nullptr, to);
          }
        }
        from += panel;
      }

    bool finite = true;
    run_vectorized(0, count, [&](index_t begin, index_t end) MIEN_INLINE {
      for (index_t t = begin; t < end; ++t) {
        const index_t n = (first + t) / per_image, tile = (first + t) % per_image;
        const index_t i = tile / plan.tile_columns * 2, j = tile % plan.tile_columns * 2;
        float* to = y + ((n * c.out_height + i) * c.out_width + j) * c.outputs;
        const index_t down = c.out_width * c.outputs;
        // What lies outside the image goes into an element of the products that is not needed any more.
        float* nowhere = input;
        const bool right = j + 1 < c.out_width, below = i + 1 < c.out_height;
        float* const four[4] = {to, right ? to + c.outputs : nowhere, below ? to + down : nowhere,
                                right && below ? to + down + c.outputs : nowhere};
        finite = winograd_output(output + t * plan.outputs, plan.output_plane, scratch.bias, c.outputs, four) && finite;
      }
    });
    scratch.finite[piece] = finite;
  });
  for (index_t piece = 0; piece < plan.pieces; ++piece)
    if (!scratch.finite[piece]) return false;
  return true;
}

}  // namespace mien::kernels::detail
