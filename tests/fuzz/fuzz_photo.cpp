// Fuzz target: decode_photo (EXIF, libjpeg-turbo and libpng behind their limits, or stb where they are missing) on any
// bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "photo/photo.hpp"
#include "png_mutator.hpp"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

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
