// Augmentation: definitions for mien/data/augmentation.hpp. Private.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "mien/data/augmentation.hpp"

namespace mien {

MIEN_BODY Random augmentation_random(const SampleKey& key, index_t sample) {
  return Random(key.seed, Stream::augment, (key.epoch << 36) + static_cast<std::uint64_t>(sample));
}

namespace detail {

/// Copies the rectangle of out's extents at (top, left), mirrored if asked.
MIEN_BODY void copy_crop(TensorView<const float> image, TensorView<float> out, index_t top, index_t left, bool mirror) {
  const index_t width = image.shape()[1], channels = image.shape()[2];
  const index_t out_height = out.shape()[0], out_width = out.shape()[1];
  for (index_t row = 0; row < out_height; ++row) {
    const float* source = image.data() + ((top + row) * width + left) * channels;
    float* target = out.data() + row * out_width * channels;
    if (!mirror) {
      std::copy_n(source, out_width * channels, target);
      continue;
    }
    for (index_t column = 0; column < out_width; ++column) {
      std::copy_n(source + (out_width - 1 - column) * channels, channels, target + column * channels);
    }
  }
}

/// Fills a random rectangle with normal noise: draws 11 to 14 of `random` place it, those from 16 on fill it.
MIEN_BODY void erase(TensorView<float> out, const Augmentation& options, const Random& random) {
  const index_t height = out.shape()[0], width = out.shape()[1], channels = out.shape()[2];
  const float area = random.uniform(11, options.erasing_area_low, options.erasing_area_high) *
                     static_cast<float>(height) * static_cast<float>(width);
  const float aspect =
      std::exp(random.uniform(12, std::log(options.erasing_aspect_low), std::log(options.erasing_aspect_high)));
  const auto extent = [](float length, index_t limit) {
    return std::min(limit, static_cast<index_t>(std::min(length, 1e9f) + 0.5f));
  };
  const index_t rows = extent(std::sqrt(area * aspect), height);
  const index_t columns = extent(std::sqrt(area / aspect), width);
  const index_t top = random.below(13, static_cast<std::uint32_t>(height - rows + 1));
  const index_t left = random.below(14, static_cast<std::uint32_t>(width - columns + 1));
  std::uint64_t draw = 16;
  for (index_t row = top; row < top + rows; ++row) {
    float* target = out.data() + (row * width + left) * channels;
    for (index_t i = 0; i < columns * channels; ++i) target[i] = random.normal(draw++);
  }
}

}  // namespace detail

MIEN_BODY void Augmentation::validate() const {
  const auto probability = [](const char* field, float value) {
    detail::check_range(value >= 0.0f && value <= 1.0f, field, value, "a probability in 0..1");
  };
  const auto amount = [](const char* field, float value, float limit) {
    detail::check_range(value >= 0.0f && value <= limit, field, value, "a finite number >= 0 in its range");
  };
  const auto range = [](const char* field, float low, float high, float smallest, float largest) {
    detail::check_range(low >= smallest && low <= high && high <= largest, field, low,
                        "low <= high, both in the range of the field");
  };
  if (crop < 0) fail<ArgumentError>({"augmentation: crop = ", crop, ", expected 0 or a side in pixels"});
  probability("flip", flip);
  amount("rotation", rotation, 360.0f);
  probability("rotation_probability", rotation_probability);
  range("scale_low", scale_low, scale_high, 0.01f, 100.0f);
  probability("scale_probability", scale_probability);
  amount("shift", shift, 1e4f);
  detail::check_range(!fill || std::isfinite(*fill), "fill", fill.value_or(0.0f), "a finite number");
  amount("contrast", contrast, 1e3f);
  amount("brightness", brightness, 1e6f);
  probability("jitter_probability", jitter_probability);
  probability("erasing_probability", erasing_probability);
  range("erasing_area_low", erasing_area_low, erasing_area_high, 0.0f, 1.0f);
  range("erasing_aspect_low", erasing_aspect_low, erasing_aspect_high, 1e-3f, 1e3f);
}

MIEN_BODY void augment(TensorView<const float> image, TensorView<float> out, const Augmentation& options,
                       const Random& random) {
  const Shape& from = image.shape();
  const Shape& to = out.shape();
  if (from.rank() != 3 || to.rank() != 3 || from.size() == 0 || to.size() == 0 || from[2] != to[2] ||
      from.size() > (index_t{1} << 24) || to.size() > (index_t{1} << 24)) {
    fail<ShapeError>({"cannot augment an image of shape ", from, " into ", to,
                      ": expected two images (height, width, channels) of equal channels and at most 2^24 values"});
  }
  // Every option has draws of its own, so that switching one off leaves the others as they were.
  const bool mirror = random.uniform(0) < options.flip;
  const bool rotate = random.uniform(1) < options.rotation_probability && options.rotation > 0.0f;
  const bool rescale = random.uniform(2) < options.scale_probability;
  const bool jitter = random.uniform(3) < options.jitter_probability;
  const bool erasing = random.uniform(4) < options.erasing_probability;
  const float degrees = rotate ? random.uniform(5, -options.rotation, options.rotation) : 0.0f;
  const float scale = rescale ? random.uniform(6, options.scale_low, options.scale_high) : 1.0f;
  const float shift_x = random.uniform(7, -options.shift, options.shift);
  const float shift_y = random.uniform(8, -options.shift, options.shift);

  const bool fits = to[0] <= from[0] && to[1] <= from[1];
  if (degrees == 0.0f && scale == 1.0f && shift_x == 0.0f && shift_y == 0.0f && fits) {
    // As center_crop(), which networks are evaluated on: where the difference is odd, half a pixel off the centre.
    detail::copy_crop(image, out, (from[0] - to[0]) / 2, (from[1] - to[1]) / 2, mirror);
  } else {
    const float angle = degrees * 0.017453292519943295f;
    const float cosine = std::cos(angle) / scale, sine = std::sin(angle) / scale;
    detail::Affine map{};
    map.xx = mirror ? -cosine : cosine;
    map.xy = -sine;
    map.yx = mirror ? -sine : sine;
    map.yy = cosine;
    const float to_x = 0.5f * static_cast<float>(to[1] - 1), to_y = 0.5f * static_cast<float>(to[0] - 1);
    map.x0 = 0.5f * static_cast<float>(from[1] - 1) + shift_x - map.xx * to_x - map.xy * to_y;
    map.y0 = 0.5f * static_cast<float>(from[0] - 1) + shift_y - map.yx * to_x - map.yy * to_y;
    if (from[2] == 1) {
      detail::warp<1>(image, out, map, options.fill);
    } else if (from[2] == 3) {
      detail::warp<3>(image, out, map, options.fill);
    } else {
      detail::warp<0>(image, out, map, options.fill);
    }
  }
  if (jitter) {
    const float contrast = random.uniform(9, 1.0f - options.contrast, 1.0f + options.contrast);
    const float brightness = random.uniform(10, -options.brightness, options.brightness);
    for (float& value : out.span()) value = contrast * value + brightness;
  }
  if (erasing) detail::erase(out, options, random);
}

MIEN_BODY void ten_crop(TensorView<const float> image, int which, TensorView<float> out) {
  const Shape& from = image.shape();
  const Shape& to = out.shape();
  if (from.rank() != 3 || to.rank() != 3 || to.size() == 0 || from[2] != to[2] || to[0] > from[0] || to[1] > from[1]) {
    fail<ShapeError>({"cannot crop ", to, " from an image of shape ", from});
  }
  if (which < 0 || which > 9) fail<ArgumentError>({"crop ", which, " of ten: expected 0 to 9"});
  const index_t down = from[0] - to[0], right = from[1] - to[1];
  const int place = which % 5;
  const index_t top = place == 4 ? down / 2 : (place >= 2 ? down : 0);
  const index_t left = place == 4 ? right / 2 : (place % 2 == 1 ? right : 0);
  detail::copy_crop(image, out, top, left, which >= 5);
}

MIEN_BODY void center_crop(TensorView<const float> image, TensorView<float> out) { ten_crop(image, 4, out); }

MIEN_BODY Augmented::Augmented(const Dataset& dataset, const Augmentation& options)
    : dataset_(&dataset), options_(options), shape_(detail::cropped_shape(dataset.shape(), options.crop)) {
  options_.validate();
}

MIEN_BODY index_t Augmented::size() const { return dataset_->size(); }

MIEN_BODY Shape Augmented::shape() const { return shape_; }

MIEN_BODY int Augmented::classes() const { return dataset_->classes(); }

MIEN_BODY int Augmented::label(index_t i) const { return dataset_->label(i); }

MIEN_BODY void Augmented::get(index_t i, const SampleKey& key, std::span<float> input) const {
  detail::check_input_size(input, shape_);
  const Shape from = dataset_->shape();
  std::vector<float> image(static_cast<std::size_t>(from.size()));
  dataset_->get(i, key, image);
  augment({image.data(), from}, {input.data(), shape_}, options_, augmentation_random(key, i));
}

MIEN_BODY Cropped::Cropped(const Dataset& dataset, index_t side, int which)
    : dataset_(&dataset), which_(which), shape_(detail::cropped_shape(dataset.shape(), side)) {
  if (which < 0 || which > 9) fail<ArgumentError>({"crop ", which, " of ten: expected 0 to 9"});
}

MIEN_BODY index_t Cropped::size() const { return dataset_->size(); }

MIEN_BODY Shape Cropped::shape() const { return shape_; }

MIEN_BODY int Cropped::classes() const { return dataset_->classes(); }

MIEN_BODY int Cropped::label(index_t i) const { return dataset_->label(i); }

MIEN_BODY void Cropped::get(index_t i, const SampleKey& key, std::span<float> input) const {
  detail::check_input_size(input, shape_);
  const Shape from = dataset_->shape();
  std::vector<float> image(static_cast<std::size_t>(from.size()));
  dataset_->get(i, key, image);
  ten_crop({image.data(), from}, which_, {input.data(), shape_});
}

}  // namespace mien
