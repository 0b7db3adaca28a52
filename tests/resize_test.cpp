#include "mien/data/resize.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "mien/core/random.hpp"

using namespace mien;

namespace {

Image noise(index_t width, index_t height, index_t channels, std::uint64_t seed = 1) {
  Image image{width, height, channels, {}};
  const Random random(seed, Stream::user);
  for (index_t i = 0; i < width * height * channels; ++i) {
    image.pixels.push_back(static_cast<std::uint8_t>(random.below(static_cast<std::uint64_t>(i), 256)));
  }
  return image;
}

/// Weight of source position `s` (of `length`) in output position `i` (of `size`), from the definition.
double weight(index_t i, index_t s, index_t length, index_t size) {
  const double scale = static_cast<double>(length) / static_cast<double>(size);
  const auto at = static_cast<double>(s);
  if (length > size) {
    const double low = static_cast<double>(i) * scale;
    return std::max(0.0, std::min(low + scale, at + 1) - std::max(low, at)) / scale;
  }
  const double centre =
      std::min(std::max((static_cast<double>(i) + 0.5) * scale - 0.5, 0.0), static_cast<double>(length - 1));
  return std::max(0.0, 1.0 - std::abs(centre - at));
}

double reference(const Image& image, const PixelBox& box, index_t width, index_t height, index_t x, index_t y,
                 index_t c) {
  double sum = 0;
  for (index_t v = 0; v < box.height; ++v) {
    for (index_t u = 0; u < box.width; ++u) {
      const index_t row = std::clamp<index_t>(box.y + v, 0, image.height - 1);
      const index_t column = std::clamp<index_t>(box.x + u, 0, image.width - 1);
      sum += weight(y, v, box.height, height) * weight(x, u, box.width, width) *
             image.pixels[static_cast<std::size_t>((row * image.width + column) * image.channels + c)];
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("Equal size is a copy") {
  const Image image = noise(13, 9, 3);
  const Image copy = resize(image, 13, 9);
  CHECK(copy.pixels == image.pixels);
  CHECK(copy.channels == 3);
}

TEST_CASE("Small cases by hand") {
  const Image image{4, 2, 1, {0, 100, 20, 40, 200, 100, 60, 80}};
  // Halves: the mean of 2x2 pixels.
  CHECK(resize(image, 2, 1).pixels == std::vector<std::uint8_t>{100, 50});
  // Two thirds of a pixel and one third of its neighbour: 3 columns from 4 are 4/3 wide.
  const Image row{4, 1, 1, {0, 120, 240, 60}};
  CHECK(resize(row, 3, 1).pixels == std::vector<std::uint8_t>{30, 180, 105});
  // Doubled: centres at -1/4, 1/4, 3/4, 5/4.
  const Image pair{2, 1, 1, {0, 100}};
  CHECK(resize(pair, 4, 1).pixels == std::vector<std::uint8_t>{0, 25, 75, 100});
  CHECK(resize(pair, 4, 2).pixels == std::vector<std::uint8_t>{0, 25, 75, 100, 0, 25, 75, 100});
  CHECK(crop(image, {1, 0, 2, 2}).pixels == std::vector<std::uint8_t>{100, 20, 100, 60});
  CHECK(crop(image, {-2, -1, 4, 3}).pixels ==
        std::vector<std::uint8_t>{0, 0, 0, 100, 0, 0, 0, 100, 200, 200, 200, 100});
  CHECK(crop(image, {3, 1, 3, 2}).pixels == std::vector<std::uint8_t>{80, 80, 80, 80, 80, 80});
  CHECK(crop(image, {100, -100, 2, 1}).pixels == std::vector<std::uint8_t>{40, 40});
}

TEST_CASE("Random boxes and sizes agree with the definition") {
  const Random random(8, Stream::user);
  for (std::uint64_t round = 0; round < 60; ++round) {
    const auto draw = [&](std::uint64_t k, std::uint32_t bound) {
      return static_cast<index_t>(random.below(16 * round + k, bound));
    };
    const Image image = noise(1 + draw(0, 20), 1 + draw(1, 20), round % 2 ? 3 : 1, round);
    const PixelBox box{draw(2, 30) - 10, draw(3, 30) - 10, 1 + draw(4, 24), 1 + draw(5, 24)};
    const index_t width = 1 + draw(6, 24), height = 1 + draw(7, 24);
    const Image result = crop_resize(image, box, width, height);
    REQUIRE(result.pixels.size() == static_cast<std::size_t>(width * height * image.channels));
    for (index_t y = 0; y < height; ++y) {
      for (index_t x = 0; x < width; ++x) {
        for (index_t c = 0; c < image.channels; ++c) {
          const double value = result.pixels[static_cast<std::size_t>((y * width + x) * image.channels + c)];
          REQUIRE(std::abs(value - reference(image, box, width, height, x, y, c)) < 0.501);
        }
      }
    }
  }
}

TEST_CASE("A constant image stays constant, a large one does not take long") {
  const Image image{3000, 2000, 1, std::vector<std::uint8_t>(6000000, 77)};
  for (const std::uint8_t value : resize(image, 48, 48).pixels) REQUIRE(value == 77);
  for (const std::uint8_t value : crop_resize(image, {-5000, -5000, 16384, 16384}, 48, 48).pixels) REQUIRE(value == 77);
}

TEST_CASE("Views with gaps between rows") {
  const Image image = noise(10, 6, 3);
  const ImageView part{image.pixels.data() + (2 * 10 + 3) * 3, 5, 4, 3, 30};
  CHECK(resize(part, 7, 3).pixels == crop_resize(image, {3, 2, 5, 4}, 7, 3).pixels);
}

TEST_CASE("Gray and colour") {
  CHECK(gray_of(255, 255, 255) == 255);
  CHECK(gray_of(255, 0, 0) == 76);
  CHECK(gray_of(0, 255, 0) == 150);
  CHECK(gray_of(0, 0, 255) == 29);
  for (int value = 0; value < 256; ++value) {
    const auto v = static_cast<std::uint8_t>(value);
    CHECK(gray_of(v, v, v) == v);
  }
  const Image gray{2, 1, 1, {9, 200}};
  CHECK(with_channels(gray, 3).pixels == std::vector<std::uint8_t>{9, 9, 9, 200, 200, 200});
  CHECK(with_channels(with_channels(gray, 3), 1).pixels == gray.pixels);
}

TEST_CASE("Arguments out of range") {
  const Image image = noise(4, 4, 1);
  CHECK_THROWS_AS(resize(image, 0, 4), ArgumentError);
  CHECK_THROWS_AS(resize(image, 4, 20000), ArgumentError);
  CHECK_THROWS_AS(crop_resize(image, {0, 0, 0, 4}, 4, 4), ArgumentError);
  CHECK_THROWS_AS(crop_resize(image, {0, 0, -4, 4}, 4, 4), ArgumentError);
  CHECK_THROWS_AS(crop_resize(image, {index_t{1} << 62, 0, 4, 4}, 4, 4), ArgumentError);
  CHECK_THROWS_AS(resize(Image{}, 4, 4), ShapeError);
  CHECK_THROWS_AS(resize(Image{2, 1, 2, {1, 2, 3, 4}}, 4, 4), ShapeError);
}
