// FaceImages: labelled 48x48 gray pictures in memory, whatever they were read from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fer/classes.hpp"
#include "mien/core/shape.hpp"

namespace mien::fer {

/// What the PGM files of synthetic faces begin with, so that they are not taken for photographs when they are read.
inline constexpr std::string_view synthetic_mark = "P5\n# synthetic face drawn by mien\n";

/// n labelled pictures: 2,304 bytes each, one byte a pixel.
struct FaceImages {
  std::vector<std::uint8_t> pixels;  ///< n x 48 x 48
  std::vector<int> labels;           ///< n numbers 0..6
  std::vector<std::string> names;    ///< n: the file, "file:line", or what a synthetic face was made from
  bool synthetic = false;            ///< drawn by mien, not photographs: to be said wherever figures are shown

  index_t size() const { return static_cast<index_t>(labels.size()); }
  std::span<const std::uint8_t> image(index_t i) const {
    return {pixels.data() + i * face_pixels, static_cast<std::size_t>(face_pixels)};
  }
  std::span<std::uint8_t> image(index_t i) {
    return {pixels.data() + i * face_pixels, static_cast<std::size_t>(face_pixels)};
  }
  /// Sets the number of pictures; new ones are black and of class 0.
  void resize(index_t n) {
    pixels.resize(static_cast<std::size_t>(n * face_pixels));
    labels.resize(static_cast<std::size_t>(n));
    names.resize(static_cast<std::size_t>(n));
  }
  /// Number of pictures per class.
  ClassCounts counts() const {
    ClassCounts result{};
    for (const int label : labels) ++result[static_cast<std::size_t>(label)];
    return result;
  }
};

}  // namespace mien::fer
