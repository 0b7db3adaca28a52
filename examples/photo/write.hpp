// Writing a picture as PNG.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "fer/png.hpp"
#include "mien/core/error.hpp"
#include "mien/data/pixels.hpp"
#include "mien/io/atomic_file.hpp"
#if MIEN_PHOTO_PNG
#include <png.h>
#endif

namespace mien::photo {

/// The bytes of a PNG file: compressed by libpng, or as they are where it is missing.
inline std::string png_bytes(const Image& image) {
#if MIEN_PHOTO_PNG
  png_image head{};
  head.version = PNG_IMAGE_VERSION;
  head.width = static_cast<png_uint_32>(image.width);
  head.height = static_cast<png_uint_32>(image.height);
  head.format = image.channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(head);
  std::string bytes(size, '\0');
  if (png_image_write_to_memory(&head, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0) {
    fail<ArgumentError>(std::string("libpng could not write the picture: ") + head.message);
  }
  bytes.resize(size);
  return bytes;
#else
  return fer::encode_png(image.pixels, image.width, image.height, image.channels);
#endif
}

/// Writes it, replacing what was there only when all of it is written. Throws FileError.
inline void write_png(const std::string& path, const Image& image) { write_file_atomically(path, png_bytes(image)); }

}  // namespace mien::photo
