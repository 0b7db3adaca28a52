#include "mien/data/augmentation.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

using namespace mien;

namespace {

/// A smooth image that is nowhere symmetrical.
Tensor<float> ramp(index_t height, index_t width, index_t channels = 1) {
  Tensor<float> image(Shape{height, width, channels});
  for (index_t y = 0; y < height; ++y) {
    for (index_t x = 0; x < width; ++x) {
      for (index_t c = 0; c < channels; ++c) {
        image[(y * width + x) * channels + c] =
            0.01f * static_cast<float>(x) + 0.07f * static_cast<float>(y) + 10.0f * static_cast<float>(c);
      }
    }
  }
  return image;
}

Tensor<float> noise(const Shape& shape, std::uint64_t seed = 1) {
  Tensor<float> image(shape);
  const Random random(seed, Stream::user);
  for (index_t i = 0; i < image.size(); ++i) image[i] = random.normal(static_cast<std::uint64_t>(i));
  return image;
}

Tensor<float> augmented(const Tensor<float>& image, const Augmentation& options, const SampleKey& key, index_t sample) {
  options.validate();
  Tensor<float> out(detail::cropped_shape(image.shape(), options.crop));
  std::fill(out.begin(), out.end(), std::nanf(""));
  augment(image, out, options, augmentation_random(key, sample));
  return out;
}

bool equal(const Tensor<float>& a, const Tensor<float>& b) {
  return a.shape() == b.shape() && std::equal(a.begin(), a.end(), b.begin());
}

/// The warp as its description has it, in double, reflection by walking.
double reference_pixel(const Tensor<float>& image, double x, double y, index_t c) {
  const index_t height = image.shape()[0], width = image.shape()[1], channels = image.shape()[2];
  const auto walk = [](index_t i, index_t n) {
    if (n == 1) return index_t{0};
    while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
    return i;
  };
  const auto at = [&](index_t row, index_t column) {
    return static_cast<double>(image[(walk(row, height) * width + walk(column, width)) * channels + c]);
  };
  const double left = std::floor(x), top = std::floor(y);
  const auto column = static_cast<index_t>(left), row = static_cast<index_t>(top);
  const double fx = x - left, fy = y - top;
  return (1 - fy) * ((1 - fx) * at(row, column) + fx * at(row, column + 1)) +
         fy * ((1 - fx) * at(row + 1, column) + fx * at(row + 1, column + 1));
}

}  // namespace

TEST_CASE("No augmentation is a copy, or the centre") {
  const auto image = noise({48, 48, 1});
  CHECK(equal(augmented(image, Augmentation::none(), {1, 2}, 3), image));

  Tensor<float> centre(Shape{44, 44, 1});
  center_crop(image, centre);
  for (index_t y = 0; y < 44; ++y) {
    for (index_t x = 0; x < 44; ++x) CHECK(centre[y * 44 + x] == image[(y + 2) * 48 + x + 2]);
  }
  CHECK(equal(augmented(image, Augmentation::none(44), {1, 2}, 3), centre));
  Tensor<float> odd(Shape{43, 43, 1});  // sharp, too
  center_crop(image, odd);
  CHECK(equal(augmented(image, Augmentation::none(43), {1, 2}, 3), odd));
}

TEST_CASE("Draws depend on seed, epoch and sample, and on nothing else") {
  const auto image = noise({48, 48, 1});
  const auto options = Augmentation::strong();
  const auto first = augmented(image, options, {1, 2}, 3);
  CHECK(first.shape() == Shape{44, 44, 1});
  CHECK(equal(first, augmented(image, options, {1, 2}, 3)));
  CHECK_FALSE(equal(first, augmented(image, options, {2, 2}, 3)));
  CHECK_FALSE(equal(first, augmented(image, options, {1, 3}, 3)));
  CHECK_FALSE(equal(first, augmented(image, options, {1, 2}, 4)));
}

TEST_CASE("Mirroring alone is exact and happens as often as asked") {
  const auto image = noise({5, 7, 3});
  Augmentation options;
  options.flip = 0.5f;
  int mirrored = 0;
  for (index_t sample = 0; sample < 2000; ++sample) {
    const auto out = augmented(image, options, {9, 0}, sample);
    if (equal(out, image)) continue;
    ++mirrored;
    for (index_t y = 0; y < 5; ++y) {
      for (index_t x = 0; x < 7; ++x) {
        for (index_t c = 0; c < 3; ++c) REQUIRE(out[(y * 7 + x) * 3 + c] == image[(y * 7 + 6 - x) * 3 + c]);
      }
    }
  }
  CHECK(mirrored > 900);
  CHECK(mirrored < 1100);
}

TEST_CASE("The warp is what its formula says, borders included") {
  const Random random(5, Stream::user);
  for (std::uint64_t round = 0; round < 60; ++round) {
    const index_t channels = std::vector<index_t>{1, 3, 2}[round % 3];
    const index_t height = round < 4 ? 1 + static_cast<index_t>(round % 2) : 2 + random.below(10 * round, 30);
    const index_t width = round < 4 ? 1 + static_cast<index_t>(round / 2) : 2 + random.below(10 * round + 1, 30);
    const auto image = noise({height, width, channels}, round);
    Tensor<float> out(Shape{1 + random.below(10 * round + 2, 40), 1 + random.below(10 * round + 3, 40), channels});
    std::fill(out.begin(), out.end(), std::nanf(""));
    detail::Affine map{};
    float* const values[] = {&map.x0, &map.xx, &map.xy, &map.y0, &map.yx, &map.yy};
    for (std::uint64_t k = 0; k < 6; ++k) {
      *values[k] = (k % 3 ? 2.0f : 20.0f) * random.uniform(1000 + 10 * round + k, -1.0f, 1.0f);
    }
    if (round % 5 == 0) map = {0.5f, 1.0f, 0.0f, 0.0f, 0.0f, 1.0f};
    if (channels == 1) detail::warp<1>(image, out, map, std::nullopt);
    if (channels == 3) detail::warp<3>(image, out, map, std::nullopt);
    if (channels == 2) detail::warp<0>(image, out, map, std::nullopt);
    for (index_t y = 0; y < out.shape()[0]; ++y) {
      for (index_t x = 0; x < out.shape()[1]; ++x) {
        // Positions as the warp rounds them; near a pixel's edge a last bit decides on which side of it one is, but
        // bilinear values are continuous there.
        const double sx = static_cast<double>(map.x0) + static_cast<double>(map.xx) * static_cast<double>(x) +
                          static_cast<double>(map.xy) * static_cast<double>(y);
        const double sy = static_cast<double>(map.y0) + static_cast<double>(map.yx) * static_cast<double>(x) +
                          static_cast<double>(map.yy) * static_cast<double>(y);
        for (index_t c = 0; c < channels; ++c) {
          REQUIRE(static_cast<double>(out[(y * out.shape()[1] + x) * channels + c]) ==
                  doctest::Approx(reference_pixel(image, sx, sy, c)).epsilon(2e-3));
        }
      }
    }
  }
}

TEST_CASE("Rotation, scale and shift keep to their ranges") {
  // On a ramp the centre and the slopes of the result give the warp away.
  const auto image = ramp(48, 48);
  Augmentation options = Augmentation::strong();
  options.flip = options.jitter_probability = options.erasing_probability = 0.0f;
  const double centre = 0.01 * 23.5 + 0.07 * 23.5;
  double largest_angle = 0, smallest_scale = 9, largest_scale = 0, largest_shift = 0;
  int rotated = 0, scaled = 0;
  constexpr int rounds = 2000;
  for (index_t sample = 0; sample < rounds; ++sample) {
    const auto out = augmented(image, options, {3, 1}, sample);
    const auto at = [&](index_t y, index_t x) { return static_cast<double>(out[y * 44 + x]); };
    // Slopes along the output's axes: (0.01, 0.07) turned and divided by the scale.
    const double along_x = (at(21, 26) - at(21, 16)) / 10, along_y = (at(26, 21) - at(16, 21)) / 10;
    const double scale = std::hypot(0.01, 0.07) / std::hypot(along_x, along_y);
    const double angle = (std::atan2(along_y, along_x) - std::atan2(0.07, 0.01)) * 57.29577951308232;
    const double middle = (at(21, 21) + at(21, 22) + at(22, 21) + at(22, 22)) / 4;
    largest_angle = std::max(largest_angle, std::abs(angle));
    smallest_scale = std::min(smallest_scale, scale);
    largest_scale = std::max(largest_scale, scale);
    largest_shift = std::max(largest_shift, std::abs(middle - centre));
    rotated += std::abs(angle) > 0.01;
    scaled += std::abs(scale - 1) > 1e-3;
  }
  CHECK(largest_angle <= 10.02);
  CHECK(largest_angle > 9.8);
  CHECK(smallest_scale >= 0.849);
  CHECK(smallest_scale < 0.86);
  CHECK(largest_scale <= 1.151);
  CHECK(largest_scale > 1.14);
  CHECK(largest_shift <= 2 * 0.08 + 1e-3);
  CHECK(largest_shift > 2 * 0.08 * 0.9);
  CHECK(rotated > rounds * 0.45);
  CHECK(rotated < rounds * 0.55);
  CHECK(scaled > rounds * 0.45);
  CHECK(scaled < rounds * 0.55);
}

TEST_CASE("Contrast and brightness work on the values as they are") {
  const auto image = noise({8, 8, 1});
  Augmentation options;
  options.contrast = 0.3f;
  options.brightness = 0.2f;
  options.jitter_probability = 0.5f;
  int changed = 0;
  for (index_t sample = 0; sample < 1000; ++sample) {
    const auto out = augmented(image, options, {4, 4}, sample);
    if (equal(out, image)) continue;
    ++changed;
    const float contrast = (out[1] - out[0]) / (image[1] - image[0]);
    const float brightness = out[0] - contrast * image[0];
    REQUIRE(std::abs(contrast - 1.0f) <= 0.3001f);
    REQUIRE(std::abs(brightness) <= 0.2001f);
    for (index_t i = 0; i < 64; ++i) REQUIRE(out[i] == doctest::Approx(contrast * image[i] + brightness).epsilon(1e-4));
  }
  CHECK(changed > 440);
  CHECK(changed < 560);
}

TEST_CASE("Erasing fills one rectangle of the right area with normal noise") {
  const auto image = ramp(44, 44);
  Augmentation options;
  options.erasing_probability = 0.5f;
  int erased = 0;
  double smallest = 1, largest = 0, sum = 0, squares = 0, values = 0;
  for (index_t sample = 0; sample < 1500; ++sample) {
    const auto out = augmented(image, options, {5, 0}, sample);
    index_t top = 44, bottom = -1, left = 44, right = -1, count = 0;
    for (index_t y = 0; y < 44; ++y) {
      for (index_t x = 0; x < 44; ++x) {
        if (out[y * 44 + x] == image[y * 44 + x]) continue;
        ++count;
        top = std::min(top, y);
        bottom = std::max(bottom, y);
        left = std::min(left, x);
        right = std::max(right, x);
        sum += static_cast<double>(out[y * 44 + x]);
        squares += std::pow(static_cast<double>(out[y * 44 + x]), 2);
        values += 1;
      }
    }
    if (count == 0) continue;
    ++erased;
    REQUIRE(count == (bottom - top + 1) * (right - left + 1));
    const double area = static_cast<double>(count) / (44.0 * 44.0);
    const double aspect = static_cast<double>(bottom - top + 1) / static_cast<double>(right - left + 1);
    smallest = std::min(smallest, area);
    largest = std::max(largest, area);
    REQUIRE(aspect > 0.2);
    REQUIRE(aspect < 5.0);
  }
  CHECK(erased > 680);
  CHECK(erased < 820);
  CHECK(smallest > 0.015);
  CHECK(smallest < 0.03);
  CHECK(largest < 0.215);
  CHECK(largest > 0.18);
  CHECK(sum / values == doctest::Approx(0.0).epsilon(0.02));
  CHECK(squares / values == doctest::Approx(1.0).epsilon(0.02));
}

TEST_CASE("Ten crops: corners and centre, then mirrored") {
  const auto image = noise({6, 8, 1});
  const index_t tops[] = {0, 0, 2, 2, 1}, lefts[] = {0, 3, 0, 3, 1};
  for (int which = 0; which < 10; ++which) {
    Tensor<float> out(Shape{4, 5, 1});
    ten_crop(image, which, out);
    for (index_t y = 0; y < 4; ++y) {
      for (index_t x = 0; x < 5; ++x) {
        const index_t column = which < 5 ? x : 4 - x;
        REQUIRE(out[y * 5 + x] == image[(tops[which % 5] + y) * 8 + lefts[which % 5] + column]);
      }
    }
  }
  Tensor<float> out(Shape{4, 5, 1}), large(Shape{7, 5, 1});
  CHECK_THROWS_AS(ten_crop(image, 10, out), ArgumentError);
  CHECK_THROWS_AS(ten_crop(image, -1, out), ArgumentError);
  CHECK_THROWS_AS(ten_crop(image, 0, large), ShapeError);
}

TEST_CASE("Decorators for training and evaluation") {
  const TensorDataset data(noise({3, 48, 48, 1}), {0, 1, 2}, 3);
  const Augmented training(data, Augmentation::strong());
  const Cropped centre(data, 44), corner(data, 44, 8);
  CHECK(training.shape() == Shape{44, 44, 1});
  CHECK(training.size() == 3);
  CHECK(training.classes() == 3);
  CHECK(training.label(2) == 2);
  std::vector<float> a(44 * 44), b(44 * 44), small(4);
  training.get(1, {1, 1}, a);
  training.get(1, {1, 1}, b);
  CHECK(a == b);
  training.get(1, {1, 2}, b);
  CHECK(a != b);
  training.get(2, {1, 1}, b);
  CHECK(a != b);
  CHECK_THROWS_AS(training.get(3, {}, a), ArgumentError);
  CHECK_THROWS_AS(training.get(0, {}, small), ShapeError);

  centre.get(0, {1, 1}, a);
  CHECK(a[0] == data.images()[2 * 48 + 2]);
  corner.get(0, {1, 1}, a);
  CHECK(a[0] == data.images()[4 * 48 + 47]);
  CHECK_THROWS_AS(Augmented(data, Augmentation::light(49)), ShapeError);
  CHECK_THROWS_AS(Cropped(data, 49), ShapeError);
  CHECK_THROWS_AS(Cropped(data, 44, 10), ArgumentError);
}

TEST_CASE("Options out of range are refused by name") {
  const auto refused = [](auto change) {
    Augmentation options = Augmentation::strong();
    options.validate();
    change(options);
    CHECK_THROWS_AS(options.validate(), ArgumentError);
  };
  refused([](Augmentation& o) { o.flip = 1.5f; });
  refused([](Augmentation& o) { o.flip = std::nanf(""); });
  refused([](Augmentation& o) { o.rotation = -1.0f; });
  refused([](Augmentation& o) { o.scale_low = 0.0f; });
  refused([](Augmentation& o) { o.scale_low = 2.0f; });
  refused([](Augmentation& o) { o.shift = std::nanf(""); });
  refused([](Augmentation& o) { o.erasing_area_high = 1.5f; });
  refused([](Augmentation& o) { o.erasing_aspect_low = 0.0f; });
  refused([](Augmentation& o) { o.crop = -1; });
  try {
    Augmentation options;
    options.jitter_probability = 2.0f;
    options.validate();
  } catch (const ArgumentError& error) {
    CHECK(std::string(error.what()).find("jitter_probability") != std::string::npos);
  }
}

TEST_CASE("Extreme but valid options stay inside the image") {
  // Run under the sanitizers, this is about reads; in any case no value is left unset.
  const Random random(11, Stream::user);
  for (std::uint64_t round = 0; round < 200; ++round) {
    const auto image = noise({1 + random.below(5 * round, 20), 1 + random.below(5 * round + 1, 20), 1}, round);
    Augmentation options;
    options.flip = 0.5f;
    options.rotation = 360.0f;
    options.rotation_probability = 1.0f;
    options.scale_low = 0.01f;
    options.scale_high = 100.0f;
    options.scale_probability = 1.0f;
    options.shift = round % 2 ? 1e4f : 3.0f;
    options.erasing_probability = 1.0f;
    options.erasing_area_high = 1.0f;
    options.erasing_aspect_low = 1e-3f;
    options.erasing_aspect_high = 1e3f;
    const auto out = augmented(image, options, {1, round}, 0);
    for (const float value : out) REQUIRE(std::isfinite(value));
  }
}

TEST_CASE("What lies outside is `fill`, as if the image had a margin of it") {
  for (std::uint64_t round = 0; round < 50; ++round) {
    const auto image = noise({17, 12, 1}, round);
    const index_t margin = 30;
    Tensor<float> framed({17 + 2 * margin, 12 + 2 * margin, 1});
    for (float& value : framed) value = -1.5f;
    for (index_t row = 0; row < 17; ++row)
      for (index_t column = 0; column < 12; ++column)
        framed[(row + margin) * (12 + 2 * margin) + column + margin] = image[row * 12 + column];
    Augmentation options;
    options.flip = 0.5f;
    options.rotation = 180.0f;
    options.rotation_probability = 1.0f;
    options.scale_low = 0.7f;
    options.scale_probability = 1.0f;
    options.shift = 6.0f;
    const Random random(round, Stream::augment);
    Tensor<float> expected({17, 12, 1}), filled({17, 12, 1});
    augment(framed.view(), expected.view(), options, random);
    options.fill = -1.5f;
    options.validate();
    augment(image.view(), filled.view(), options, random);
    for (index_t i = 0; i < filled.size(); ++i) CHECK(filled[i] == doctest::Approx(expected[i]).epsilon(1e-4));
  }
}
