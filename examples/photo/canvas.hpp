// Drawing into a picture: rectangles, frames and text, clipped at its edges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "mien/core/error.hpp"
#include "mien/data/pixels.hpp"
#include "mien/data/resize.hpp"
#include "photo/font.hpp"

namespace mien::photo {

struct Colour {
  std::uint8_t red = 0, green = 0, blue = 0;
};

/// Draws into an RGB image that outlives it. What lies outside is left out.
class Canvas {
 public:
  explicit Canvas(Image& image) : image_(&image) {
    if (image.channels != 3) fail<ShapeError>("a canvas needs an RGB image");
  }

  index_t width() const { return image_->width; }
  index_t height() const { return image_->height; }

  /// `opacity` from 0 (nothing) to 255 (covers what was there).
  void fill(const PixelBox& box, Colour colour, int opacity = 255) {
    const index_t left = std::max<index_t>(box.x, 0), right = std::min(box.x + box.width, width());
    const index_t top = std::max<index_t>(box.y, 0), bottom = std::min(box.y + box.height, height());
    const auto mix = [&](std::uint8_t& under, std::uint8_t over) {
      under = static_cast<std::uint8_t>((over * opacity + under * (255 - opacity) + 127) / 255);
    };
    for (index_t y = top; y < bottom; ++y) {
      for (index_t x = left; x < right; ++x) {
        std::uint8_t* pixel = image_->pixels.data() + (y * width() + x) * 3;
        mix(pixel[0], colour.red);
        mix(pixel[1], colour.green);
        mix(pixel[2], colour.blue);
      }
    }
  }

  /// The rim of `box`, `thickness` pixels inwards.
  void frame(const PixelBox& box, index_t thickness, Colour colour) {
    const index_t t = std::min({thickness, (box.width + 1) / 2, (box.height + 1) / 2});
    fill({box.x, box.y, box.width, t}, colour);
    fill({box.x, box.y + box.height - t, box.width, t}, colour);
    fill({box.x, box.y + t, t, box.height - 2 * t}, colour);
    fill({box.x + box.width - t, box.y + t, t, box.height - 2 * t}, colour);
  }

  /// Letters `scale` times the font's size, (x, y) being their upper left.
  void text(index_t x, index_t y, std::string_view letters, index_t scale, Colour colour) {
    for (const char c : letters) {
      for (int row = 0; row < glyph_height; ++row) {
        for (int column = 0; column < glyph_width; ++column) {
          if (glyph_pixel(c, column, row)) fill({x + column * scale, y + row * scale, scale, scale}, colour);
        }
      }
      x += glyph_advance * scale;
    }
  }
  static index_t text_width(std::string_view letters, index_t scale) {
    return static_cast<index_t>(letters.size()) * glyph_advance * scale;
  }

 private:
  Image* image_;
};

}  // namespace mien::photo
