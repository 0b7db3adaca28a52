#include "mien/data/dataset.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

using namespace mien;

namespace {

Tensor<float> counting_images(const Shape& shape) {
  Tensor<float> images(shape);
  for (index_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(i);
  return images;
}

}  // namespace

TEST_CASE("TensorDataset gives out its images and labels") {
  const TensorDataset data(counting_images({3, 2, 2, 1}), {2, 0, 1}, 3);
  CHECK(data.size() == 3);
  CHECK(data.shape() == Shape{2, 2, 1});
  CHECK(data.classes() == 3);
  CHECK(data.label(0) == 2);
  CHECK(data.label(2) == 1);
  std::vector<float> image(4, -1.0f);
  data.get(1, {7, 9}, image);
  CHECK(image == std::vector<float>{4, 5, 6, 7});
}

TEST_CASE("Datasets refuse what does not fit") {
  CHECK_THROWS_AS(TensorDataset(counting_images({3, 2, 2}), {0, 0, 0}, 1), ShapeError);
  CHECK_THROWS_AS(TensorDataset(counting_images({3, 2, 2, 1}), {0, 0}, 1), ShapeError);
  CHECK_THROWS_AS(TensorDataset(counting_images({2, 2, 2, 1}), {0, 3}, 3), ArgumentError);
  CHECK_THROWS_AS(TensorDataset(counting_images({2, 2, 2, 1}), {0, -1}, 3), ArgumentError);
  CHECK_THROWS_AS(TensorDataset(counting_images({0, 2, 2, 1}), {}, 0), ArgumentError);

  const TensorDataset data(counting_images({2, 2, 2, 1}), {0, 1}, 2);
  std::vector<float> image(4), small(3);
  CHECK_THROWS_AS(data.get(2, {}, image), ArgumentError);
  CHECK_THROWS_AS(data.get(-1, {}, image), ArgumentError);
  CHECK_THROWS_AS(data.get(0, {}, small), ShapeError);
  CHECK_THROWS_AS(data.label(2), ArgumentError);

  const Shape shape{1, 2, 1};
  CHECK_THROWS_AS(ByteDataset({1, 2, 3}, shape, {0}, 1, 0.0f, 1.0f), ShapeError);
  CHECK_THROWS_AS(ByteDataset({1, 2}, shape, {0, 0}, 1, 0.0f, 1.0f), ShapeError);
  CHECK_THROWS_AS(ByteDataset({1, 2}, Shape{2}, {0}, 1, 0.0f, 1.0f), ShapeError);
  CHECK_THROWS_AS(ByteDataset({}, Shape{0, 2, 1}, {}, 1, 0.0f, 1.0f), ShapeError);
  CHECK_THROWS_AS(ByteDataset({1, 2}, shape, {0}, 1, 0.0f, 0.0f), ArgumentError);
  CHECK_THROWS_AS(ByteDataset({1, 2}, shape, {0}, 1, 0.0f, std::numeric_limits<float>::quiet_NaN()), ArgumentError);
  CHECK_THROWS_AS(ByteDataset({1, 2}, shape, {0}, 1, std::numeric_limits<float>::infinity(), 1.0f), ArgumentError);
  CHECK_THROWS_AS(ByteDataset({1, 2}, shape, {1}, 1, 0.0f, 1.0f), ArgumentError);
}

TEST_CASE("ByteDataset normalizes") {
  ByteDataset data({0, 255, 51, 102}, {1, 2, 1}, {0, 1}, 2, 0.5f, 0.25f);
  CHECK(data.size() == 2);
  std::vector<float> image(2);
  data.get(0, {}, image);
  CHECK(image[0] == doctest::Approx(-2.0));
  CHECK(image[1] == doctest::Approx(2.0));
  data.get(1, {}, image);
  CHECK(image[0] == doctest::Approx((0.2 - 0.5) / 0.25));
  CHECK(image[1] == doctest::Approx((0.4 - 0.5) / 0.25));
  CHECK(data.pixels(1)[0] == 51);
  CHECK_THROWS_AS(data.pixels(2), ArgumentError);
  data.normalize(0.0f, 1.0f);
  data.get(1, {}, image);
  CHECK(image[0] == doctest::Approx(0.2));
  CHECK(data.deviation() == 1.0f);
}

TEST_CASE("Pixel statistics make mean 0 and deviation 1") {
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < 1000; ++i) pixels.push_back(static_cast<std::uint8_t>((i * i * 7 + i) % 251));
  const PixelStatistics statistics = pixel_statistics(pixels);
  const ByteDataset data(pixels, {10, 100, 1}, {0}, 1, statistics.mean, statistics.deviation);
  std::vector<float> image(1000);
  data.get(0, {}, image);
  double sum = 0, squares = 0;
  for (const float value : image) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  CHECK(sum / 1000 == doctest::Approx(0.0).epsilon(1e-5));
  CHECK(squares / 1000 == doctest::Approx(1.0).epsilon(1e-5));
  CHECK(pixel_statistics({}).deviation == 1.0f);
  CHECK(pixel_statistics(std::vector<std::uint8_t>(9, 51)).deviation == 1.0f);
  CHECK(pixel_statistics(std::vector<std::uint8_t>(9, 51)).mean == doctest::Approx(0.2));
}

TEST_CASE("Subset reorders and repeats") {
  const TensorDataset data(counting_images({4, 1, 1, 2}), {0, 1, 2, 3}, 4);
  const Subset subset(data, {3, 1, 3});
  CHECK(subset.size() == 3);
  CHECK(subset.shape() == data.shape());
  CHECK(subset.classes() == 4);
  CHECK(subset.label(0) == 3);
  CHECK(subset.label(1) == 1);
  CHECK(subset.original(2) == 3);
  std::vector<float> image(2);
  subset.get(2, {}, image);
  CHECK(image == std::vector<float>{6, 7});
  CHECK_THROWS_AS(subset.get(3, {}, image), ArgumentError);
  CHECK_THROWS_AS(Subset(data, {4}), ArgumentError);
  CHECK_THROWS_AS(Subset(data, {-1}), ArgumentError);
}
