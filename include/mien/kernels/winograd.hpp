// Forward and backward data of 3x3 windows by Winograd's minimal filtering, in float; see winograd_transforms.hpp for
// the formulas and the rounding. Summed over channels the products are one matrix product for each of the 25 or 36
// elements of a tile, done by the register blocks.
#pragma once

#include "mien/core/threads.hpp"
#include "mien/kernels/blocks.hpp"
#include "mien/kernels/correlation.hpp"
#include "mien/kernels/epilogue.hpp"
#include "mien/kernels/parallel.hpp"
#include "mien/kernels/scratch.hpp"
#include "mien/kernels/winograd_transforms.hpp"

namespace mien::kernels::detail {

/// The distance between planes of `values` each. The elements of a tile are written one to a plane: at a multiple of
/// 4 kB apart, or nearly so, they would meet in the same sets of the first cache and look to the processor like one
/// address, which took a fifth of the time.
constexpr index_t winograd_plane(index_t values) { return ((values + 1023) & -1024) + 272; }

/// The transformations are compiled for AVX2 and AVX-512, or else for the target of a build that knows neither; a
/// processor of neither kind would gain little for a hundred kB of code in every program.
inline bool has_winograd(const BlockKernels<float>& kernels) {
  return !MIEN_HAS_X86_KERNELS || kernels.window[0] != nullptr;
}

/// How a correlation is cut into pieces of tiles; does not depend on the number of threads.
struct WinogradPlan {
  static constexpr index_t budget = 512 * 1024;  // bytes of transformed input per piece, to stay in the second cache

  /// Fewer do not pay for reading weights 2.8 or 4 times as large, which costs the same where products are slower: one
  /// image of 11x11 with vectors of 8 lanes, of 22x22 with 16.
  static constexpr index_t least_tiles(index_t lanes) { return lanes < 16 ? 9 : 36; }

  WinogradPlan(const Correlation& c, const BlockKernels<float>& kernels) {
    const bool plain = c.kernel_h == 3 && c.kernel_w == 3 && c.stride_h == 1 && c.stride_w == 1 && c.dilation_h == 1 &&
                       c.dilation_w == 1 && c.place.step_h == 1 && c.place.step_w == 1 && c.groups == 1;
    if (!plain || !has_winograd(kernels) || c.depth % 16 != 0 || c.outputs % 16 != 0) return;
    // Small images leave much of their tiles unused, and in them the direct way, with its 9, skips the padding.
    index_t least = 5 * c.batch * c.out_height * c.out_width;  // products
    for (const index_t size : {3, 4}) {
      const index_t rows = (c.out_height + size - 1) / size, columns = (c.out_width + size - 1) / size;
      const index_t products = c.batch * rows * columns * (size + 2) * (size + 2);
      if (c.batch * rows * columns < least_tiles(kernels.lanes) || products > least) continue;
      least = products;
      fits = true;
      tile = size;
      tile_rows = rows;
      tile_columns = columns;
    }
    if (!fits) return;
    tiles = c.batch * tile_rows * tile_columns;
    elements = (tile + 2) * (tile + 2);
    for (index_t left = c.outputs; left > 0; left -= kernels.lanes << panel_index(kernels, left)) {
      outputs += kernels.lanes << panel_index(kernels, left);
    }
    // Every piece reads all weights: where they do not stay in the second cache, fewer and larger ones.
    const bool large = elements * c.depth * outputs * 4 > 2 * 1024 * 1024;
    const index_t least_piece = large ? 96 : 48, wanted_pieces = tiles < 96 ? 2 : large ? 4 : 8;
    piece_tiles = budget / (4 * elements * c.depth);
    if (piece_tiles < least_piece) piece_tiles = least_piece;
    piece_tiles -= piece_tiles % 24;  // whole register blocks
    if (piece_tiles > (tiles + wanted_pieces - 1) / wanted_pieces)
      piece_tiles = (tiles + wanted_pieces - 1) / wanted_pieces;
    // As alike as whole blocks allow, and an even number: two threads begin with a half each.
    unit = piece_tiles % 24 == 0 ? 24 : 1;
    units = (tiles + unit - 1) / unit;
    pieces = (tiles + piece_tiles - 1) / piece_tiles;
    pieces += pieces % 2;  // of two units at least, where there are three pieces or more
    piece_tiles = (units + pieces - 1) / pieces * unit;
    const index_t input = piece_tiles * c.depth, output = (piece_tiles + BlockKernels<float>::max_pixels) * outputs;
    plane = winograd_plane(input < output ? output : input);
    weight_plane = winograd_plane(c.depth * outputs);
    pools = tile == 4 && c.out_height % 2 == 0 && c.out_width % 2 == 0;
  }

  index_t first_tile(index_t piece) const { return piece < pieces ? units * piece / pieces * unit : tiles; }

  bool fits = false;
  bool pools = false;              // a tile holds whole windows of 2x2
  index_t tile = 0, elements = 0;  // outputs along one side of a tile; products of a tile and channel
  index_t tile_rows = 0, tile_columns = 0, tiles = 0;
  index_t outputs = 0;                      // padded to whole panels
  index_t piece_tiles = 0;                  // of the largest piece
  index_t pieces = 0, unit = 0, units = 0;  // pieces are cut between units of tiles
  index_t plane = 0, weight_plane = 0;
};

/// Calls f with std::integral_constant<int, M>, M the plan's size of a tile.
template <class F>
decltype(auto) with_tile(const WinogradPlan& plan, F&& f) {
  return plan.tile == 4 ? f(std::integral_constant<int, 4>{}) : f(std::integral_constant<int, 3>{});
}

/// Transformed weights, and whether they are finite.
struct WinogradWeights {
  WinogradWeights(const WinogradPlan& plan, std::byte* base) {
    Carver carver(base);
    finite = carver.take<bool>(1);
    weights = carver.take<float>(plan.elements * plan.weight_plane);
    bytes = carver.used();
  }
  bool* finite;
  float* weights;
  std::size_t bytes;
};

template <class S>
struct WinogradScratch {
  WinogradScratch(const Correlation& c, const WinogradPlan& plan, int threads, std::byte* base) {
    Carver carver(base);
    const int workers = Threads::workers(threads, plan.pieces);
    finite = carver.take<bool>(plan.pieces + c.depth);
    zeros = carver.take<S>(c.depth);
    bias = carver.take<float>(plan.outputs);
    packed = carver.take<std::byte>(static_cast<index_t>(WinogradWeights(plan, nullptr).bytes));
    planes = carver.take_each<float>((plan.elements + 1) * plan.plane, workers);
    table = carver.take_each<const float*>(plan.piece_tiles + BlockKernels<float>::max_pixels, workers);
    bytes = carver.used();
  }
  bool* finite;
  S* zeros;
  float* bias;
  WorkerBuffers<float> planes;
  std::byte* packed;
  WorkerBuffers<const float*> table;
  std::size_t bytes;
};

/// weights[element][panel][c][output of the panel] = G g G', for one channel c, g being w rounded to S. Returns whether
/// all are finite.
template <class S, int M, int Lanes>
MIEN_INLINE inline bool winograd_weights(const Correlation& c, const WinogradPlan& plan,
                                         const BlockKernels<float>& kernels, const float* w, index_t channel,
                                         float* to) {
  using Vector = typename WinogradLanes<Lanes>::Vector;
  constexpr int points = M + 2;
  Vector check{};
  for (index_t first = 0; first < c.outputs;) {
    const index_t panel = kernels.lanes << panel_index(kernels, c.outputs - first);
    for (index_t k = 0; k < panel; k += Lanes) {
      alignas(64) float taps[9][Lanes] = {};
      const index_t valid = c.outputs - first - k < Lanes ? c.outputs - first - k : Lanes;
      const float* from = w + (first + k) * c.layout.output + channel * c.layout.depth;
      for (index_t lane = 0; lane < valid; ++lane, from += c.layout.output)
        for (int t = 0; t < 9; ++t) taps[t][lane] = S(from[c.layout.flip ? 8 - t : t]);
      alignas(64) Vector g[9], u[points * points];
      for (int t = 0; t < 9; ++t) g[t] = *reinterpret_cast<const Vector*>(taps[t]);
      winograd_both<3, points, Lanes>(
          g, u, [](const Vector* in, Vector* out) MIEN_INLINE { Winograd<M, Lanes>::template window<3>(in, out); });
      float* at = to + first * c.depth + channel * panel + k;
      for (int element = 0; element < points * points; ++element, at += plan.weight_plane) {
        *reinterpret_cast<Vector*>(at) = u[element];
        check += u[element] * 0.0f;
      }
    }
    first += panel;
  }
  float sum = 0;
  for (int k = 0; k < Lanes; ++k) sum += check[k];
  return sum == 0.0f;
}

/// The pixels of the tile of x whose first one is (top, left): d[points r + s], or `zeros` where they lie outside.
template <int Points, class S>
MIEN_INLINE inline void winograd_pixels(const S* image, index_t height, index_t width, index_t channels, index_t top,
                                        index_t left, const S* zeros, const S** d) {
  for (index_t r = 0; r < Points; ++r)
    for (index_t s = 0; s < Points; ++s) {
      const bool inside = top + r >= 0 && top + r < height && left + s >= 0 && left + s < width;
      d[Points * r + s] = inside ? image + ((top + r) * width + left + s) * channels : zeros;
    }
}

/// to[element * plane + c] = B' d B for each channel c; depth is a multiple of 16.
template <int M, int Lanes, class S>
MIEN_INLINE inline void winograd_input(const S* const* d, index_t depth, float* to, index_t plane) {
  using Vector = typename WinogradLanes<Lanes>::Vector;
  constexpr int points = M + 2;
  for (index_t c = 0; c < depth; c += Lanes) {
    alignas(64) Vector half[points * points];
    for (int s = 0; s < points; ++s) {
      Vector column[points], result[points];
#pragma GCC unroll 6
      for (int r = 0; r < points; ++r) winograd_load<Lanes>(d[points * r + s] + c, column + r);
      Winograd<M, Lanes>::input(column, result);
#pragma GCC unroll 6
      for (int r = 0; r < points; ++r) half[points * r + s] = result[r];
    }
    for (int r = 0; r < points; ++r) {
      Vector result[points];
      Winograd<M, Lanes>::input(half + points * r, result);
      float* row = to + points * r * plane + c;
#pragma GCC unroll 6
      for (int s = 0; s < points; ++s) *reinterpret_cast<Vector*>(row + s * plane) = result[s];
    }
  }
}

/// *value = *value * scale + shift, rounded as scale_shift() on this processor rounds it, whose loops compilers fuse
/// where they may: for AVX-512, but not for AVX2 unless the whole program is compiled for it.
template <int Lanes>
MIEN_INLINE inline void winograd_scale(const float* scale, const float* shift,
                                       typename WinogradLanes<Lanes>::Vector* value) {
  using Vector = typename WinogradLanes<Lanes>::Vector;
  // Not auto, which would lose the attribute that they need not be aligned.
  const Vector* by = reinterpret_cast<const Vector*>(scale);    // NOLINT(modernize-use-auto)
  const Vector* plus = reinterpret_cast<const Vector*>(shift);  // NOLINT(modernize-use-auto)
#if MIEN_HAS_X86_KERNELS && !defined(__FMA__)
  if constexpr (Lanes == 8) {
    Vector product = *value * *by;
#if !defined(__clang__)  // which fuses within one expression only
    __asm__("" : "+x"(product));
#endif
    *value = product + *plus;
    return;
  }
#endif
  *value = *value * *by + *plus;
}

/// *value = max(*value, 0), which is not NaN.
template <int Lanes>
MIEN_INLINE inline void winograd_rectify(typename WinogradLanes<Lanes>::Vector* value) {
  using Lane = WinogradLanes<Lanes>;
  const auto above = reinterpret_cast<typename Lane::Bits>(*value > typename Lane::Vector{});
  *value = reinterpret_cast<typename Lane::Vector>(reinterpret_cast<typename Lane::Bits>(*value) & above);
}

/// *value = max(*value, *other), neither of which is NaN.
template <int Lanes>
MIEN_INLINE inline void winograd_largest(const typename WinogradLanes<Lanes>::Vector* other,
                                         typename WinogradLanes<Lanes>::Vector* value) {
  using Lane = WinogradLanes<Lanes>;
  const auto take = reinterpret_cast<typename Lane::Bits>(*other > *value);
  *value = reinterpret_cast<typename Lane::Vector>((reinterpret_cast<typename Lane::Bits>(*other) & take) |
                                                   (reinterpret_cast<typename Lane::Bits>(*value) & ~take));
}

/// y[M r + s][k] = (A' m A) + bias and the epilogue for each output k, m being elements `plane` apart; outputs is a
/// multiple of 16. With pooling y are M / 2 rows of M / 2; `rounds` as in winograd_store().
/// Returns whether all are finite.
template <int M, int Lanes, class S>
MIEN_INLINE inline bool winograd_output(const float* m, index_t plane, const float* bias,
                                        const Epilogue<float>& epilogue, index_t outputs, bool rounds, S* const* y) {
  using Vector = typename WinogradLanes<Lanes>::Vector;
  constexpr int points = M + 2;
  Vector check{};
  for (index_t k = 0; k < outputs; k += Lanes) {
    alignas(64) Vector half[M * points];
    for (int s = 0; s < points; ++s) {
      Vector column[points], result[M];
#pragma GCC unroll 6
      for (int r = 0; r < points; ++r) column[r] = *reinterpret_cast<const Vector*>(m + (points * r + s) * plane + k);
      Winograd<M, Lanes>::template output<M>(column, result);
#pragma GCC unroll 6
      for (int r = 0; r < M; ++r) half[points * r + s] = result[r];
    }
    const Vector start = *reinterpret_cast<const Vector*>(bias + k);
    alignas(64) Vector above[M];  // the row before
    for (int r = 0; r < M; ++r) {
      Vector result[M];
      Winograd<M, Lanes>::template output<M>(half + points * r, result);
#pragma GCC unroll 6
      for (int s = 0; s < M; ++s) {
        result[s] += start;
        if (epilogue.scale != nullptr) {
          winograd_scale<Lanes>(epilogue.scale + k, epilogue.shift + k, result + s);
        }
        check += result[s] * 0.0f;
        if (epilogue.relu) winograd_rectify<Lanes>(result + s);
        if (!epilogue.pool) winograd_store<Lanes>(result + s, y[M * r + s] + k, rounds);
      }
      if (M % 2 != 0 || !epilogue.pool) continue;
#pragma GCC unroll 6
      for (int s = 0; s < M; ++s) {
        if (r % 2 != 0) winograd_largest<Lanes>(above + s, result + s);
        above[s] = result[s];
      }
      for (int s = 0; r % 2 != 0 && s < M / 2; ++s) {
        winograd_largest<Lanes>(above + 2 * s, above + 2 * s + 1);
        winograd_store<Lanes>(above + 2 * s + 1, y[M / 2 * (r / 2) + s] + k, rounds);
      }
    }
  }
  float sum = 0;
  for (int k = 0; k < Lanes; ++k) sum += check[k];
  return sum == 0.0f;
}

/// Runs the correlation and the epilogue, which pools only where plan.pools. False, with y in any state, where a result
/// is not finite: then inputs were not, or a sum of the transformation overflowed, and only the direct way tells.
template <class S>
bool run_winograd(const Correlation& c, const WinogradPlan& plan, const BlockKernels<float>& kernels, const S* x,
                  const float* w, const float* bias, S* y, std::byte* memory, const Threads& threads,
                  PackedWeights packed, const Epilogue<float>& epilogue) {
  const WinogradScratch<S> scratch(c, plan, threads.count(), memory);
  for (index_t k = 0; k < plan.outputs; ++k) scratch.bias[k] = bias != nullptr && k < c.outputs ? bias[k] : 0.0f;
  for (index_t k = 0; k < c.depth; ++k) scratch.zeros[k] = S(0.0f);

  const WinogradWeights transformed(plan, packed.memory != nullptr ? packed.memory : scratch.packed);
  if (!packed.ready) {
    with_tile(plan, [&](auto m) {
      threads.parallel_for(c.depth, [&](index_t channel) {
        run_lanes(kernels.lanes, channel, channel + 1, [&](auto lanes, index_t at, index_t) MIEN_INLINE {
          scratch.finite[at] = winograd_weights<S, m(), lanes()>(c, plan, kernels, w, at, transformed.weights);
        });
      });
    });
    *transformed.finite = true;
    for (index_t channel = 0; channel < c.depth; ++channel)
      *transformed.finite = *transformed.finite && scratch.finite[channel];
  }
  if (!*transformed.finite) return false;

  threads.parallel_for(plan.pieces, [&](index_t piece, int worker) {
    // The products of an element are written over the input of the element before, which nobody needs any more and the
    // caches hold.
    float* output = scratch.planes[worker];
    float* input = output + plan.plane;
    const float** table = scratch.table[worker];
    const index_t first = plan.first_tile(piece), count = plan.first_tile(piece + 1) - first;
    const Placement& p = c.place;
    const index_t per_image = plan.tile_rows * plan.tile_columns;

    with_tile(plan, [&](auto m) {
      run_lanes(kernels.lanes, 0, count, [&](auto lanes, index_t begin, index_t end) MIEN_INLINE {
        constexpr int size = m();
        for (index_t t = begin; t < end; ++t) {
          const index_t n = (first + t) / per_image, tile = (first + t) % per_image;
          const S* pixels[(size + 2) * (size + 2)];
          winograd_pixels<size + 2>(x + n * p.height * p.width * p.channels, p.height, p.width, p.channels,
                                    tile / plan.tile_columns * size - p.offset_h,
                                    tile % plan.tile_columns * size - p.offset_w, scratch.zeros, pixels);
          winograd_input<size, lanes()>(pixels, c.depth, input + t * c.depth, plan.plane);
        }
      });
    });

    for (index_t t = 0; t < count + BlockKernels<float>::max_pixels; ++t)
      table[t] = input + (t < count ? t : count - 1) * c.depth;
    alignas(64) float none[BlockKernels<float>::max_panel] = {};
    for (index_t element = 0; element < plan.elements; ++element)
      for (index_t from = 0; from < c.outputs;) {
        const int index = panel_index(kernels, c.outputs - from);
        const index_t panel = kernels.lanes << index, block = kernels.pixels[index];
        const float* weights = transformed.weights + element * plan.weight_plane + from * c.depth;
        const index_t pass = PassWalker::pass_values / panel;
        for (index_t depth = 0; depth < c.depth; depth += pass) {
          const Segment segment{element * plan.plane + depth, depth * panel,
                                c.depth - depth < pass ? c.depth - depth : pass};
          // The weights that come next: each block of tiles fetches from its share of them on.
          const float* next = depth + pass < c.depth || from + panel < plan.outputs
                                  ? weights + (depth + segment.length) * panel
                                  : transformed.weights + (element + 1) % plan.elements * plan.weight_plane;
          const index_t share = (segment.length * panel * block / count + 15) / 16 * 16;
          for (index_t t = 0; t < count; t += block, next += share) {
            float* to[BlockKernels<float>::max_pixels];
            for (index_t q = 0; q < block; ++q) to[q] = output + element * plan.plane + (t + q) * plan.outputs + from;
            kernels.correlate[index](table + t, &segment, 1, weights, depth == 0 ? none : nullptr, to, next);
          }
        }
        from += panel;
      }

    bool finite = true;
    const bool rounds = kernels.rounds;
    with_tile(plan, [&](auto m) {
      run_lanes(kernels.lanes, 0, count, [&](auto lanes, index_t begin, index_t end) MIEN_INLINE {
        constexpr int size = m();
        for (index_t t = begin; t < end; ++t) {
          const index_t n = (first + t) / per_image, tile = (first + t) % per_image;
          const index_t i = tile / plan.tile_columns * size, j = tile % plan.tile_columns * size;
          const int step = epilogue.pool ? 2 : 1, side = size / step;
          const index_t height = c.out_height / step, width = c.out_width / step;
          S* to[size * size];
          // What lies outside the image goes where the last element of the input was.
          for (index_t r = 0; r < side; ++r)
            for (index_t s = 0; s < side; ++s)
              to[side * r + s] = i / step + r < height && j / step + s < width
                                     ? y + ((n * height + i / step + r) * width + j / step + s) * c.outputs
                                     : reinterpret_cast<S*>(output + plan.elements * plan.plane);
          finite = winograd_output<size, lanes()>(output + t * plan.outputs, plan.plane, scratch.bias, epilogue,
                                                  c.outputs, rounds, to) &&
                   finite;
        }
      });
    });
    scratch.finite[piece] = finite;
  });
  for (index_t piece = 0; piece < plan.pieces; ++piece)
    if (!scratch.finite[piece]) return false;
  return true;
}

}  // namespace mien::kernels::detail
