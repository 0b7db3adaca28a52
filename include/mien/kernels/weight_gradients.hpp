// Backward weights: outer products of input and output-gradient pixels, summed in registers strip by strip.
#pragma once

#include "mien/core/threads.hpp"
#include "mien/kernels/geometry.hpp"
#include "mien/kernels/pack.hpp"
#include "mien/kernels/scratch.hpp"

namespace mien::kernels::detail {

/// How the sums are cut: over filter panels, and over groups of images whose partial sums are added in order at the
/// end. Nothing here depends on the number of threads.
template <class S, class T>
struct GradientPlan {
  static constexpr index_t wanted_pieces = 8;
  static constexpr index_t strip_pixels = 96;  // dy of a strip (64 filters) takes half of the first cache

  GradientPlan(const ConvGeometry& g, const BlockKernels<T>& kernels) {
    const index_t cg = g.channels / g.groups, kg = g.filters / g.groups;
    inner = g.kernel_h * g.kernel_w * cg;
    do {
      panel_width += kernels.lanes << panel_index(kernels, kg - panel_width);
      ++panels;
    } while (panel_width < kg);
    const index_t all = panels * g.groups;
    parts = (wanted_pieces + all - 1) / all;
    if (parts > g.batch) parts = g.batch;
    const index_t ow = g.out_width(), oh = g.out_height();
    images = strip_pixels / (oh * ow);
    rows = oh;
    if (images < 1) {
      images = 1;
      rows = strip_pixels / ow;
      if (rows < 1) rows = 1;
      if (rows > oh) rows = oh;
    }
    pixels = images * rows * ow;
    x_rows = (rows - 1) * g.stride_h + g.dilation_h * (g.kernel_h - 1) + 1;
    if (images > 1 || x_rows > g.height) x_rows = g.height;
    x_values = std::is_same_v<S, T> ? 0 : images * x_rows * g.width * g.channels;
  }

  index_t inner, panels = 0, panel_width = 0, parts;
  index_t images, rows, pixels, x_rows, x_values;  // of a strip
};

template <class S, class T>
struct GradientScratch {
  GradientScratch(const ConvGeometry& g, const GradientPlan<S, T>& plan, int threads, std::byte* base) {
    Carver carver(base);
    const int workers = Threads::workers(threads, plan.parts * plan.panels * g.groups);
    part_values = plan.panel_width * g.groups * (plan.inner + 1) + apart_values<T>;
    sums = carver.take<T>(part_values * plan.parts);
    dy = carver.take_each<T>(plan.pixels * BlockKernels<T>::max_panel, workers);
    x = carver.take_each<T>(plan.x_values, workers);
    bytes = carver.used();
  }
  index_t part_values;
  T* sums;
  WorkerBuffers<T> dy, x;
  std::size_t bytes;
};

/// The outputs i in [first, last) whose tap reads inside: 0 <= i * stride + shift < extent.
inline void clip_outputs(index_t stride, index_t shift, index_t extent, index_t& first, index_t& last) {
  const index_t low = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  const index_t high = extent - 1 - shift < 0 ? 0 : (extent - 1 - shift) / stride + 1;
  if (first < low) first = low;
  if (last > high) last = high;
}

/// Which block covers next what is left of the channels: the largest that fits, unless that strands a small rest (8 is
/// 4 + 4, not 6 + 2).
template <class T>
inline int weights_size(const BlockKernels<T>& kernels, index_t left) {
  int size = 0;
  while (kernels.sizes[size] > left) ++size;
  if (kernels.sizes[size] == 6 && left == 8) ++size;
  return size;
}

/// Adds the strip of images [n0, n1) and output rows [i0, i1) to one panel's sums: [tap][channel][panel], then bias.
/// `x` holds whole rows from row x_first of image n0 on; `dy` the strip's pixels from its first on.
template <class T>
inline void add_strip(const ConvGeometry& g, const BlockKernels<T>& kernels, int index, index_t group, index_t count,
                      index_t i0, index_t i1, const T* x, index_t x_first, index_t x_image, const T* dy,
                      index_t dy_pitch, index_t dy_image, T* sums) {
  const index_t cg = g.channels / g.groups, panel = kernels.lanes << index, ow = g.out_width();
  static constexpr T one{1};
  for (index_t r = 0; r < g.kernel_h; ++r) {
    index_t first = i0, last = i1;
    const index_t down = r * g.dilation_h - g.pad_top;
    clip_outputs(g.stride_h, down, g.height, first, last);
    for (index_t s = 0; s < g.kernel_w; ++s, sums += cg * panel) {
      index_t left = 0, right = ow;
      const index_t across = s * g.dilation_w - g.pad_left;
      clip_outputs(g.stride_w, across, g.width, left, right);
      if (first >= last || left >= right) continue;
      WeightsBlock<T> block;
      block.images = count;
      block.rows = last - first;
      block.columns = right - left;
      block.x_image = x_image;
      block.x_row = g.stride_h * g.width * g.channels;
      block.x_pixel = g.stride_w * g.channels;
      block.dy_image = dy_image;
      block.dy_row = ow * dy_pitch;
      block.dy_pixel = dy_pitch;
      block.dy = dy + ((first - i0) * ow + left) * dy_pitch;
      const T* from =
          x + ((first * g.stride_h + down - x_first) * g.width + left * g.stride_w + across) * g.channels + group * cg;
      for (index_t c = 0; c < cg;) {
        const int size = weights_size(kernels, cg - c);
        block.x = from + c;
        kernels.weights[index][size](block, sums + c * panel);
        c += kernels.sizes[size];
      }
    }
  }
  WeightsBlock<T> block{&one, dy, count, i1 - i0, ow, 0, 0, 0, dy_image, ow * dy_pitch, dy_pitch};
  kernels.weights[index][weights_size(kernels, 1)](block, sums);
}

template <class S, class T, class P>
void run_weight_gradients(const ConvGeometry& g, const BlockKernels<T>& kernels, const S* x, const S* dy, P* dw,
                          P* dbias, std::byte* memory, const Threads& threads) {
  const GradientPlan<S, T> plan(g, kernels);
  const GradientScratch<S, T> scratch(g, plan, threads.count(), memory);
  const index_t oh = g.out_height(), ow = g.out_width(), cg = g.channels / g.groups, kg = g.filters / g.groups;
  const index_t all_panels = plan.panels * g.groups, full = kernels.lanes << kernels.widest,
                taps = g.kernel_h * g.kernel_w;
  const index_t image = g.height * g.width * g.channels;

  threads.parallel_for(plan.parts * all_panels, [&](index_t piece, int worker) {
    const index_t part = piece / all_panels, group = piece % all_panels / plan.panels;
    const index_t k0 = piece % plan.panels * full, left = kg - k0;
    const int index = panel_index(kernels, left);
    const index_t panel = kernels.lanes << index, valid = left < panel ? left : panel;
    T* sums = scratch.sums + part * scratch.part_values + (group * plan.panel_width + k0) * (plan.inner + 1);
    std::memset(sums, 0, static_cast<std::size_t>((plan.inner + 1) * panel) * sizeof(T));
    const index_t begin = g.batch * part / plan.parts, end = g.batch * (part + 1) / plan.parts;
    for (index_t n = begin; n < end; n += plan.images)
      for (index_t i = 0; i < oh; i += plan.rows) {
        const index_t count = end - n < plan.images ? end - n : plan.images;
        const index_t last = i + plan.rows < oh ? i + plan.rows : oh;
        const S* dy_from = dy + ((n * oh + i) * ow) * g.filters + group * kg + k0;
        const T* dy_strip = nullptr;
        index_t dy_pitch = g.filters;
        if constexpr (std::is_same_v<S, T>) dy_strip = dy_from;
        if (!std::is_same_v<S, T> || valid < panel) {
          T* to = scratch.dy[worker];
          dy_strip = to;
          dy_pitch = panel;
          const index_t pixels = count * (last - i) * ow;
          copy_rows(dy_from, g.filters, pixels, valid, to, panel);
          for (index_t p = 0; valid < panel && p < pixels; ++p)
            for (index_t k = valid; k < panel; ++k) to[p * panel + k] = T{0};
        }
        index_t x_first = 0, x_image = image;
        const T* x_strip = nullptr;
        if constexpr (std::is_same_v<S, T>) {
          x_strip = x + n * image;
        } else {
          index_t x_last = g.height;
          if (plan.images == 1) {
            x_first = i * g.stride_h - g.pad_top;
            x_last = (last - 1) * g.stride_h + g.dilation_h * (g.kernel_h - 1) - g.pad_top + 1;
            if (x_first < 0) x_first = 0;
            if (x_last > g.height) x_last = g.height;
          }
          T* to = scratch.x[worker];
          x_strip = to;
          if (x_last > x_first) {
            copy_values(x + n * image + x_first * g.width * g.channels,
                        ((count - 1) * g.height + x_last - x_first) * g.width * g.channels, to);
          }
        }
        add_strip(g, kernels, index, group, count, i, last, x_strip, x_first, x_image, dy_strip, dy_pitch,
                  oh * ow * dy_pitch, sums);
      }
  });

  // Partial sums are added in the order of the parts and turned from [tap][channel][filter] to OIHW, some filters at a
  // time so that whole cache lines are read.
  const index_t step = kernels.lanes, steps = (kg + step - 1) / step;
  threads.parallel_for(g.groups * steps, [&](index_t piece) {
    const index_t group = piece / steps, k1 = piece % steps * step, k0 = k1 / full * full;
    const index_t panel = kernels.lanes << panel_index(kernels, kg - k0), valid = kg - k1 < step ? kg - k1 : step;
    const T* sums = scratch.sums + (group * plan.panel_width + k0) * (plan.inner + 1) + k1 - k0;
    const index_t to = (group * kg + k1) * plan.inner;
    const auto add = [&](const T* row, P* out, index_t pitch) {
      T total[BlockKernels<T>::max_panel];
      for (index_t k = 0; k < valid; ++k) total[k] = row[k];
      for (index_t part = 1; part < plan.parts; ++part)
        for (index_t k = 0; k < valid; ++k) total[k] += row[part * scratch.part_values + k];
      for (index_t k = 0; k < valid; ++k) out[k * pitch] = P(total[k]);
    };
    for (index_t c = 0; dw != nullptr && c < cg; ++c)
      for (index_t t = 0; t < taps; ++t) add(sums + (t * cg + c) * panel, dw + to + c * taps + t, plan.inner);
    if (dbias != nullptr) add(sums + plan.inner * panel, dbias + group * kg + k1, 1);
  });
}

template <class S, class T>
std::size_t weight_gradients_scratch_bytes(const ConvGeometry& g, const BlockKernels<T>& kernels, int threads) {
  return GradientScratch<S, T>(g, GradientPlan<S, T>(g, kernels), threads, nullptr).bytes;
}

}  // namespace mien::kernels::detail
