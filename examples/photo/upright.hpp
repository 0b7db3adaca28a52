// Puts the rows that a decoder delivers where they belong in the upright picture.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "mien/data/pixels.hpp"
#include "photo/exif.hpp"

namespace mien::photo {

/// Takes a picture row by row as stored and builds it upright, so that a turned picture needs no second copy. Memory:
/// that of the picture, and one row.
class UprightRows {
 public:
  UprightRows() = default;

  /// `channels` (1 or 3) of the picture to build.
  UprightRows(index_t stored_width, index_t stored_height, index_t channels, Orientation orientation)
      : stored_width_(stored_width), row_(static_cast<std::size_t>(stored_width * channels)) {
    image_.width = is_transposed(orientation) ? stored_height : stored_width;
    image_.height = is_transposed(orientation) ? stored_width : stored_height;
    image_.channels = channels;
    image_.pixels.resize(static_cast<std::size_t>(stored_width * stored_height * channels));
    // Where stored pixel (0, 0) goes, and how far its neighbours to the right and below go from it, in bytes.
    const index_t right = channels, down = image_.width * channels;
    const index_t last_column = (image_.width - 1) * right, last_row = (image_.height - 1) * down;
    switch (orientation) {
      case 2:
        start_ = last_column, column_ = -right, line_ = down;
        break;
      case 3:
        start_ = last_row + last_column, column_ = -right, line_ = -down;
        break;
      case 4:
        start_ = last_row, column_ = right, line_ = -down;
        break;
      case 5:
        start_ = 0, column_ = down, line_ = right;
        break;
      case 6:
        start_ = last_column, column_ = down, line_ = -right;
        break;
      case 7:
        start_ = last_row + last_column, column_ = -down, line_ = -right;
        break;
      case 8:
        start_ = last_row, column_ = -down, line_ = right;
        break;
      default:
        start_ = 0, column_ = right, line_ = down;
        break;
    }
  }

  /// Room for a stored row in the picture's channels: fill it, then put() it.
  std::uint8_t* row() { return row_.data(); }

  /// Places what row() holds as stored row `y`.
  void put(index_t y) {
    const index_t channels = image_.channels;
    std::uint8_t* target = image_.pixels.data() + start_ + y * line_;
    const std::uint8_t* source = row_.data();
    if (channels == 1) {
      for (index_t x = 0; x < stored_width_; ++x) target[x * column_] = source[x];
    } else {
      for (index_t x = 0; x < stored_width_; ++x, source += 3) {
        std::uint8_t* pixel = target + x * column_;
        pixel[0] = source[0];
        pixel[1] = source[1];
        pixel[2] = source[2];
      }
    }
  }

  index_t channels() const { return image_.channels; }
  Image take() { return std::move(image_); }

 private:
  Image image_;
  index_t stored_width_ = 0, start_ = 0, column_ = 0, line_ = 0;
  std::vector<std::uint8_t> row_;
};

/// Bytes that UprightRows takes for such a picture.
constexpr std::uint64_t upright_bytes(index_t width, index_t height, index_t channels) {
  return static_cast<std::uint64_t>((width * height + width) * channels);
}

}  // namespace mien::photo
