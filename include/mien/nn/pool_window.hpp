// What max and average pooling share: where their windows lie.
// IWYU pragma: private, include "mien/nn/pooling.hpp"
#pragma once

#include <string_view>

#include "mien/nn/convolution.hpp"

namespace mien {

namespace detail {

/// Where the windows of a pooling lie; shared by max and average pooling.
struct PoolWindow {
  Extent2 window;
  Extent2 stride;
  Padding padding;

  /// Rows [first, last) of the input that output row i sees, clipped to the image.
  void rows(index_t i, index_t height, index_t& first, index_t& last) const {
    clip(i * stride.height - padding.top, window.height, height, first, last);
  }
  void columns(index_t j, index_t width, index_t& first, index_t& last) const {
    clip(j * stride.width - padding.left, window.width, width, first, last);
  }

 private:
  static void clip(index_t start, index_t extent, index_t limit, index_t& first, index_t& last) {
    first = start > 0 ? start : 0;
    last = start + extent < limit ? start + extent : limit;
  }
};

/// Output extent with PyTorch's ceil mode: rounded up, but no window may start beyond the image and its leading
/// padding.
inline index_t pool_extent(index_t in, index_t before, index_t after, index_t window, index_t stride, bool ceil_mode) {
  const index_t room = in + before + after - window;
  if (room < 0) return 0;
  if (!ceil_mode) return room / stride + 1;
  const index_t out = (room + stride - 1) / stride + 1;
  return (out - 1) * stride >= in + before ? out - 1 : out;
}

MIEN_COLD inline void check_pool(std::string_view kind, const Features& input, Setup& setup, Extent2 window,
                                 Extent2 stride, Padding p) {
  if (input.shape.rank() != 3 || input.shape.size() == 0) {
    setup.reject(kind, input.shape, "(height, width, channels)");
  }
  setup.require(window.height > 0 && window.width > 0 && stride.height > 0 && stride.width > 0, kind,
                "window and stride must be positive");
  setup.require(window.height <= max_extent && window.width <= max_extent && stride.height <= max_extent &&
                    stride.width <= max_extent,
                kind, "window and stride are at most 1,048,576");
  const auto fits = [](index_t padding, index_t extent) { return padding >= 0 && 2 * padding <= extent; };
  setup.require(fits(p.top, window.height) && fits(p.bottom, window.height) && fits(p.left, window.width) &&
                    fits(p.right, window.width),
                kind, "padding must lie between 0 and half the window");
}

}  // namespace detail

}  // namespace mien
