// Images as bytes: owned and borrowed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mien/core/shape.hpp"

namespace mien {

/// Borrowed 8-bit image of 1 (gray) or 3 (red, green, blue) interleaved channels; `stride` bytes from row to row, so
/// that a frame of a camera or a part of an image is one too.
struct ImageView {
  const std::uint8_t* data = nullptr;
  index_t width = 0;
  index_t height = 0;
  index_t channels = 1;
  index_t stride = 0;

  const std::uint8_t* row(index_t y) const { return data + y * stride; }
};

/// Owned 8-bit image: rows from the top, without gaps.
struct Image {
  index_t width = 0;
  index_t height = 0;
  index_t channels = 1;
  std::vector<std::uint8_t> pixels;

  ImageView view() const { return {pixels.data(), width, height, channels, width * channels}; }
  operator ImageView() const { return view(); }
};

/// Gray of a colour by the weights of ITU-R BT.601 (0.299, 0.587, 0.114) in 15-bit fixed point, rounded: what OpenCV's
/// cvtColor computes. Equal channels give themselves.
constexpr std::uint8_t gray_of(std::uint8_t red, std::uint8_t green, std::uint8_t blue) {
  return static_cast<std::uint8_t>((red * 9798 + green * 19235 + blue * 3735 + 16384) >> 15);
}

/// The image in 1 or 3 channels: by gray_of, or gray three times. `channels` is taken as 1 or 3.
inline Image with_channels(const ImageView& image, index_t channels) {
  Image result{image.width, image.height, channels, {}};
  result.pixels.resize(static_cast<std::size_t>(image.width * image.height * channels));
  std::uint8_t* target = result.pixels.data();
  for (index_t y = 0; y < image.height; ++y) {
    const std::uint8_t* source = image.row(y);
    for (index_t x = 0; x < image.width; ++x, source += image.channels, target += channels) {
      if (channels == 1) {
        target[0] = image.channels == 1 ? source[0] : gray_of(source[0], source[1], source[2]);
      } else {
        for (index_t c = 0; c < 3; ++c) target[c] = source[image.channels == 1 ? 0 : c];
      }
    }
  }
  return result;
}

}  // namespace mien
