// Fuzz target: decode_image on any bytes.
//
// Built where clang-16 is installed; a long run, as fuzz_model.cpp says, is
//   fuzz_image -runs=2000000 -dict=tests/fuzz/image.dict -rss_limit_mb=1024 -timeout=20 corpus tests/fuzz/seeds/image
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "mien/data/image.hpp"
#include "png_mutator.hpp"

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
