// The detector: options, regions, colour, threads, reuse, and what it refuses.
#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cascade/xml.hpp"
#include "cascade_cases.hpp"

using namespace mien::cascade;
using mien::ArgumentError;
using mien::index_t;
using mien::Isa;
using mien::Threads;

namespace {

using cascade_cases::CascadeWriter;
using cascade_cases::Draw;
using cascade_cases::Kind;

bool same(const std::vector<Detection>& a, const std::vector<Detection>& b) {
  return a.size() == b.size() && cascade_cases::digest(a) == cascade_cases::digest(b);
}

/// A cascade of `kind` that finds something in `picture`.
Cascade useful_cascade(Kind kind, const ImageView& image) {
  for (std::uint64_t seed = 0;; ++seed) {
    Cascade cascade = parse_cascade(CascadeWriter(kind, seed).write());
    const std::size_t found = detect(cascade, image, {.min_neighbors = 0}).size();
    if (found > 20 && found < 20000) return cascade;
  }
}

/// A cascade of four stages of trees of up to `largest` nodes, hung together at random; with `shared`, two nodes may
/// have the same child.
Cascade tree_cascade(Draw& draw, int largest, bool shared) {
  CascadeData data;
  data.window = {16, 14};
  const auto add_feature = [&] {
    HaarFeature feature;
    feature.tilted = draw.whole(0, 3) == 0;
    const int w = draw.whole(1, 3), h = draw.whole(1, 3);
    const int x = draw.whole(feature.tilted ? h : 0, 16 - 2 * w), y = draw.whole(0, 14 - 2 * w - h);
    feature.rects = {Rect{x, y, 2 * w, h}, Rect{x, y, w, h}};
    feature.weights = {-1.0F, 2.0F};
    data.haar.push_back(feature);
    return static_cast<std::int32_t>(data.haar.size()) - 1;
  };
  for (int s = 0; s < 4; ++s) {
    const auto first_tree = static_cast<std::int32_t>(data.trees.size());
    const int trees = draw.whole(1, 4);
    for (int t = 0; t < trees; ++t) {
      const auto first_node = static_cast<std::int32_t>(data.nodes.size());
      const int nodes = draw.whole(1, largest);
      data.trees.push_back({first_node, nodes, static_cast<std::int32_t>(data.leaves.size())});
      std::vector<std::int32_t*> ends;  // where a child may be hung
      data.nodes.resize(data.nodes.size() + static_cast<std::size_t>(nodes));
      for (std::int32_t n = 0; n < nodes; ++n) {
        Node& node = data.nodes[static_cast<std::size_t>(first_node + n)];
        node.feature = add_feature();
        node.threshold = static_cast<float>(draw.real(-0.02, 0.02));
        if (n > 0) {
          const auto chosen = static_cast<std::size_t>(draw.whole(0, static_cast<int>(ends.size()) - 1));
          *ends[chosen] = n;
          if (!shared || draw.whole(0, 1) == 0) ends.erase(ends.begin() + static_cast<std::ptrdiff_t>(chosen));
          if (shared) *ends[static_cast<std::size_t>(draw.whole(0, static_cast<int>(ends.size()) - 1))] = n;
        }
        ends.push_back(&node.left);
        ends.push_back(&node.right);
      }
      std::int32_t leaf = 0;
      for (std::int32_t n = 0; n < nodes; ++n) {
        Node& node = data.nodes[static_cast<std::size_t>(first_node + n)];
        for (std::int32_t* child : {&node.left, &node.right}) {
          if (*child == 0) *child = leaf > -nodes ? leaf-- : leaf;
        }
      }
      for (int n = 0; n <= nodes; ++n) data.leaves.push_back(static_cast<float>(draw.real(-1.0, 1.0)));
    }
    data.stages.push_back({first_tree, trees, static_cast<float>(draw.real(-0.6, -0.2)) * static_cast<float>(trees)});
  }
  return Cascade(std::move(data));
}

}  // namespace

TEST_CASE("trees of any shape are evaluated alike") {
  Draw draw(9);
  const cascade_cases::Picture picture = cascade_cases::draw_picture(draw, 203, 151);
  std::size_t found = 0;
  for (int round = 0; round < 60; ++round) {
    const bool shared = round % 3 == 2;
    const Cascade cascade = tree_cascade(draw, round % 2 == 0 ? 4 : 40, shared);
    CAPTURE(round);
    const Options options{.scale_factor = 1.3, .min_neighbors = 0};
    const std::vector<Detection> expected = Detector(cascade, Isa::portable).detect(picture.view(), options);
    found += expected.size();
    for (const Isa isa : {Isa::avx2, Isa::avx512}) {
      CHECK(same(Detector(cascade, isa).detect(picture.view(), options), expected));
    }
  }
  CHECK(found > 10000);
}

TEST_CASE("threads and instruction sets change nothing") {
  Draw draw(5);
  const cascade_cases::Picture picture = cascade_cases::draw_picture(draw, 331, 247);
  const Threads two(2), five(5);
  for (int kind = 0; kind < cascade_cases::kinds; ++kind) {
    CAPTURE(cascade_cases::kind_names[kind]);
    const Cascade cascade = useful_cascade(static_cast<Kind>(kind), picture.view());
    for (const int min_neighbors : {0, 2}) {
      Options options;
      options.min_neighbors = min_neighbors;
      const std::vector<Detection> expected = Detector(cascade, Isa::portable).detect(picture.view(), options);
      for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
        Detector detector(cascade, isa);
        for (const Threads* threads : {static_cast<const Threads*>(nullptr), &two, &five}) {
          options.threads = threads;
          CHECK(same(detector.detect(picture.view(), options), expected));
        }
      }
    }
  }
}

TEST_CASE("a detector used again gives the same, whatever it saw in between") {
  Draw draw(6);
  const cascade_cases::Picture large = cascade_cases::draw_picture(draw, 260, 200);
  const cascade_cases::Picture small = cascade_cases::draw_picture(draw, 70, 90);
  const Cascade cascade = useful_cascade(Kind::tilted, large.view());
  Detector detector(cascade);
  Options options;
  options.min_neighbors = 1;
  const std::vector<Detection> first = detector.detect(large.view(), options);
  const std::vector<Detection> second = detector.detect(small.view(), options);
  CHECK(same(detector.detect(large.view(), options), first));
  options.scale_factor = 1.4;
  detector.detect(large.view(), options);
  options.scale_factor = 1.1;
  CHECK(same(detector.detect(small.view(), options), second));
  CHECK(same(detector.detect(large.view(), options), first));
}

TEST_CASE("several threads share a cascade, each with its detector") {
  Draw draw(7);
  const cascade_cases::Picture picture = cascade_cases::draw_picture(draw, 160, 120);
  const Cascade cascade = useful_cascade(Kind::stumps, picture.view());
  const std::vector<Detection> expected = detect(cascade, picture.view());
  std::vector<int> good(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      Detector detector(cascade);
      for (int round = 0; round < 5; ++round) good[i] += same(detector.detect(picture.view()), expected);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int rounds : good) CHECK(rounds == 5);
}

TEST_CASE("a region is the picture cut out of the picture") {
  Draw draw(8);
  const cascade_cases::Picture picture = cascade_cases::draw_picture(draw, 300, 200);
  const Cascade cascade = useful_cascade(Kind::lbp, picture.view());
  Options options;
  options.min_neighbors = 0;
  options.region = {31, 17, 201, 150};
  const std::vector<Detection> found = detect(cascade, picture.view(), options);
  const ImageView cut = picture.view().crop(options.region);
  options.region = {};
  std::vector<Detection> expected = detect(cascade, cut, options);
  REQUIRE(!expected.empty());
  for (Detection& one : expected) one.box.x += 31, one.box.y += 17;
  CHECK(same(found, expected));
  for (const Rect& bad : {Rect{-1, 0, 10, 10}, Rect{0, 0, 301, 10}, Rect{295, 0, 10, 10}, Rect{0, 0, 10, -1},
                          Rect{0, 2147483647, 10, 10}, Rect{0, 0, 10, 2147483647}}) {
    options.region = bad;
    CHECK_THROWS_AS(detect(cascade, picture.view(), options), ArgumentError);
  }
}

TEST_CASE("colour is searched as its gray") {
  Draw draw(9);
  const cascade_cases::Picture picture = cascade_cases::draw_picture(draw, 150, 110);
  const Cascade cascade = useful_cascade(Kind::stumps, picture.view());
  for (const PixelFormat format : {PixelFormat::rgb, PixelFormat::bgr, PixelFormat::rgba, PixelFormat::bgra}) {
    const int bytes = bytes_per_pixel(format);
    const index_t stride = 150 * bytes + 13;
    std::vector<std::uint8_t> colour(static_cast<std::size_t>(stride) * 110);
    for (std::uint8_t& value : colour) value = static_cast<std::uint8_t>(draw.whole(0, 255));
    const ImageView view{colour.data(), 150, 110, stride, format};
    std::vector<std::uint8_t> gray(150 * 110);
    to_gray(view, gray.data(), 150);
    Options options;
    options.min_neighbors = 0;
    CHECK(same(detect(cascade, view, options),
               detect(cascade, {gray.data(), 150, 110, 150, PixelFormat::gray}, options)));
  }
}

TEST_CASE("every group comes from more candidates than the limit") {
  Draw draw(10);
  const cascade_cases::Picture picture = cascade_cases::draw_picture(draw, 200, 160);
  const Cascade cascade = useful_cascade(Kind::stumps, picture.view());
  Options options;
  options.min_neighbors = 0;
  const std::vector<Detection> candidates = detect(cascade, picture.view(), options);
  for (const Detection& one : candidates) {
    CHECK(one.neighbors == 1);
    CHECK(one.level == static_cast<int>(cascade.stages().size()));
    CHECK(one.weight >= static_cast<double>(cascade.stages().back().threshold));
    CHECK(one.box.x + one.box.width <= 200);
    CHECK(one.box.y + one.box.height <= 160);
  }
  for (options.min_neighbors = 1; options.min_neighbors < 6; ++options.min_neighbors) {
    for (const Detection& one : detect(cascade, picture.view(), options)) {
      CHECK(one.neighbors > options.min_neighbors);
    }
  }
  options.min_neighbors = std::numeric_limits<int>::max();
  CHECK(detect(cascade, picture.view(), options).empty());
  options.min_neighbors = -5;
  CHECK(same(detect(cascade, picture.view(), options), candidates));
}

TEST_CASE("what the detector refuses, and what it takes") {
  const Cascade cascade = parse_cascade(CascadeWriter(Kind::stumps, 1).write());
  std::vector<std::uint8_t> pixels(100 * 100);
  const ImageView image{pixels.data(), 100, 100, 100, PixelFormat::gray};
  const auto refused = [&](const ImageView& view, const Options& options) {
    CHECK_THROWS_AS(detect(cascade, view, options), ArgumentError);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (const double factor : {1.0, 0.5, 0.0, -2.0, nan, infinity, 1.0 + 1e-15})
    refused(image, {.scale_factor = factor});
  refused(image, {.min_size = {-1, 0}});
  refused(image, {.max_size = {0, -1}});
  refused({nullptr, 100, 100, 100, PixelFormat::gray}, {});
  refused({pixels.data(), 100, 100, 99, PixelFormat::gray}, {});
  refused({pixels.data(), 100, 100, 299, PixelFormat::rgb}, {});
  refused({pixels.data(), -1, 100, 100, PixelFormat::gray}, {});
  refused({pixels.data(), 100, 40000, 100, PixelFormat::gray}, {});
  CHECK(detect(cascade, {nullptr, 0, 0, 0, PixelFormat::gray}).empty());
  CHECK(detect(cascade, {pixels.data(), 1, 1, 1, PixelFormat::gray}).empty());
  CHECK_NOTHROW(detect(cascade, image, {.scale_factor = 1e6}));
  CHECK_NOTHROW(detect(cascade, image, {.min_size = {2147483647, 2147483647}}));
}
