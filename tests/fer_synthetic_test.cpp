#include "fer/synthetic_faces.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "fer/classes.hpp"
#include "fer/png.hpp"
#include "fer/synthetic_export.hpp"

namespace {

using namespace mien;
using namespace mien::fer;

std::vector<std::uint8_t> face(std::uint64_t seed, index_t person, int label, index_t take, float habit = 1.0f) {
  std::vector<std::uint8_t> pixels(face_pixels);
  render_face(seed, person, label, take, pixels, habit);
  return pixels;
}

double difference(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::abs(int{a[i]} - int{b[i]});
  return sum / static_cast<double>(a.size());
}

TEST_CASE("class names: order, synonyms, official counts") {
  CHECK(class_of("angry") == 0);
  CHECK(class_of("ANGER") == 0);
  CHECK(class_of("Disgusted") == 1);
  CHECK(class_of("fearful") == 2);
  CHECK(class_of("happiness") == 3);
  CHECK(class_of("Sadness") == 4);
  CHECK(class_of("surprised") == 5);
  CHECK(class_of("Neutral") == 6);
  CHECK_FALSE(class_of("contempt"));
  CHECK_FALSE(class_of(""));
  CHECK_FALSE(class_of("angryx"));
  for (std::size_t k = 0; k < class_names.size(); ++k) CHECK(class_of(class_names[k]) == static_cast<int>(k));
  const std::array<int, 3> totals = {28709, 3589, 3589};
  for (const Split split : all_splits) {
    int total = 0;
    for (const int count : official_counts(split)) total += count;
    CHECK(total == totals[static_cast<std::size_t>(split)]);
    CHECK(split_of(split_name(split)) == split);
  }
  CHECK(split_of("publictest") == Split::public_test);
  CHECK_FALSE(split_of("test"));
}

TEST_CASE("a synthetic face depends on its numbers alone") {
  const auto a = face(1, 5, 3, 0);
  CHECK(a == face(1, 5, 3, 0));
  // Another seed, person, class, take, habit: another picture, not only other noise.
  CHECK(difference(a, face(2, 5, 3, 0)) > 5.0);
  CHECK(difference(a, face(1, 6, 3, 0)) > 5.0);
  CHECK(difference(a, face(1, 5, 4, 0)) > 5.0);
  CHECK(difference(a, face(1, 5, 3, 1)) > 5.0);
  CHECK(a != face(1, 5, 3, 0, 3.0f));
}

TEST_CASE("synthetic faces are pictures with content") {
  for (index_t person = 0; person < 40; ++person) {
    for (int label = 0; label < class_count; ++label) {
      const auto pixels = face(7, person, label, person % 3);
      double sum = 0.0, squares = 0.0;
      for (const std::uint8_t value : pixels) {
        sum += value;
        squares += static_cast<double>(value) * value;
      }
      const double mean = sum / face_pixels, deviation = std::sqrt(squares / face_pixels - mean * mean);
      CHECK(mean > 15.0);
      CHECK(mean < 240.0);
      CHECK(deviation > 4.0);
    }
  }
}

TEST_CASE("an open mouth is dark: surprise against neutral, the same person") {
  // Independent of how a face is drawn: below the middle a dropped jaw shows a dark hole.
  int darker = 0;
  for (index_t person = 0; person < 60; ++person) {
    const auto darkest = [&](int label) {
      const auto pixels = face(3, person, label, 0);
      double best = 1e9;
      for (std::size_t y = 32; y < 44; ++y) {
        for (std::size_t x = 19; x < 28; ++x) {
          double sum = 0.0;
          for (std::size_t dy = 0; dy < 3; ++dy)
            for (std::size_t dx = 0; dx < 3; ++dx) sum += pixels[(y + dy) * 48 + x + dx];
          best = std::min(best, sum / 9.0);
        }
      }
      return best;
    };
    darker += darkest(5) < darkest(6) - 5.0;
  }
  CHECK(darker > 45);
}

TEST_CASE("SyntheticFaces: order, labels, disjoint persons, any thread count") {
  const SyntheticOptions options{.seed = 4, .first_person = 10, .persons = 6, .takes = 2};
  const SyntheticFaces one(options, Threads(1), 0.5f, 0.25f);
  const SyntheticFaces three(options, Threads(3), 0.5f, 0.25f);
  REQUIRE(one.size() == 6 * 2 * 7);
  CHECK(one.shape() == Shape{48, 48, 1});
  CHECK(one.classes() == 7);
  CHECK(one.faces().synthetic);
  CHECK(one.faces().pixels == three.faces().pixels);
  CHECK(one.faces().names == three.faces().names);
  const ClassCounts expected = {12, 12, 12, 12, 12, 12, 12};
  CHECK(one.faces().counts() == expected);
  CHECK(one.faces().names.front() == "synthetic-10-0");
  CHECK(one.faces().names.back() == "synthetic-15-1");

  std::vector<float> values(face_pixels);
  one.get(17, {}, values);
  const auto bytes = one.faces().image(17);
  CHECK(one.label(17) == 17 % 7);
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(values[i] == doctest::Approx((bytes[i] / 255.0 - 0.5) / 0.25).epsilon(1e-5));
  }
  // A further person appears when there are more, without changing those before.
  const FaceImages more = synthetic_faces({.seed = 4, .first_person = 10, .persons = 7, .takes = 2}, Threads(1));
  CHECK(std::equal(one.faces().pixels.begin(), one.faces().pixels.end(), more.pixels.begin()));
}

TEST_CASE("synthetic faces: bad arguments") {
  std::vector<std::uint8_t> pixels(face_pixels), few(face_pixels - 1);
  CHECK_THROWS_AS(render_face(1, 0, 7, 0, pixels), ArgumentError);
  CHECK_THROWS_AS(render_face(1, 0, -1, 0, pixels), ArgumentError);
  CHECK_THROWS_AS(render_face(1, -1, 0, 0, pixels), ArgumentError);
  CHECK_THROWS_AS(render_face(1, 0, 0, 0, few), ArgumentError);
  CHECK_THROWS_AS(synthetic_faces({.persons = 0}, Threads(1)), ArgumentError);
  CHECK_THROWS_AS(synthetic_faces({.takes = 0}, Threads(1)), ArgumentError);
  CHECK_THROWS_AS(synthetic_faces({.habit = std::numeric_limits<float>::quiet_NaN()}, Threads(1)), ArgumentError);
}

TEST_CASE("png and base64: against values computed by hand and by other programs") {
  CHECK(base64("") == "");
  CHECK(base64("f") == "Zg==");
  CHECK(base64("fo") == "Zm8=");
  CHECK(base64("foo") == "Zm9v");
  CHECK(base64("foob") == "Zm9vYg==");
  CHECK(base64("\xFF\xFE\xFD") == "//79");
  CHECK(fer::detail::png_crc("123456789") == 0xCBF43926U);  // the check value of CRC-32
  const std::vector<std::uint8_t> pixels = {0, 255};
  const std::string png = encode_png(pixels, 2, 1);
  // Signature, IHDR 25 bytes, IDAT 12 + 2 + 5 + 3 + 4, IEND 12.
  CHECK(png.size() == 8 + 25 + 26 + 12);
  CHECK(png.substr(0, 8) == "\x89PNG\r\n\x1a\n");
  CHECK(png.substr(12, 4) == "IHDR");
  // Adler-32 of 00 00 FF: low = 1 + 0 + 0 + 255 = 256, high = 1 + 1 + 256 = 258.
  CHECK(png.substr(8 + 25 + 8 + 10, 4) == std::string("\x01\x02\x01\x00", 4));
  CHECK_THROWS_AS(encode_png(pixels, 3, 1), ArgumentError);
  CHECK_THROWS_AS(encode_png(pixels, 0, 1), ArgumentError);
}

}  // namespace
