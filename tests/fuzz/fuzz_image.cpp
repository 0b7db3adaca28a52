// Fuzz target: decode_image on any bytes.
//
// Built where clang-16 is installed; a long run, as fuzz_model.cpp says, is
//   fuzz_image -runs=2000000 -dict=tests/fuzz/image.dict -rss_limit_mb=1024 -timeout=20 corpus tests/fuzz/seeds/image
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "mien/data/image.hpp"

namespace {

/// Sets the checksum of every whole chunk of a PNG right, as no mutation would.
void repair_png(std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_writable_bytes(std::span(data, size));
  if (!mien::detail::begins_with(bytes, "\x89PNG")) return;
  for (std::size_t at = 8; size - at >= 12 && at <= size;) {
    const std::size_t length = static_cast<std::size_t>(data[at]) << 24 | static_cast<std::size_t>(data[at + 1]) << 16 |
                               static_cast<std::size_t>(data[at + 2]) << 8 | data[at + 3];
    if (length > size - at - 12) return;
    const std::uint32_t sum = mien::detail::crc32(bytes.subspan(at + 4, length + 4));
    for (std::size_t i = 0; i < 4; ++i) data[at + 8 + length + i] = static_cast<std::uint8_t>(sum >> (24 - 8 * i));
    at += length + 12;
  }
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
  mien::ImageLimits limits;
  limits.side = 256;
  limits.pixels = 64 * 64;
  limits.heap_bytes = std::size_t{1} << 20;
  limits.jpeg_scans = 20;
  const int channels = size % 2 == 0 ? 1 : 3;
  try {
    const mien::Image image = mien::decode_image(std::as_bytes(std::span(data, size)), channels, limits);
    if (image.width < 1 || image.height < 1 || image.width * image.height > limits.pixels ||
        image.channels != channels ||
        image.pixels.size() != static_cast<std::size_t>(image.width * image.height * channels)) {
      std::abort();
    }
    // The same bytes give the same image: nothing in it is what memory happened to hold.
    const mien::Image again = mien::decode_image(std::as_bytes(std::span(data, size)), channels, limits);
    if (again.pixels != image.pixels) std::abort();
  } catch (const mien::FormatError&) {
  }
  return 0;
}
