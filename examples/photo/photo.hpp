// Photographs from anywhere: JPEG, PNG, PGM and PPM, decoded within limits and turned upright.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "mien/data/image.hpp"
#include "photo/exif.hpp"
#include "photo/jpeg.hpp"
#include "photo/limits.hpp"
#include "photo/png.hpp"
#include "photo/upright.hpp"

// MIEN_PHOTO_JPEG and MIEN_PHOTO_PNG are set to 1 by the build where the libraries are found (mien::photo); without
// them mien's own decode_image serves.

namespace mien::photo {

namespace detail {

/// By mien's own checks and stb_image.
inline Image decode_plainly(std::span<const std::byte> bytes, int channels, Orientation orientation,
                            const PhotoLimits& limits) {
  ImageLimits plain;
  plain.file_bytes = limits.file_bytes;
  plain.side = limits.side;
  plain.pixels = limits.pixels;
  plain.heap_bytes = limits.heap_bytes;
  plain.jpeg_scans = limits.jpeg_scans;
  Image image = decode_image(bytes, channels, plain);
  if (orientation == 1) return image;
  check_memory("picture", bytes.size() + 2 * upright_bytes(image.width, image.height, channels), limits);
  UprightRows rows(image.width, image.height, channels, orientation);
  const auto line = static_cast<std::size_t>(image.width * channels);
  for (index_t y = 0; y < image.height; ++y) {
    std::memcpy(rows.row(), image.pixels.data() + static_cast<std::size_t>(y) * line, line);
    rows.put(y);
  }
  return rows.take();
}

/// The name of a format that is not read, by the file's first bytes.
inline std::string_view other_format(std::span<const std::byte> bytes) {
  const ByteReader read(bytes);
  if (read.has(0, "GIF8")) return "GIF";
  if (read.has(0, "BM")) return "BMP";
  if (read.has(0, "RIFF") && read.has(8, "WEBP")) return "WebP";
  if (read.has(0, std::string_view("II*\0", 4)) || read.has(0, std::string_view("MM\0*", 4))) return "TIFF";
  if (read.has(4, "ftypavif")) return "AVIF";
  if (read.has(4, "ftyp")) return "HEIC or a film";
  return "";
}

}  // namespace detail

/// Decodes a photograph into 1 (gray) or 3 (RGB) channels, upright by its EXIF orientation. Read are, told apart by
/// their first bytes,
/// - JPEG by libjpeg-turbo: gray, colour and CMYK, sequential and progressive;
/// - PNG by libpng: gray, colour and palette with and without transparency, 1 to 16 bits, interlaced. What is
///   transparent is seen in front of white; 16 bits are scaled to 8;
/// - binary PGM and PPM of 8 bits.
/// Where one of the libraries is missing, decode_image() serves: no CMYK, no palettes, no 16 bits, and transparency is
/// ignored. Gray of colour is gray_of() of each decoded pixel: what OpenCV's cvtColor computes.
///
/// For bytes from anywhere: what is damaged, cut off or beyond `limits` is refused, most of it before memory is taken.
/// Throws FormatError saying what is wrong, ArgumentError for channels other than 1 and 3. May be called by any number
/// of threads.
inline Image decode_photo(std::span<const std::byte> bytes, int channels, const PhotoLimits& limits = {}) {
  if (channels != 1 && channels != 3) {
    fail<ArgumentError>("decode_photo: " + std::to_string(channels) + " channels, expected 1 (gray) or 3 (RGB)");
  }
  if (bytes.empty()) fail<FormatError>("a picture of 0 bytes");
  if (bytes.size() > limits.file_bytes) {
    fail<FormatError>("a picture of " + std::to_string(bytes.size()) + " bytes, more than the " +
                      std::to_string(limits.file_bytes) + " allowed");
  }
  const detail::ByteReader read(bytes);
  if (read.has(0, "\xff\xd8\xff")) {
#if MIEN_PHOTO_JPEG
    return detail::JpegDecoder(bytes, limits).run(channels, orientation_in_jpeg(bytes));
#else
    return detail::decode_plainly(bytes, channels, orientation_in_jpeg(bytes), limits);
#endif
  }
  if (read.has(0, "\x89PNG\r\n\x1a\n")) {
#if MIEN_PHOTO_PNG
    return detail::PngDecoder(bytes, limits).run(channels, orientation_in_png(bytes));
#else
    return detail::decode_plainly(bytes, channels, orientation_in_png(bytes), limits);
#endif
  }
  if (read.has(0, "P5") || read.has(0, "P6")) return detail::decode_plainly(bytes, channels, 1, limits);
  const std::string_view other = detail::other_format(bytes);
  fail<FormatError>(other.empty() ? "neither JPEG, PNG nor binary PGM or PPM"
                                  : std::string(other) + " is not read: convert it to JPEG or PNG");
}

}  // namespace mien::photo
