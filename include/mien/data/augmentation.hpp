// Augmentation: one random warp, contrast and brightness, erasing; and the crops of evaluation.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mien/core/error.hpp"
#include "mien/core/random.hpp"
#include "mien/core/shape.hpp"
#include "mien/core/tensor.hpp"
#include "mien/data/dataset.hpp"

namespace mien {

/// What is done to a training image (height, width, channels), in this order:
/// 1. one bilinear warp onto the output extents, both images centred on each other: mirroring, rotation, scale, shift;
///    what lies outside the image is its reflection (the border pixel itself is not repeated), or `fill`;
/// 2. v -> contrast * v + brightness on every value, so in units of the normalized image's deviation;
/// 3. erasing: a rectangle filled with standard normal noise.
/// All ranges are drawn uniformly, each on its own.
struct Augmentation {
  /// Side of the square output; 0 keeps the extents of the input.
  index_t crop = 0;
  /// Probability of mirroring left and right.
  float flip = 0.0f;
  /// Rotation within +-`rotation` degrees.
  float rotation = 0.0f;
  float rotation_probability = 0.0f;
  /// Enlargement by a factor in [scale_low, scale_high].
  float scale_low = 1.0f;
  float scale_high = 1.0f;
  float scale_probability = 0.0f;
  /// Shift within +-`shift` pixels of the input, per axis; fractions included.
  float shift = 0.0f;
  /// Value of what lies outside the image, where it is not to be its reflection.
  std::optional<float> fill = std::nullopt;
  /// Contrast in 1 +- `contrast` and brightness in +-`brightness`, both or neither.
  float contrast = 0.0f;
  float brightness = 0.0f;
  float jitter_probability = 0.0f;
  /// Erased part of the output's area, and the rectangle's height by its width (drawn uniformly in the logarithm).
  float erasing_probability = 0.0f;
  float erasing_area_low = 0.02f;
  float erasing_area_high = 0.2f;
  float erasing_aspect_low = 0.3f;
  float erasing_aspect_high = 3.3f;

  /// The image as it is, or the centre of it.
  static Augmentation none(index_t crop = 0) {
    Augmentation options;
    options.crop = crop;
    return options;
  }
  /// Mirroring and a shift within +-2 pixels.
  static Augmentation light(index_t crop = 0) {
    Augmentation options = none(crop);
    options.flip = 0.5f;
    options.shift = 2.0f;
    return options;
  }
  /// For training from nothing on 48x48 faces (crop 44): rotation within 10 degrees, scale 0.85 to 1.15, contrast and
  /// brightness within 0.3, erasing, each for half of the images, on top of `light`.
  static Augmentation strong(index_t crop = 44) {
    Augmentation options = light(crop);
    options.rotation = 10.0f;
    options.rotation_probability = 0.5f;
    options.scale_low = 0.85f;
    options.scale_high = 1.15f;
    options.scale_probability = 0.5f;
    options.contrast = 0.3f;
    options.brightness = 0.3f;
    options.jitter_probability = 0.5f;
    options.erasing_probability = 0.5f;
    return options;
  }

  /// Throws ArgumentError naming the first field that is out of range: probabilities in [0, 1], sizes >= 0, scales and
  /// aspects positive with low <= high, areas in [0, 1].
  void validate() const;
};

/// The random numbers of a sample's augmentation.
Random augmentation_random(const SampleKey& key, index_t sample);

namespace detail {

inline void check_range(bool valid, const char* field, float value, const char* expected) {
  if (!valid) fail<ArgumentError>({"augmentation: ", field, " = ", value, ", expected ", expected});
}

/// Shape of what a square crop of `side` (0: all) makes of an image (height, width, channels). Throws ShapeError when
/// the image is empty, of another rank, or smaller than the crop.
inline Shape cropped_shape(const Shape& image, index_t side) {
  if (image.rank() != 3 || image.size() == 0) {
    fail<ShapeError>({"image of shape ", image, ": expected (height, width, channels), none empty"});
  }
  if (side == 0) return image;
  if (side < 0 || side > image[0] || side > image[1]) {
    fail<ShapeError>({"a crop of ", side, " from an image of shape ", image});
  }
  return Shape{side, side, image[2]};
}

/// Index of the pixel that position i of the line extended by reflection shows: ..., 2, 1, 0, 1, ..., n-1, n-2, ...
inline index_t reflect(index_t i, index_t n) {
  if (n == 1) return 0;
  const index_t period = 2 * (n - 1);
  i %= period;
  if (i < 0) i += period;
  return i < n ? i : period - i;
}

/// Source position of output pixel (row, column): x = x0 + xx * column + xy * row, and y likewise.
struct Affine {
  float x0, xx, xy;
  float y0, yx, yy;
};

/// Narrows columns [first, last) to those where start + step * column is inside [0, limit].
inline void clip_columns(float start, float step, float limit, index_t& first, index_t& last) {
  const auto inside = [&](index_t column) {
    const float position = start + step * static_cast<float>(column);
    return position >= 0.0f && position <= limit;
  };
  if (step != 0.0f) {
    const float a = -start / step;
    const float b = (limit - start) / step;
    const float low = std::clamp(std::min(a, b), static_cast<float>(first), static_cast<float>(last));
    const float high = std::clamp(std::max(a, b) + 1.0f, static_cast<float>(first), static_cast<float>(last));
    first = static_cast<index_t>(low);
    last = static_cast<index_t>(high);
  }
  while (first < last && !inside(first)) ++first;
  while (first < last && !inside(last - 1)) --last;
}

/// Bilinear warp. `channels` is a constant in the usual cases, for the compiler to unroll.
template <int fixed_channels>
void warp(TensorView<const float> image, TensorView<float> out, const Affine& map, std::optional<float> fill) {
  const index_t height = image.shape()[0], width = image.shape()[1];
  const index_t channels = fixed_channels > 0 ? fixed_channels : image.shape()[2];
  const index_t out_height = out.shape()[0], out_width = out.shape()[1];
  const index_t stride = width * channels;
  const float* source = image.data();
  float* target = out.data();

  /// Four neighbours, each of which may lie outside.
  const auto border = [&](float x, float y, float* pixel) {
    const float left = std::floor(x), top = std::floor(y);
    const float fx = x - left, fy = y - top;
    const auto column = static_cast<index_t>(left), line = static_cast<index_t>(top);
    const auto value = [&](index_t v, index_t h, index_t c) {
      if (fill && (v < 0 || v >= height || h < 0 || h >= width)) return *fill;
      return source[reflect(v, height) * stride + reflect(h, width) * channels + c];
    };
    for (index_t c = 0; c < channels; ++c) {
      const float a0 = value(line, column, c), a1 = value(line, column + 1, c);
      const float b0 = value(line + 1, column, c), b1 = value(line + 1, column + 1, c);
      const float a = a0 + fx * (a1 - a0), b = b0 + fx * (b1 - b0);
      pixel[c] = a + fy * (b - a);
    }
  };

  for (index_t row = 0; row < out_height; ++row, target += out_width * channels) {
    const float x_start = map.x0 + map.xy * static_cast<float>(row);
    const float y_start = map.y0 + map.yy * static_cast<float>(row);
    index_t first = 0, last = width > 1 && height > 1 ? out_width : 0;
    clip_columns(x_start, map.xx, static_cast<float>(width - 1), first, last);
    clip_columns(y_start, map.yx, static_cast<float>(height - 1), first, last);

    for (index_t column = 0; column < first; ++column) {
      const auto position = static_cast<float>(column);
      border(x_start + map.xx * position, y_start + map.yx * position, target + column * channels);
    }
    for (index_t column = first; column < last; ++column) {
      const auto position = static_cast<float>(column);
      const float x = x_start + map.xx * position;
      const float y = y_start + map.yx * position;
      // The last pixel's right neighbour is beyond the image, hence the clamp, which also keeps every rounding inside
      // (it may differ from that of clip_columns, where the compiler fuses multiplication and addition).
      const index_t left = std::clamp<index_t>(static_cast<std::int32_t>(x), 0, width - 2);
      const index_t top = std::clamp<index_t>(static_cast<std::int32_t>(y), 0, height - 2);
      const float fx = x - static_cast<float>(left);
      const float fy = y - static_cast<float>(top);
      const float* upper = source + top * stride + left * channels;
      const float* lower = upper + stride;
      for (index_t c = 0; c < channels; ++c) {
        const float a = upper[c] + fx * (upper[c + channels] - upper[c]);
        const float b = lower[c] + fx * (lower[c + channels] - lower[c]);
        target[column * channels + c] = a + fy * (b - a);
      }
    }
    for (index_t column = last; column < out_width; ++column) {
      const auto position = static_cast<float>(column);
      border(x_start + map.xx * position, y_start + map.yx * position, target + column * channels);
    }
  }
}

}  // namespace detail

/// Augments `image` (height, width, channels) into `out` (its rows and columns are the output's extents, same
/// channels), drawing from `random` alone. Assigns all of out. Images of up to 2^24 values; throws ShapeError
/// otherwise. `options` are taken as valid.
void augment(TensorView<const float> image, TensorView<float> out, const Augmentation& options, const Random& random);

/// The `which`-th of the ten crops of evaluation, as large as `out` (rows, columns, channels): 0 to 3 are the corners
/// (top left, top right, bottom left, bottom right), 4 the centre, 5 to 9 the same five mirrored. Assigns all of out.
/// Throws ShapeError when out does not fit into `image` or has other channels, ArgumentError for another number.
void ten_crop(TensorView<const float> image, int which, TensorView<float> out);

/// The centre of `image`, as large as `out`; see ten_crop.
void center_crop(TensorView<const float> image, TensorView<float> out);

/// Another dataset, augmented by (seed, epoch, sample index): for training. The other one is borrowed and has to
/// outlive this. `strong` on 48x48 gray takes about 20 us a sample.
class Augmented : public Dataset {
 public:
  /// Throws ArgumentError for options out of range, ShapeError when the crop exceeds the images.
  Augmented(const Dataset& dataset, const Augmentation& options);
  Augmented(Dataset&&, const Augmentation&) = delete;

  MIEN_BODY index_t size() const override;
  MIEN_BODY Shape shape() const override;
  MIEN_BODY int classes() const override;
  MIEN_BODY int label(index_t i) const override;
  MIEN_BODY void get(index_t i, const SampleKey& key, std::span<float> input) const override;

  const Augmentation& options() const { return options_; }

 private:
  const Dataset* dataset_;
  Augmentation options_;
  Shape shape_;
};

/// Another dataset, cut to one of its ten crops (by default the centre): for evaluation. The other one is borrowed and
/// has to outlive this.
class Cropped : public Dataset {
 public:
  /// A square of `side` pixels (0: all of the image), `which` as in ten_crop. Throws ShapeError when it exceeds the
  /// images, ArgumentError for a crop that is none of the ten.
  Cropped(const Dataset& dataset, index_t side, int which = 4);
  Cropped(Dataset&&, index_t, int = 4) = delete;

  MIEN_BODY index_t size() const override;
  MIEN_BODY Shape shape() const override;
  MIEN_BODY int classes() const override;
  MIEN_BODY int label(index_t i) const override;
  MIEN_BODY void get(index_t i, const SampleKey& key, std::span<float> input) const override;

 private:
  const Dataset* dataset_;
  int which_;
  Shape shape_;
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/data/impl/augmentation.hpp"
#endif
