// Backward weights in bfloat16 by AMX tile products, or by dot products in their place: the inner dimension of a
// product is 32 images at one pixel.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include <cstring>

#include "mien/core/threads.hpp"
#include "mien/kernels/amx/dots.hpp"
#include "mien/kernels/amx/gradient_tiles.hpp"
#include "mien/kernels/amx/pack_images.hpp"
#include "mien/kernels/correlation.hpp"
#include "mien/kernels/reference.hpp"
#include "mien/kernels/weight_gradients.hpp"

namespace mien::kernels::detail::amx {

/// A window of one pixel sees pixels, not images: each becomes an image of its own.
inline void pixels_as_images(ConvGeometry& g) {
  if (g.kernel_h != 1 || g.kernel_w != 1 || g.stride_h != 1 || g.stride_w != 1 || g.is_padded()) return;
  g.batch *= g.height * g.width;
  g.height = g.width = 1;
}

/// A window that fits one tile's 16 columns is better gathered once than read tap by tap: then every position of a
/// window is a channel of its own.
inline bool gathers_windows(const ConvGeometry& g) {
  return g.channels == 1 && g.kernel_w > 1 && g.kernel_h * g.kernel_w <= 16 && g.dilation_w == 1;
}

inline ConvGeometry gathered_geometry(const ConvGeometry& g) {
  ConvGeometry result;
  result.batch = g.batch * g.out_height() * g.out_width();
  result.channels = g.kernel_h * g.kernel_w;
  result.filters = g.filters;
  return result;
}

/// Scratch for the gathered windows of all images (16 values per pixel) and a padded image for each piece at work.
struct GatheredWindows {
  static constexpr index_t pitch = 16;  // values per window

  GatheredWindows(const ConvGeometry& g, int threads, std::byte* base)
      : place(forward_correlation(g).place),
        padded_size((place.padded_height * place.padded_width + 64 + 31) / 32 * 32) {
    Carver carver(base);
    padded = carver.take_each<bfloat16>(padded_size, Threads::workers(threads, g.batch));
    windows = carver.take<bfloat16>(g.batch * g.out_height() * g.out_width() * pitch);
    bytes = carver.used();
  }
  void fill(const ConvGeometry& g, const bfloat16* x, const Threads& threads) const {
    const index_t oh = g.out_height(), ow = g.out_width();
    threads.parallel_for(g.batch, [&](index_t n, int worker) {
      bfloat16* image = padded[worker];
      copy_padded(place, x + n * g.height * g.width, 0, place.padded_height, image);
      for (index_t i = 0; i < oh; ++i)
        copy_windows(image + i * g.stride_h * place.padded_width, ow, g.stride_w, g.kernel_h, g.kernel_w,
                     g.dilation_h * place.padded_width, windows + (n * oh + i) * ow * pitch, pitch);
    });
  }
  Placement place;
  index_t padded_size;
  WorkerBuffers<bfloat16> padded;
  bfloat16* windows;
  std::size_t bytes;
};

/// Whether tiles of 32 images serve: not for groups, nor for so few images that most of a tile would be empty.
inline bool has_tile_gradients(ConvGeometry g) {
  if (gathers_windows(g)) g = gathered_geometry(g);
  pixels_as_images(g);
  return g.groups == 1 && g.batch >= 8;
}

/// How the sums are cut; does not depend on the number of threads.
struct TileGradientPlan {
  static constexpr index_t budget = 512 * 1024;  // values of packed operands per piece
  static constexpr index_t wanted_pieces = 4;
  static constexpr index_t sums_budget = 4 << 20;  // floats of partial sums in all

  explicit TileGradientPlan(const ConvGeometry& g) {
    filter_blocks = (g.filters + 15) / 16;
    channel_blocks = (g.channels + 15) / 16;
    image_groups = (g.batch + 31) / 32;
    const index_t taps = g.kernel_h * g.kernel_w;
    // Unpadded, so that the first strip reads the image and assigns.
    direct = taps == 1 && !g.is_padded() && g.filters % 16 == 0 && g.channels % 16 == 0 &&
             filter_blocks >= 2 * wanted_pieces;
    bias_at = direct ? 0 : taps * channel_blocks * 256;
    pitch = bias_at + 256;
    part_values = pitch * filter_blocks + apart_values<float>;
    parts = direct ? 1 : 2 * wanted_pieces;
    if (parts > image_groups) parts = image_groups;
    while (parts > 1 && parts * part_values > sums_budget) --parts;
    filter_parts = (wanted_pieces + parts - 1) / parts;
    if (filter_parts > (filter_blocks + 1) / 2) filter_parts = (filter_blocks + 1) / 2;
    part_blocks = (filter_blocks + filter_parts - 1) / filter_parts;
    part_blocks += part_blocks % 2;  // pairs of blocks stay together
    filter_parts = (filter_blocks + part_blocks - 1) / part_blocks;

    const index_t oh = g.out_height(), ow = g.out_width();
    rows = oh;
    const auto values = [&](index_t out_rows) {
      return (out_rows * ow * part_blocks + source_rows(g, out_rows) * g.width * channel_blocks) * tile_values;
    };
    while (rows > 1 && values(rows) > budget) --rows;
    groups = rows < oh ? 1 : budget / values(oh);
    if (groups > (image_groups + parts - 1) / parts) groups = (image_groups + parts - 1) / parts;
    if (groups < 1) groups = 1;
    left_values = groups * rows * ow * part_blocks * tile_values;
    right_values = groups * source_rows(g, rows) * g.width * channel_blocks * tile_values;
  }
  static index_t source_rows(const ConvGeometry& g, index_t out_rows) {
    const index_t span = (out_rows - 1) * g.stride_h + g.dilation_h * (g.kernel_h - 1) + 1;
    return span < g.height ? span : g.height;
  }

  /// Sums of the weights go straight to where they belong: in large dense layers these are the larger part of all
  /// memory that is touched.
  bool direct;
  index_t filter_blocks, channel_blocks, image_groups;
  index_t pitch, bias_at;                    // of a filter block's sums to the next block's; of its bias in it
  index_t parts, filter_parts, part_blocks;  // of the image groups, of the filters; filter blocks in a part
  index_t groups, rows;                      // of a strip
  index_t part_values, left_values, right_values;
};

struct TileGradientScratch {
  TileGradientScratch(const TileGradientPlan& plan, int threads, std::byte* base) {
    Carver carver(base);
    const int workers = Threads::workers(threads, plan.parts * plan.filter_parts);
    sums = carver.take<float>(plan.parts * plan.part_values);
    left = carver.take_each<bfloat16>(plan.left_values, workers);
    right = carver.take_each<bfloat16>(plan.right_values, workers);
    ones = carver.take<bfloat16>(tile_values);
    bytes = carver.used();
  }
  float* sums;
  WorkerBuffers<bfloat16> left, right;
  bfloat16* ones;
  std::size_t bytes;
};

/// The products of one strip: `blocks` filter blocks, all taps and channel blocks, then the bias. sums:
/// [filter block][tap][channel block][16][16], and one more block per filter block for the bias. With plan.direct the
/// weights' part stands in `dw` instead, which may be null and is assigned by the first strip, `start`.
inline void add_tile_strip(Products products, const ConvGeometry& g, const TileGradientPlan& plan, index_t groups,
                           index_t i0, index_t i1, index_t h0, index_t h1, index_t blocks, const bfloat16* left,
                           const bfloat16* right, const bfloat16* ones, float* sums, float* dw, bool start) {
  const index_t ow = g.out_width(), taps = g.kernel_h * g.kernel_w, pitch = plan.pitch;
  TileGradientBlock block;
  block.groups = groups;
  block.left_pixel = blocks * tile_values;
  block.left_row = ow * block.left_pixel;
  block.left_group = (i1 - i0) * block.left_row;
  const index_t right_pixel = plan.channel_blocks * tile_values, right_row = g.width * right_pixel;
  const auto add = [&](index_t k, bool wide, const TileSums& to) {
    if (products == Products::dots) {
      dot_gradient_block(block, blocks - k > 1 ? 2 : 1, wide, to);
    } else if (blocks - k > 1) {
      wide ? tile_gradients<2, 2>(block, to) : tile_gradients<2, 1>(block, to);
    } else {
      wide ? tile_gradients<1, 2>(block, to) : tile_gradients<1, 1>(block, to);
    }
  };
  const bool by_rows = products == Products::tiles && g.kernel_w == 3 && g.stride_w == 1 && g.dilation_w == 1;
  for (index_t k = 0; by_rows && k < blocks; ++k)
    for (index_t c = 0; c < plan.channel_blocks; ++c)
      for (index_t r = 0; r < g.kernel_h; ++r) {
        index_t first = i0, last = i1;
        const index_t down = r * g.dilation_h - g.pad_top;
        clip_outputs(g.stride_h, down, g.height, first, last);
        if (first >= last) continue;
        TileGradientRows rows;
        rows.groups = groups;
        rows.rows = last - first;
        rows.columns = ow;
        rows.width = g.width;
        rows.shift = g.pad_left;
        rows.left_group = block.left_group;
        rows.left_row = block.left_row;
        rows.left_pixel = block.left_pixel;
        rows.right_group = (h1 - h0) * right_row;
        rows.right_row = g.stride_h * right_row;
        rows.right_pixel = right_pixel;
        rows.left = left + (first - i0) * block.left_row + k * tile_values;
        rows.right = right + (first * g.stride_h + down - h0) * right_row + c * tile_values;
        tile_gradient_row(rows, sums + k * pitch + (r * 3 * plan.channel_blocks + c) * 256, plan.channel_blocks * 256);
      }
  for (index_t k = 0; k < blocks; k += 2) {
    for (index_t c = 0; !by_rows && !(plan.direct && dw == nullptr) && c < plan.channel_blocks; c += 2)
      for (index_t t = 0; t < taps; ++t) {
        index_t first = i0, last = i1, from = 0, to = ow;
        const index_t down = t / g.kernel_w * g.dilation_h - g.pad_top;
        const index_t across = t % g.kernel_w * g.dilation_w - g.pad_left;
        clip_outputs(g.stride_h, down, g.height, first, last);
        clip_outputs(g.stride_w, across, g.width, from, to);
        if (first >= last || from >= to) continue;
        block.rows = last - first;
        block.columns = to - from;
        block.left = left + ((first - i0) * ow + from) * block.left_pixel + k * tile_values;
        block.right = right + (first * g.stride_h + down - h0) * right_row +
                      (from * g.stride_w + across) * right_pixel + c * tile_values;
        block.right_pixel = g.stride_w * right_pixel;
        block.right_row = g.stride_h * right_row;
        block.right_group = (h1 - h0) * right_row;
        const TileSums at =
            plan.direct ? TileSums{dw + k * 16 * g.channels + c * 16, g.channels, 16 * g.channels, 16, start}
                        : TileSums{sums + k * pitch + (t * plan.channel_blocks + c) * 256, 16, pitch, 256, false};
        add(k, plan.channel_blocks - c > 1, at);
      }
    block.rows = i1 - i0;
    block.columns = ow;
    block.left = left + k * tile_values;
    block.right = ones;
    block.right_pixel = block.right_row = block.right_group = 0;
    add(k, false, {sums + k * pitch + plan.bias_at, 16, pitch, 256, false});
  }
}

/// Adds the parts' bias sums of one filter in order.
inline float gather_bias(const TileGradientPlan& plan, const float* sums, index_t k) {
  const float* at = sums + k / 16 * plan.pitch + k % 16 * 16 + plan.bias_at;
  float sum = *at;
  for (index_t part = 1; part < plan.parts; ++part) sum += at[part * plan.part_values];
  return sum;
}

/// Adds the parts in order and turns [filter block][tap][channel block][16][16] into OIHW, for one filter.
MIEN_AMX inline void gather_gradients(const ConvGeometry& g, const TileGradientPlan& plan, const float* sums, index_t k,
                                      float* dw, float* dbias) {
  const index_t taps = g.kernel_h * g.kernel_w;
  const float* from = sums + k / 16 * plan.pitch + k % 16 * 16;
  for (index_t b = 0; dw != nullptr && !plan.direct && b < plan.channel_blocks; ++b) {
    const index_t valid = g.channels - b * 16 < 16 ? g.channels - b * 16 : 16;
    float* to = dw + (k * g.channels + b * 16) * taps;
    for (index_t t = 0; t < taps; ++t) {
      const float* at = from + (t * plan.channel_blocks + b) * 256;
      Floats sum = *reinterpret_cast<const Floats*>(at);
      for (index_t part = 1; part < plan.parts; ++part)
        sum += *reinterpret_cast<const Floats*>(at + part * plan.part_values);
      alignas(64) float values[16];
      *reinterpret_cast<Floats*>(values) = sum;
      for (index_t c = 0; c < valid; ++c) to[c * taps + t] = values[c];
    }
  }
  if (dbias != nullptr) dbias[k] = gather_bias(plan, sums, k);
}

/// As detail::run_weight_gradients, where has_tile_gradients().
inline void run_weight_gradients(const ConvGeometry& given, Products products, const bfloat16* given_x,
                                 const bfloat16* dy, float* dw, float* dbias, std::byte* memory,
                                 const Threads& threads) {
  ConvGeometry g = given;
  const bfloat16* x = given_x;
  index_t x_pixel = g.channels;
  if (gathers_windows(g)) {
    const GatheredWindows gathered(g, threads.count(), memory);
    gathered.fill(g, x, threads);
    x = gathered.windows;
    x_pixel = GatheredWindows::pitch;
    memory += gathered.bytes;
    g = gathered_geometry(g);
  }
  pixels_as_images(g);
  const TileGradientPlan plan(g);
  const TileGradientScratch scratch(plan, threads.count(), memory);
  for (index_t i = 0; i < tile_values; ++i) scratch.ones[i] = bfloat16(1.0F);
  const index_t oh = g.out_height(), ow = g.out_width();
  const index_t x_image = g.height * g.width * x_pixel, dy_image = oh * ow * g.filters;
  const index_t pitch = plan.pitch;

  threads.parallel_for(plan.parts * plan.filter_parts, [&](index_t piece, int worker) {
    const TileScope tiles(products);
    const index_t part = piece / plan.filter_parts, k0 = piece % plan.filter_parts * plan.part_blocks;
    index_t blocks = plan.filter_blocks - k0;
    if (blocks > plan.part_blocks) blocks = plan.part_blocks;
    index_t filters = g.filters - k0 * 16;
    if (filters > blocks * 16) filters = blocks * 16;
    float* sums = scratch.sums + part * plan.part_values + k0 * pitch;
    std::memset(sums, 0, static_cast<std::size_t>(blocks * pitch) * sizeof(float));
    bfloat16* left = scratch.left[worker];
    bfloat16* right = scratch.right[worker];
    const index_t begin = plan.image_groups * part / plan.parts, end = plan.image_groups * (part + 1) / plan.parts;
    for (index_t first = begin; first < end; first += plan.groups)
      for (index_t i0 = 0; i0 < oh; i0 += plan.rows) {
        const index_t count = end - first < plan.groups ? end - first : plan.groups;
        const index_t i1 = i0 + plan.rows < oh ? i0 + plan.rows : oh;
        index_t h0 = i0 * g.stride_h - g.pad_top;
        index_t h1 = (i1 - 1) * g.stride_h - g.pad_top + g.dilation_h * (g.kernel_h - 1) + 1;
        if (h0 < 0) h0 = 0;
        if (h1 > g.height) h1 = g.height;
        if (h1 < h0) h1 = h0;
        for (index_t n = 0; n < count; ++n) {
          const index_t image = (first + n) * 32, images = g.batch - image < 32 ? g.batch - image : 32;
          pack_images<true>(dy + image * dy_image + i0 * ow * g.filters + k0 * 16, images, dy_image, (i1 - i0) * ow,
                            g.filters, filters, left + n * (i1 - i0) * ow * blocks * tile_values);
          pack_images<false>(x + image * x_image + h0 * g.width * x_pixel, images, x_image, (h1 - h0) * g.width,
                             x_pixel, g.channels, right + n * (h1 - h0) * g.width * plan.channel_blocks * tile_values);
        }
        add_tile_strip(products, g, plan, count, i0, i1, h0, h1, blocks, left, right, scratch.ones, sums,
                       dw != nullptr ? dw + k0 * 16 * g.channels : nullptr, first == begin && i0 == 0);
      }
  });
  threads.parallel_for(g.filters, [&](index_t k) { gather_gradients(g, plan, scratch.sums, k, dw, dbias); });
  if (dw == nullptr || !gathers_windows(given)) return;
  // Gathered windows hold zeros for padding, and these times a gradient that is not finite make NaN.
  for (index_t k = 0; k < g.filters; ++k) {
    const float sum = gather_bias(plan, scratch.sums, k);
    if (!(sum - sum == 0.0F)) return reference::conv2d_backward_weights(given, given_x, dy, dw, dbias);
  }
}

inline std::size_t weight_gradients_scratch_bytes(ConvGeometry g, int threads) {
  std::size_t gathered = 0;
  if (gathers_windows(g)) {
    gathered = GatheredWindows(g, threads, nullptr).bytes;
    g = gathered_geometry(g);
  }
  pixels_as_images(g);
  return gathered + TileGradientScratch(TileGradientPlan(g), threads, nullptr).bytes;
}

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
