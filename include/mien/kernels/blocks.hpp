// The two register-blocked inner loops that every convolution pass is made of, as a table that an instruction set
// fills.
#pragma once

#include "mien/core/shape.hpp"

namespace mien::kernels::detail {

/// A run of `length` consecutive values, `x` elements behind a pixel's first one, and the rows of weights that they
/// meet, the first of them `w` elements behind the panel's first.
struct Segment {
  index_t x, w, length;
};

/// What a weight-gradient block runs over: x and dy values of `images` x `rows` x `columns` pixels, with the distance
/// in elements from one image, row and pixel to the next.
template <class T>
struct WeightsBlock {
  const T* x;
  const T* dy;
  index_t images, rows, columns;
  index_t x_image, x_row, x_pixel;
  index_t dy_image, dy_row, dy_pixel;
  bool start = false;  // the sums are not read, but begin with zero
};

/// Inner loops over T. A panel is 1, 2 or 4 vectors of `lanes` outputs (index 0, 1, 2 below): panel = lanes << index.
template <class T>
struct BlockKernels {
  static constexpr int max_pixels = 12;
  static constexpr index_t max_panel = 64;

  index_t lanes = 0;
  int widest = 0;  // index of the widest panel there is
  /// Pixels that one call of correlate[i] computes; at most max_pixels.
  index_t pixels[3] = {};
  /// out[p][0..panel) = start + sum over segments and their elements c of pixels[p][segment.x + c] *
  /// w[segment.w + c * panel][0..panel). `start` is one panel for all pixels, or null: then out[p] itself. The widest
  /// loop fetches 64 bytes from `ahead` on into the second cache for each c: weights that are needed soon.
  void (*correlate[3])(const T* const* pixels, const Segment* segments, index_t count, const T* w, const T* start,
                       T* const* out, const T* ahead) = {};
  /// sum[j][0..panel) += (or =, see WeightsBlock::start) sum over pixels of x[pixel][j] * dy[pixel][0..panel), for
  /// sizes[i] values j; the last is 1. The largest AVX-512 loop fetches 64 bytes of what follows `sum` into the first
  /// cache for each pixel: the sums of the next calls.
  void (*weights[3][3])(const WeightsBlock<T>& block, T* sum) = {};
  index_t sizes[3] = {};
  /// out[p * pitch][0..panel) = start + sum over r, s below 3 of x[r * row + p + s] * w[(3 * r + s) * panel][0..panel),
  /// for at least pixels[i] pixels p: windows of 3x3 over one channel. Null where there is no such loop.
  void (*window[3])(const T* x, index_t row, index_t pixels, const T* w, const T* start, T* out, index_t pitch) = {};
  /// out[k] = sum over c below depth of w[k * pitch + c] * x[c], for k below rows. Null where there is no such loop.
  void (*dots)(const T* w, index_t pitch, index_t rows, const T* x, index_t depth, T* out) = nullptr;
  bool rounds = false;  ///< whether the processor has an instruction that rounds to bfloat16
};

/// Which panel covers what is left of the outputs: the smallest that holds them, the largest if none does.
template <class T>
inline int panel_index(const BlockKernels<T>& kernels, index_t left) {
  int index = 0;
  while (index < kernels.widest && left > kernels.lanes << index) ++index;
  return index;
}

}  // namespace mien::kernels::detail
