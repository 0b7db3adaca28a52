// Forward and backward data as one operation: a correlation of padded images with packed panels of weights.
#pragma once

#include "mien/core/threads.hpp"
#include "mien/kernels/geometry.hpp"
#include "mien/kernels/pack.hpp"
#include "mien/kernels/scratch.hpp"

namespace mien::kernels::detail {

/// out[n,i,j,g*outputs+o] = start[g*outputs+o] + sum over r,s,c of
/// padded[n, i*stride+r*dilation, j*stride+s*dilation, g*depth+c] * weight(g, o, c, r, s).
struct Correlation {
  index_t batch;
  Placement place;
  index_t out_height, out_width;
  index_t stride_h, stride_w;
  index_t kernel_h, kernel_w;
  index_t dilation_h, dilation_w;
  index_t groups, depth, outputs;
  WeightLayout layout;
  index_t group_weights;

  index_t taps() const { return kernel_h * kernel_w; }
  /// One row of windows reads one run of consecutive values.
  bool has_joined_columns() const { return groups == 1 && (dilation_w == 1 || kernel_w == 1); }
};

inline Correlation forward_correlation(const ConvGeometry& g) {
  Correlation c{};
  c.batch = g.batch;
  c.out_height = g.out_height();
  c.out_width = g.out_width();
  c.kernel_h = g.kernel_h;
  c.kernel_w = g.kernel_w;
  c.stride_h = g.stride_h;
  c.stride_w = g.stride_w;
  c.dilation_h = g.dilation_h;
  c.dilation_w = g.dilation_w;
  c.groups = g.groups;
  c.depth = g.channels / g.groups;
  c.outputs = g.filters / g.groups;
  c.place = {g.height,
             g.width,
             g.channels,
             g.pad_top,
             g.pad_left,
             1,
             1,
             (c.out_height - 1) * g.stride_h + g.dilation_h * (g.kernel_h - 1) + 1,
             (c.out_width - 1) * g.stride_w + g.dilation_w * (g.kernel_w - 1) + 1};
  c.layout = {c.depth * c.taps(), c.taps(), c.taps(), false};
  c.group_weights = c.outputs * c.depth * c.taps();
  return c;
}

/// dx is the correlation of dy, spread by the stride and padded by window minus padding, with the window turned round.
inline Correlation backward_correlation(const ConvGeometry& g) {
  Correlation c{};
  c.batch = g.batch;
  c.out_height = g.height;
  c.out_width = g.width;
  c.kernel_h = g.kernel_h;
  c.kernel_w = g.kernel_w;
  c.stride_h = c.stride_w = 1;
  c.dilation_h = g.dilation_h;
  c.dilation_w = g.dilation_w;
  c.groups = g.groups;
  c.depth = g.filters / g.groups;
  c.outputs = g.channels / g.groups;
  c.place = {g.out_height(),
             g.out_width(),
             g.filters,
             g.dilation_h * (g.kernel_h - 1) - g.pad_top,
             g.dilation_w * (g.kernel_w - 1) - g.pad_left,
             g.stride_h,
             g.stride_w,
             g.height + g.dilation_h * (g.kernel_h - 1),
             g.width + g.dilation_w * (g.kernel_w - 1)};
  c.layout = {c.taps(), c.outputs * c.taps(), c.taps(), true};
  c.group_weights = c.outputs * c.depth * c.taps();
  return c;
}

/// A window of one pixel without padding sees pixels, not images: all of them become rows of one image.
inline void flatten_pixels(Correlation& c) {
  if (c.taps() != 1 || c.stride_h != 1 || c.stride_w != 1 || !c.place.is_identity()) return;
  if (c.out_height != c.place.height || c.out_width != c.place.width) return;
  const index_t pixels = c.batch * c.out_height * c.out_width;
  c.batch = 1;
  c.out_height = c.place.height = c.place.padded_height = pixels;
  c.out_width = c.place.width = c.place.padded_width = 1;
}

/// How a correlation is cut into pieces and what it needs of scratch; does not depend on the number of threads.
template <class S, class T>
struct CorrelationPlan {
  static constexpr index_t copy_budget = 512 * 1024;  // bytes of padded image per piece, to stay in the second cache
  static constexpr index_t wanted_pieces = 8;

  CorrelationPlan(const Correlation& c, const BlockKernels<T>& kernels) {
    for (index_t left = c.outputs; left > 0; left -= kernels.lanes << panel_index(kernels, left)) {
      const int index = panel_index(kernels, left);
      panel_values += c.depth * c.taps() * (kernels.lanes << index);
      ++panels;
    }
    copies = !std::is_same_v<S, T> || !c.place.is_identity();
    const index_t row_bytes = c.place.padded_width * c.place.channels * static_cast<index_t>(sizeof(T));
    const index_t image_bytes = row_bytes * c.place.padded_height;
    images = 1;
    rows = c.out_height;
    if (image_bytes < copy_budget && c.batch > 1) {
      images = copy_budget / (image_bytes > 0 ? image_bytes : 1);
      const index_t share = (c.batch + wanted_pieces - 1) / wanted_pieces;
      if (images > share) images = share;
    } else {
      const index_t fit = (copy_budget / row_bytes - c.dilation_h * (c.kernel_h - 1)) / c.stride_h;
      const index_t split = (wanted_pieces + c.batch - 1) / c.batch;
      rows = (c.out_height + split - 1) / split;
      if (rows > fit) rows = fit;
      const index_t least = (24 + c.out_width - 1) / c.out_width;
      if (rows < least) rows = least;
      if (rows > c.out_height) rows = c.out_height;
    }
    row_pieces = (c.out_height + rows - 1) / rows;
    pieces = (c.batch + images - 1) / images * row_pieces;
    const index_t all_panels = panels * c.groups;
    panel_pieces = pieces >= wanted_pieces ? 1 : (wanted_pieces + pieces - 1) / pieces;
    if (panel_pieces > all_panels) panel_pieces = all_panels;
    pixels = images * rows * c.out_width;
    copied_rows = images > 1 ? c.place.padded_height : (rows - 1) * c.stride_h + c.dilation_h * (c.kernel_h - 1) + 1;
    if (copied_rows > c.place.padded_height) copied_rows = c.place.padded_height;
    copied_values = copies ? images * copied_rows * c.place.padded_width * c.place.channels : 0;
  }

  index_t panels = 0, panel_values = 0;  // of one group
  bool copies = false;
  index_t images, rows, row_pieces, pieces, panel_pieces;
  index_t pixels, copied_rows, copied_values;  // of one piece
};

template <class S, class T>
struct CorrelationScratch {
  CorrelationScratch(const Correlation& c, const CorrelationPlan<S, T>& plan, int threads, std::byte* base) {
    Carver carver(base);
    taken = carver.take<int>(threads);
    checks = carver.take<T>(plan.panels * c.groups);
    weights = carver.take<T>(plan.panel_values * c.groups);
    copy_size = plan.copied_values + 16;
    stage_size = (plan.pixels + BlockKernels<T>::max_pixels) * BlockKernels<T>::max_panel;
    table_size = plan.pixels + BlockKernels<T>::max_pixels;
    copy = carver.take<T>(copy_size * threads);
    stage = carver.take<T>(stage_size * threads);
    table = carver.take<const T*>(table_size * threads);
    bytes = carver.used();
  }
  int* taken;
  T *checks, *weights, *copy, *stage;
  const T** table;
  index_t copy_size, stage_size, table_size;
  std::size_t bytes;
};

/// Walks over the inner dimension (taps and channels in packed order) in passes whose weights fit the first cache.
class PassWalker {
 public:
  static constexpr int max_segments = 16;

  PassWalker(const Correlation& c, index_t pitch) : c_(c), pitch_(pitch), joined_(c.has_joined_columns()) {
    length_ = joined_ ? c.kernel_w * c.depth : c.depth;
    runs_ = joined_ ? c.kernel_h : c.taps();
  }

  /// Fills segments for at most `budget` elements; false at the end.
  bool next(index_t budget) {
    count = 0;
    total = 0;
    while (run_ < runs_ && count < max_segments && total < budget) {
      index_t part = length_ - done_;
      if (part > budget - total) part = budget - total;
      const index_t r = joined_ ? run_ : run_ / c_.kernel_w, s = joined_ ? 0 : run_ % c_.kernel_w;
      segments[count++] = {r * c_.dilation_h * pitch_ + s * c_.dilation_w * c_.place.channels + done_, part};
      total += part;
      done_ += part;
      if (done_ == length_) {
        done_ = 0;
        ++run_;
      }
    }
    return count > 0;
  }

  Segment segments[max_segments];
  index_t count = 0, total = 0;

 private:
  const Correlation& c_;
  index_t pitch_, length_, runs_, run_ = 0, done_ = 0;
  bool joined_;
};

/// One panel of outputs for the pixels of `table`: out + pixel * out_pitch (+ panel values) is assigned, in passes.
template <class T>
inline void correlate_panel(const Correlation& c, const BlockKernels<T>& kernels, int index, index_t pitch,
                            const T* const* table, index_t pixels, index_t offset, const T* weights, const T* start,
                            T* out, index_t out_pitch) {
  const index_t panel = kernels.lanes << index, block = kernels.pixels[index];
  const index_t budget = 128 * BlockKernels<T>::max_panel / panel;
  alignas(64) T spill[BlockKernels<T>::max_pixels * BlockKernels<T>::max_panel];
  alignas(64) T zero[BlockKernels<T>::max_panel] = {};
  if (start == nullptr) start = zero;
  PassWalker walker(c, pitch);
  for (bool first = true; walker.next(budget); first = false) {
    for (index_t s = 0; s < walker.count; ++s) walker.segments[s].x += offset;
    for (index_t p = 0; p < pixels; p += block) {
      T* to[BlockKernels<T>::max_pixels];
      const index_t valid = pixels - p < block ? pixels - p : block;
      for (index_t q = 0; q < valid; ++q) to[q] = out + (p + q) * out_pitch;
      for (index_t q = valid; q < block; ++q) to[q] = spill + q * panel;
      kernels.correlate[index](table + p, walker.segments, walker.count, weights, first ? start : nullptr, to);
    }
    weights += walker.total * panel;
  }
}

/// True where zero padding meets weights that are not finite: there products with padding, which the definition leaves
/// out, would make NaN.
template <class S, class T>
inline bool padding_matters(const Correlation& c, const CorrelationPlan<S, T>& plan, const T* checks) {
  if (c.place.is_identity()) return false;
  T sum{0};
  for (index_t p = 0; p < plan.panels * c.groups; ++p) sum += checks[p];
  return !(sum == T{0});
}

/// Runs a correlation of S with parameters P computed in T. False if it refuses (see padding_matters); nothing is
/// written then.
template <class S, class T, class P>
bool run_correlation(Correlation c, const BlockKernels<T>& kernels, const S* x, const P* w, const P* bias, S* y,
                     std::byte* memory, const Threads& threads) {
  flatten_pixels(c);
  const CorrelationPlan<S, T> plan(c, kernels);
  const CorrelationScratch<S, T> scratch(c, plan, threads.count(), memory);
  for (int i = 0; i < threads.count(); ++i) scratch.taken[i] = 0;
  const index_t full = kernels.lanes << kernels.widest, inner = c.depth * c.taps();

  threads.parallel_for(plan.panels * c.groups, [&](index_t p) {
    const index_t group = p / plan.panels, first = p % plan.panels * full, left = c.outputs - first;
    const index_t panel = kernels.lanes << panel_index(kernels, left);
    scratch.checks[p] = pack_weights<S>(c.layout, w + group * c.group_weights, first, left < panel ? left : panel,
                                        c.depth, panel, scratch.weights + group * plan.panel_values + first * inner);
  });
  if (padding_matters(c, plan, scratch.checks)) return false;

  threads.parallel_for(plan.pieces * plan.panel_pieces, [&](index_t piece) {
    const Slot slot(scratch.taken, threads.count());
    const index_t part = piece % plan.panel_pieces, chunk = piece / plan.panel_pieces;
    const index_t n0 = chunk / plan.row_pieces * plan.images;
    const index_t n1 = n0 + plan.images < c.batch ? n0 + plan.images : c.batch;
    const index_t i0 = chunk % plan.row_pieces * plan.rows;
    const index_t i1 = i0 + plan.rows < c.out_height ? i0 + plan.rows : c.out_height;
    const index_t image = c.place.height * c.place.width * c.place.channels;

    // Where each pixel's window begins.
    const T** table = scratch.table + slot.index() * scratch.table_size;
    index_t pixels = 0, pitch = c.place.width * c.place.channels;
    if (plan.copies) pitch = c.place.padded_width * c.place.channels;
    for (index_t n = n0; n < n1; ++n) {
      const T* from;
      if (plan.copies) {
        const index_t rows = (i1 - i0 - 1) * c.stride_h + c.dilation_h * (c.kernel_h - 1) + 1;
        T* to = scratch.copy + slot.index() * scratch.copy_size + (n - n0) * rows * pitch;
        copy_padded(c.place, x + n * image, i0 * c.stride_h, i0 * c.stride_h + rows, to);
        from = to;
      } else {
        from = reinterpret_cast<const T*>(x) + n * image + i0 * c.stride_h * pitch;
      }
      for (index_t i = i0; i < i1; ++i, from += c.stride_h * pitch)
        for (index_t j = 0; j < c.out_width; ++j) table[pixels++] = from + j * c.stride_w * c.place.channels;
    }
    for (index_t q = 0; q < BlockKernels<T>::max_pixels; ++q) table[pixels + q] = table[pixels - 1];

    const index_t all_panels = plan.panels * c.groups, all_outputs = c.outputs * c.groups;
    S* out = y + (n0 * c.out_height + i0) * c.out_width * all_outputs;
    for (index_t p = all_panels * part / plan.panel_pieces; p < all_panels * (part + 1) / plan.panel_pieces; ++p) {
      const index_t group = p / plan.panels, first = p % plan.panels * full, left = c.outputs - first;
      const int index = panel_index(kernels, left);
      const index_t panel = kernels.lanes << index, valid = left < panel ? left : panel;
      alignas(64) T start[BlockKernels<T>::max_panel] = {};
      for (index_t k = 0; bias != nullptr && k < valid; ++k) start[k] = T(bias[group * c.outputs + first + k]);
      const T* weights = scratch.weights + group * plan.panel_values + first * inner;
      S* to = out + group * c.outputs + first;
      if constexpr (std::is_same_v<S, T>) {
        if (valid == panel) {
          correlate_panel(c, kernels, index, pitch, table, pixels, group * c.depth, weights, start, to, all_outputs);
          continue;
        }
      }
      T* stage = scratch.stage + slot.index() * scratch.stage_size;
      correlate_panel(c, kernels, index, pitch, table, pixels, group * c.depth, weights, start, stage, panel);
      for (index_t q = 0; q < pixels; ++q)
        for (index_t k = 0; k < valid; ++k) to[q * all_outputs + k] = S(stage[q * panel + k]);
    }
  });
  return true;
}

template <class S, class T>
std::size_t correlation_scratch_bytes(Correlation c, const BlockKernels<T>& kernels, int threads) {
  flatten_pixels(c);
  return CorrelationScratch<S, T>(c, CorrelationPlan<S, T>(c, kernels), threads, nullptr).bytes;
}

}  // namespace mien::kernels::detail
