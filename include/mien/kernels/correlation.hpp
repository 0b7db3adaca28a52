// Forward and backward data as one operation: the correlation of images with windows of weights.
#pragma once

#include "mien/kernels/geometry.hpp"
#include "mien/kernels/pack.hpp"

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

/// Walks over the inner dimension (taps and channels in packed order) in passes whose weights fit the first cache.
class PassWalker {
 public:
  static constexpr int max_parts = 16;
  static constexpr index_t pass_values = 8192;  // weights of a pass: 32 kB of float
  /// Values [begin, end) of the run that starts at tap (r, s); their weights are rows `row` and on of the panel.
  struct Part {
    index_t r, s, begin, end, row;
  };

  /// `joined` where a row of windows is one run.
  PassWalker(const Correlation& c, bool joined)
      : length_(joined ? c.kernel_w * c.depth : c.depth),
        runs_(joined ? c.kernel_h : c.taps()),
        across_(joined ? 1 : c.kernel_w) {}

  /// Finds parts of at most `budget` values together; false at the end.
  bool next(index_t budget) {
    count = 0;
    for (index_t left = budget; run_ < runs_ && count < max_parts && left > 0;) {
      const index_t size = length_ - done_ < left ? length_ - done_ : left;
      parts[count++] = {run_ / across_, run_ % across_, done_, done_ + size, run_ * length_ + done_};
      left -= size;
      done_ += size;
      if (done_ == length_) {
        done_ = 0;
        ++run_;
      }
    }
    return count > 0;
  }

  Part parts[max_parts];
  index_t count = 0;

 private:
  index_t length_, runs_, across_, run_ = 0, done_ = 0;
};

}  // namespace mien::kernels::detail
