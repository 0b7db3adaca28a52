// Images as the cascade takes them: borrowed rows of 8-bit pixels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cascade/geometry.hpp"
#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"

namespace mien::cascade {

/// Order of the bytes of one pixel. Alpha is ignored.
enum class PixelFormat { gray, rgb, bgr, rgba, bgra };

inline constexpr int bytes_per_pixel(PixelFormat format) {
  return format == PixelFormat::gray ? 1 : format == PixelFormat::rgb || format == PixelFormat::bgr ? 3 : 4;
}

/// Borrowed image: pixel (x, y) starts at `data + y * stride + x * bytes_per_pixel(format)`; `stride` in bytes.
struct ImageView {
  const std::uint8_t* data = nullptr;
  int width = 0;
  int height = 0;
  index_t stride = 0;
  PixelFormat format = PixelFormat::gray;

  const std::uint8_t* row(int y) const { return data + y * stride; }

  /// The part inside `region`. Throws ArgumentError if that leaves the image.
  ImageView crop(const Rect& region) const {
    if (region.x < 0 || region.y < 0 || region.width < 0 || region.height < 0 || region.x > width - region.width ||
        region.y > height - region.height) {
      fail<ArgumentError>("region " + std::to_string(region.width) + "x" + std::to_string(region.height) + " at (" +
                          std::to_string(region.x) + ", " + std::to_string(region.y) + ") leaves the image of " +
                          std::to_string(width) + "x" + std::to_string(height) + " pixels");
    }
    return {row(region.y) + region.x * bytes_per_pixel(format), region.width, region.height, stride, format};
  }
};

/// Gray, as OpenCV's cascades get it from a colour picture: (9798 R + 19235 G + 3735 B + 16384) >> 15, which are
/// 0.299, 0.587 and 0.114 in 15 bits. Writes `width` bytes per row to `gray`, rows `gray_stride` bytes apart.
inline void to_gray(const ImageView& image, std::uint8_t* gray, index_t gray_stride) {
  const int step = bytes_per_pixel(image.format);
  const bool blue_first = image.format == PixelFormat::bgr || image.format == PixelFormat::bgra;
  const int red = blue_first ? 2 : 0;
  const int blue = 2 - red;
  for (int y = 0; y < image.height; ++y) {
    const std::uint8_t* in = image.row(y);
    std::uint8_t* out = gray + y * gray_stride;
    if (image.format == PixelFormat::gray) {
      for (int x = 0; x < image.width; ++x) out[x] = in[x];
      continue;
    }
    for (int x = 0; x < image.width; ++x, in += step) {
      out[x] = static_cast<std::uint8_t>((in[red] * 9798 + in[1] * 19235 + in[blue] * 3735 + 16384) >> 15);
    }
  }
}

}  // namespace mien::cascade
