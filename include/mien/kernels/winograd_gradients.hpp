// Backward weights of 3x3 windows by Winograd's minimal filtering, in float: dW = A' [sum over tiles of (G g G') *
// (B' d B)] A with g the gradients of a tile's outputs and d its input pixels; see winograd_transforms.hpp for the
// formulas and the rounding.
#pragma once

#include "mien/kernels/weight_gradients.hpp"
#include "mien/kernels/winograd.hpp"

namespace mien::kernels::detail {

/// How the sum over tiles is cut; does not depend on the number of threads.
struct WinogradGradientPlan {
  // Parts, whose sums are added in order at the end: each of enough tiles to be worth its sums. Where there are fewer
  // than wanted_tasks, each is cut into groups of filters, a task each, large enough to be worth transforming x anew.
  static constexpr index_t wanted_tasks = 8, tiles_per_part = 128, filters_per_group = 128;
  static constexpr index_t most_values = 1 << 24;        // of the sums of all parts
  static constexpr index_t most_piece_values = 1 << 22;  // of the transformed operands of a thread
  static constexpr index_t budget = 512 * 1024;          // bytes of them, unless there are many sums

  WinogradGradientPlan(const ConvGeometry& g, const BlockKernels<float>& kernels)
      : forward(forward_correlation(g), kernels) {
    const index_t sums = forward.elements * g.channels * forward.outputs;
    fits = forward.fits && forward.tiles >= 2 * tiles_per_part && sums <= most_values;
    if (!fits) return;
    parts = wanted_tasks;  // a power of two, as numbers of threads are
    while (parts > 1 && (parts * tiles_per_part > forward.tiles || parts * sums > most_values)) parts /= 2;
    const index_t wide = (g.filters + filters_per_group - 1) / filters_per_group;
    groups = wanted_tasks / parts < wide ? wanted_tasks / parts : wide;
    group_filters = (wide + groups - 1) / groups * filters_per_group;
    groups = (g.filters + group_filters - 1) / group_filters;
    if (groups == 1) group_filters = g.filters;
    x_pitch = pitch(g.channels);
    dy_pitch = pitch(group_filters);
    // The sums are read and written once for each piece: where they are many, more tiles are worth leaving the cache.
    const index_t least_tiles = g.channels * group_filters >= 64 * 128 ? 48 : 32;
    piece_tiles = budget / (4 * forward.elements * (x_pitch + dy_pitch));
    if (piece_tiles < least_tiles) piece_tiles = least_tiles;
    x_plane = winograd_plane(piece_tiles * x_pitch);
    dy_plane = winograd_plane(piece_tiles * dy_pitch);
    sums_plane = winograd_plane(g.channels * forward.outputs);
    part_values = forward.elements * sums_plane + forward.outputs + apart_values<float>;  // the bias behind the rest
    // A single task would leave all threads but one idle.
    fits = parts * groups > 1 && forward.elements * (x_plane + dy_plane) <= most_piece_values;
  }

  /// The distance between tiles of `values` in a plane: an odd number of lines of 64 bytes. A block reads a few lines
  /// of each tile; large powers of two apart they would meet in few sets of the first cache.
  static constexpr index_t pitch(index_t values) { return values > 64 && values % 32 == 0 ? values + 16 : values; }

  WinogradPlan forward;
  bool fits = false;
  index_t parts = 0, groups = 0, group_filters = 0;
  index_t piece_tiles = 0, x_pitch = 0, dy_pitch = 0, x_plane = 0, dy_plane = 0, sums_plane = 0, part_values = 0;
};

template <class S>
struct WinogradGradientScratch {
  WinogradGradientScratch(const ConvGeometry& g, const WinogradGradientPlan& plan, int threads, std::byte* base) {
    Carver carver(base);
    const int workers = Threads::workers(threads, plan.parts * plan.groups);
    finite = carver.take<bool>(g.channels);
    zeros = carver.take<S>(g.channels > g.filters ? g.channels : g.filters);
    sums = carver.take<float>(plan.part_values * plan.parts);
    operands = carver.take_each<float>(plan.forward.elements * (plan.x_plane + plan.dy_plane), workers);
    bytes = carver.used();
  }
  bool* finite;
  S* zeros;
  float* sums;
  WorkerBuffers<float> operands;  // of x, then of dy
  std::size_t bytes;
};

/// to[element * plane + k] = G g G' for each filter k, g[M r + s] being the gradients; filters is a multiple of Lanes.
/// Adds their sum to bias[k].
template <int M, int Lanes, class S>
MIEN_INLINE inline void winograd_gradient_input(const S* const* g, index_t filters, float* to, index_t plane,
                                                float* bias) {
  using Vector = typename WinogradLanes<Lanes>::Vector;
  constexpr int points = M + 2;
  for (index_t k = 0; k < filters; k += Lanes) {
    alignas(64) Vector half[points * M];
    Vector sum = *reinterpret_cast<const Vector*>(bias + k);
    for (int s = 0; s < M; ++s) {
      Vector column[M], result[points];
#pragma GCC unroll 6
      for (int r = 0; r < M; ++r) {
        winograd_load<Lanes>(g[M * r + s] + k, column + r);
        sum += column[r];
      }
      Winograd<M, Lanes>::template window<M>(column, result);
#pragma GCC unroll 6
      for (int r = 0; r < points; ++r) half[M * r + s] = result[r];
    }
    *reinterpret_cast<Vector*>(bias + k) = sum;
    for (int r = 0; r < points; ++r) {
      Vector result[points];
      Winograd<M, Lanes>::template window<M>(half + M * r, result);
      float* row = to + points * r * plane + k;
#pragma GCC unroll 6
      for (int s = 0; s < points; ++s) *reinterpret_cast<Vector*>(row + s * plane) = result[s];
    }
  }
}

/// dw of one channel = A' [sum over the parts, in order] A, where dw is not null. Returns whether all are finite.
template <int M, int Lanes>
MIEN_INLINE inline bool winograd_gradient_output(const ConvGeometry& g, const WinogradGradientPlan& plan,
                                                 const BlockKernels<float>& kernels, const float* sums, index_t channel,
                                                 float* dw) {
  using Vector = typename WinogradLanes<Lanes>::Vector;
  constexpr int points = M + 2;
  const index_t full = kernels.lanes << kernels.widest;
  Vector check{};
  for (index_t k = 0; k < g.filters; k += Lanes) {
    const index_t start = k / full * full, panel = kernels.lanes << panel_index(kernels, g.filters - start);
    const float* from = sums + start * g.channels + channel * panel + k - start;
    alignas(64) Vector sum[points * points]{}, window[9];
    for (int element = 0; element < points * points; ++element, from += plan.sums_plane)
      for (index_t part = 0; part < plan.parts; ++part)
        sum[element] += *reinterpret_cast<const Vector*>(from + part * plan.part_values);
    winograd_both<points, 3, Lanes>(sum, window, [](const Vector* in, Vector* out) MIEN_INLINE {
      Winograd<M, Lanes>::template output<3>(in, out);
    });
    for (int t = 0; t < 9; ++t) {
      check += window[t] * 0.0f;
      for (index_t lane = 0; dw != nullptr && lane < Lanes; ++lane)
        dw[((k + lane) * g.channels + channel) * 9 + t] = window[t][lane];
    }
  }
  float sum = 0;
  for (int lane = 0; lane < Lanes; ++lane) sum += check[lane];
  return sum == 0.0f;
}

/// Assigns dw (OIHW) and dbias, either of which may be null. False where a result is not finite: then only the direct
/// way tells which are.
template <class S>
bool run_winograd_gradients(const ConvGeometry& g, const WinogradGradientPlan& plan, const BlockKernels<float>& kernels,
                            const S* x, const S* dy, float* dw, float* dbias, std::byte* memory,
                            const Threads& threads) {
  const WinogradGradientScratch<S> scratch(g, plan, threads.count(), memory);
  const index_t channels = g.channels, filters = g.filters, oh = g.out_height(), ow = g.out_width();
  for (index_t k = 0; k < (channels > filters ? channels : filters); ++k) scratch.zeros[k] = S(0.0f);
  const index_t columns = plan.forward.tile_columns, per_image = plan.forward.tile_rows * columns;

  threads.parallel_for(plan.parts * plan.groups, [&](index_t task, int worker) {
    const index_t part = task / plan.groups, first_filter = task % plan.groups * plan.group_filters;
    const index_t last_filter =
        filters - first_filter < plan.group_filters ? filters : first_filter + plan.group_filters;
    float* v = scratch.operands[worker];
    float* d = v + plan.forward.elements * plan.x_plane;
    float* sums = scratch.sums + part * plan.part_values;
    float* bias = sums + plan.forward.elements * plan.sums_plane;
    for (index_t k = first_filter; k < last_filter; ++k) bias[k] = 0.0f;
    const index_t begin = plan.forward.tiles * part / plan.parts, end = plan.forward.tiles * (part + 1) / plan.parts;
    for (index_t first = begin; first < end; first += plan.piece_tiles) {
      const index_t count = end - first < plan.piece_tiles ? end - first : plan.piece_tiles;
      with_tile(plan.forward, [&](auto m) {
        run_lanes(kernels.lanes, 0, count, [&](auto lanes, index_t from, index_t to) MIEN_INLINE {
          constexpr int size = m();
          for (index_t t = from; t < to; ++t) {
            const index_t n = (first + t) / per_image, tile = (first + t) % per_image;
            const index_t i = tile / columns * size, j = tile % columns * size;
            const S* pixels[(size + 2) * (size + 2)];
            winograd_pixels<size + 2>(x + n * g.height * g.width * channels, g.height, g.width, channels, i - g.pad_top,
                                      j - g.pad_left, scratch.zeros, pixels);
            winograd_input<size, lanes()>(pixels, channels, v + t * plan.x_pitch, plan.x_plane);
            const S* gradients[size * size];
            winograd_pixels<size>(dy + n * oh * ow * filters + first_filter, oh, ow, filters, i, j, scratch.zeros,
                                  gradients);
            winograd_gradient_input<size, lanes()>(gradients, last_filter - first_filter, d + t * plan.dy_pitch,
                                                   plan.dy_plane, bias + first_filter);
          }
        });
      });
      for (index_t k = first_filter; k < last_filter;) {
        const int index = panel_index(kernels, last_filter - k);
        const index_t panel = kernels.lanes << index;
        WeightsBlock<float> block{nullptr, nullptr, 1, 1, count, 0, 0, plan.x_pitch, 0, 0, plan.dy_pitch};
        block.start = first == begin;
        for (index_t element = 0; element < plan.forward.elements; ++element) {
          block.dy = d + element * plan.dy_plane + k - first_filter;
          float* to = sums + element * plan.sums_plane + k * channels;
          for (index_t c = 0; c < channels;) {
            const int size = weights_size(kernels, channels - c);
            block.x = v + element * plan.x_plane + c;
            kernels.weights[index][size](block, to + c * panel);
            c += kernels.sizes[size];
          }
        }
        k += panel;
      }
    }
  });

  with_tile(plan.forward, [&](auto m) {
    threads.parallel_for(channels, [&](index_t c) {
      run_lanes(kernels.lanes, c, c + 1, [&](auto lanes, index_t at, index_t) MIEN_INLINE {
        scratch.finite[at] = winograd_gradient_output<m(), lanes()>(g, plan, kernels, scratch.sums, at, dw);
      });
    });
  });
  for (index_t k = 0; k < filters; ++k) {
    float sum = 0;
    for (index_t part = 0; part < plan.parts; ++part)
      sum += scratch.sums[part * plan.part_values + plan.forward.elements * plan.sums_plane + k];
    if (!(sum * 0.0f == 0.0f)) return false;
    if (dbias != nullptr) dbias[k] = sum;
  }
  for (index_t c = 0; c < channels; ++c)
    if (!scratch.finite[c]) return false;
  return true;
}

}  // namespace mien::kernels::detail
