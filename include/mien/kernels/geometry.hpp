// What a convolution or pooling covers: extents, window, stride, padding, dilation, groups.
#pragma once

#include "mien/core/shape.hpp"

namespace mien::kernels {

/// Geometry of a 2-D convolution over NHWC images. x is (batch, height, width, channels), y is
/// (batch, out_height(), out_width(), filters), weights are OIHW: (filters, channels / groups, kernel_h, kernel_w).
/// The layer that fills it has checked that every extent is positive, that groups divides channels and filters, and
/// that the padded input is at least as large as the dilated window. Dense layers are the case of 1x1 windows over a
/// single image of height 1 whose width is the batch.
struct ConvGeometry {
  index_t batch = 1, height = 1, width = 1, channels = 1;
  index_t filters = 1, kernel_h = 1, kernel_w = 1;
  index_t stride_h = 1, stride_w = 1;
  index_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  index_t dilation_h = 1, dilation_w = 1;
  index_t groups = 1;

  index_t out_height() const {
    return (height + pad_top + pad_bottom - dilation_h * (kernel_h - 1) - 1) / stride_h + 1;
  }
  index_t out_width() const { return (width + pad_left + pad_right - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
  bool is_padded() const { return pad_top != 0 || pad_bottom != 0 || pad_left != 0 || pad_right != 0; }
  index_t input_size() const { return batch * height * width * channels; }
  index_t output_size() const { return batch * out_height() * out_width() * filters; }
  index_t weight_size() const { return filters * (channels / groups) * kernel_h * kernel_w; }
  /// Multiply-adds of one pass (forward, backward data or backward weights), padding counted.
  double multiply_adds() const {
    const index_t inner = channels / groups * kernel_h * kernel_w;
    return static_cast<double>(output_size()) * static_cast<double>(inner);
  }
};

}  // namespace mien::kernels
