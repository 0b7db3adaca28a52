// Weight gradients of 3x3 windows over gray images by AVX-512's dot products of bfloat16: two neighbouring pixels are
// what a product sums.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/core/threads.hpp"
#include "mien/kernels/amx/tiles.hpp"
#include "mien/kernels/correlation.hpp"
#include "mien/kernels/reference.hpp"
#include "mien/kernels/scratch.hpp"

namespace mien::kernels::detail::amx {

inline bool has_gray_gradients(const ConvGeometry& g) {
  return g.channels == 1 && g.kernel_h == 3 && g.kernel_w == 3 && g.stride_h == 1 && g.stride_w == 1 &&
         g.dilation_h == 1 && g.dilation_w == 1 && g.filters % 32 == 0;
}

/// Sums of the nine taps and, last, of the bias, for two vectors of filters each.
inline constexpr int gray_sums = 20;

/// sums += the products of an image, padded to rows of `width` pixels (one behind the last is read), with the gradients
/// of 32 of `filters` filters. The two vectors of a sum hold the filters in the order of gray_filter().
MIEN_AMX inline void add_gray_image(const bfloat16* image, index_t width, index_t rows, index_t columns,
                                    const bfloat16* dy, index_t filters, Floats (&sums)[gray_sums]) {
  using Pair __attribute__((may_alias, aligned(2))) = std::uint32_t;
  Floats sum[gray_sums];
#pragma GCC unroll 20
  for (int i = 0; i < gray_sums; ++i) sum[i] = sums[i];
  const AlignedBits ones = AlignedBits{} + 0x3f803f80U;
  for (index_t i = 0; i < rows; ++i, image += width)
    for (index_t j = 0; j < columns; j += 2, dy += filters) {
      const AlignedBits here = *reinterpret_cast<const Bits*>(dy);
      AlignedBits next{}, low, high;
      std::uint32_t seen = 0xffffU;  // of a pair of pixels: the last one of a row may be alone
      if (j + 1 < columns) {
        dy += filters;
        next = *reinterpret_cast<const Bits*>(dy);
        seen = 0xffffffffU;
      }
      __asm__("vpunpcklwd %2, %1, %0" : "=v"(low) : "v"(here), "v"(next));
      __asm__("vpunpckhwd %2, %1, %0" : "=v"(high) : "v"(here), "v"(next));
      const auto add = [&](int at, AlignedBits pixels) MIEN_AMX_INLINE {
        __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum[at]) : "v"(low), "v"(pixels));
        __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum[at + 1]) : "v"(high), "v"(pixels));
      };
#pragma GCC unroll 9
      for (int t = 0; t < 9; ++t) {
        const Pair* pair = reinterpret_cast<const Pair*>(image + t / 3 * width + j + t % 3);
        AlignedBits pixels;
        if (seen == 0xffffffffU) {
          __asm__("vpbroadcastd %1, %0" : "=v"(pixels) : "m"(*pair));
        } else {
          pixels = AlignedBits{} + (*pair & seen);
        }
        add(2 * t, pixels);
      }
      add(18, ones);
    }
#pragma GCC unroll 20
  for (int i = 0; i < gray_sums; ++i) sums[i] = sum[i];
}

/// The filter, of 32, whose sum is value e of vector v: as the processor interleaves.
constexpr index_t gray_filter(index_t v, index_t e) { return e / 4 * 8 + 4 * v + e % 4; }

struct GrayGradientScratch {
  static constexpr index_t wanted_parts = 8;

  GrayGradientScratch(const ConvGeometry& g, int threads, std::byte* base)
      : place(forward_correlation(g).place), parts(g.batch < wanted_parts ? g.batch : wanted_parts) {
    Carver carver(base);
    image_size = (place.padded_height * place.padded_width + 2 + 31) / 32 * 32;
    images = carver.take_each<bfloat16>(image_size, Threads::workers(threads, parts));
    part_values = g.filters / 32 * gray_sums * 16;
    sums = carver.take<float>(parts * part_values);
    bytes = carver.used();
  }
  Placement place;
  index_t parts, image_size, part_values;
  WorkerBuffers<bfloat16> images;
  float* sums;
  std::size_t bytes;
};

/// As detail::run_weight_gradients, where has_gray_gradients().
inline void run_gray_gradients(const ConvGeometry& g, const bfloat16* x, const bfloat16* dy, float* dw, float* dbias,
                               std::byte* memory, const Threads& threads) {
  const GrayGradientScratch scratch(g, threads.count(), memory);
  const index_t oh = g.out_height(), ow = g.out_width(), panels = g.filters / 32;
  threads.parallel_for(scratch.parts, [&](index_t part, int worker) {
    bfloat16* image = scratch.images[worker];
    float* const to = scratch.sums + part * scratch.part_values;
    std::memset(to, 0, static_cast<std::size_t>(scratch.part_values) * sizeof(float));
    const index_t pixels = scratch.place.padded_height * scratch.place.padded_width;
    for (index_t i = pixels; i < scratch.image_size; ++i) image[i] = bfloat16();
    for (index_t n = g.batch * part / scratch.parts; n < g.batch * (part + 1) / scratch.parts; ++n) {
      copy_padded(scratch.place, x + n * g.height * g.width, 0, scratch.place.padded_height, image);
      for (index_t p = 0; p < panels; ++p) {
        add_gray_image(image, scratch.place.padded_width, oh, ow, dy + n * oh * ow * g.filters + p * 32, g.filters,
                       *reinterpret_cast<Floats(*)[gray_sums]>(to + p * gray_sums * 16));
      }
    }
  });
  bool finite = true;
  for (index_t p = 0; p < panels; ++p)
    for (index_t at = 0; at < gray_sums * 16; ++at) {
      float sum = 0;
      for (index_t part = 0; part < scratch.parts; ++part)
        sum += scratch.sums[part * scratch.part_values + p * gray_sums * 16 + at];
      const index_t tap = at / 32, k = p * 32 + gray_filter(at / 16 % 2, at % 16);
      if (tap < 9 && dw != nullptr) dw[k * 9 + tap] = sum;
      if (tap == 9 && dbias != nullptr) dbias[k] = sum;
      finite = finite && (tap < 9 || sum - sum == 0.0F);
    }
  // Padding is multiplied, and zero times a gradient that is not finite is NaN.
  if (!finite) reference::conv2d_backward_weights(g, x, dy, dw, dbias);
}

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
