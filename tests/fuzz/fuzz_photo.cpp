// Fuzz target: decode_photo (EXIF, libjpeg-turbo and libpng behind their limits, or stb where they are missing) on any
// bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "photo/photo.hpp"

namespace {

/// Sets the checksum of every whole chunk of a PNG right, as no mutation would.
void repair_png(std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_writable_bytes(std::span(data, size));
  if (!mien::detail::begins_with(bytes, "\x89PNG")) return;
  for (std::size_t at = 8; at <= size && size - at >= 12;) {
    const std::size_t length = static_cast<std::size_t>(data[at]) << 24 | static_cast<std::size_t>(data[at + 1]) << 16 |
                               static_cast<std::size_t>(data[at + 2]) << 8 | data[at + 3];
    if (length > size - at - 12) return;
    const std::uint32_t sum = mien::detail::crc32(bytes.subspan(at + 4, length + 4));
    for (std::size_t i = 0; i < 4; ++i) data[at + 8 + length + i] = static_cast<std::uint8_t>(sum >> (24 - 8 * i));
    at += length + 12;
  }
}

void expect(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size)
    __attribute__((weak));

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  // Now and then a wrong checksum stays.
  if (seed % 16 != 0) repair_png(data, size);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mien;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto sound = [](int orientation) { return orientation >= 1 && orientation <= 8; };
  expect(sound(photo::orientation_in_jpeg(bytes)));
  expect(sound(photo::orientation_in_png(bytes)));
  expect(sound(photo::orientation_in_tiff(bytes)));

  photo::PhotoLimits limits;
  limits.side = 256;
  limits.pixels = 64 * 64;
  limits.heap_bytes = std::size_t{1} << 20;
  limits.jpeg_scans = 20;
  const int channels = size % 2 == 0 ? 1 : 3;
  try {
    const Image image = photo::decode_photo(bytes, channels, limits);
    expect(image.width >= 1 && image.height >= 1 && image.width * image.height <= limits.pixels);
    expect(image.channels == channels);
    expect(image.pixels.size() == static_cast<std::size_t>(image.width * image.height * channels));
    // The same bytes give the same picture: nothing in it is what memory happened to hold.
    expect(photo::decode_photo(bytes, channels, limits).pixels == image.pixels);
  } catch (const FormatError&) {
  }
  return 0;
}
