// draw_cascade: shows how a cascade sees a photograph. It made the pictures of docs/cascade.md.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "cascade/detector.hpp"
#include "fer/detection.hpp"
#include "fer/pictures.hpp"
#include "fer/program.hpp"
#include "mien/data/resize.hpp"
#include "mien/io/atomic_file.hpp"
#include "photo/canvas.hpp"
#include "photo/photo.hpp"
#include "photo/write.hpp"

using namespace mien;

namespace {

struct Settings {
  fer::DetectionOptions detection;
  std::string image, features, scan;
  index_t side = 400;
};

/// The first `stages` stages of a cascade.
cascade::Cascade first_stages(const cascade::Cascade& whole, std::size_t stages) {
  cascade::CascadeData data;
  data.kind = whole.kind();
  data.window = whole.window();
  data.haar.assign(whole.haar_features().begin(), whole.haar_features().end());
  data.lbp.assign(whole.lbp_features().begin(), whole.lbp_features().end());
  const auto take = [](const auto& from, std::size_t count, auto& to) {
    to.assign(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
  };
  take(whole.stages(), stages, data.stages);
  const cascade::Stage& last = data.stages.back();
  take(whole.trees(), static_cast<std::size_t>(last.first_tree + last.trees), data.trees);
  const cascade::Tree& tree = data.trees.back();
  take(whole.nodes(), static_cast<std::size_t>(tree.first_node + tree.nodes), data.nodes);
  take(whole.leaves(), static_cast<std::size_t>(tree.first_leaf + tree.nodes + 1), data.leaves);
  return cascade::Cascade(std::move(data));
}

std::vector<cascade::Detection> detect(const cascade::Cascade& cascade, const Image& gray,
                                       const cascade::Options& options) {
  const auto width = static_cast<int>(gray.width), height = static_cast<int>(gray.height);
  return cascade::detect(cascade, {gray.pixels.data(), width, height, width, cascade::PixelFormat::gray}, options);
}

/// Whether pixel (x, y) of the window lies in a rectangle; of a tilted one the corners stand at (x, y), `width`
/// diagonal steps to the lower right of it, `height` to the lower left, and both.
bool covers(const cascade::Rect& r, bool tilted, int x, int y) {
  if (!tilted) return x >= r.x && x < r.x + r.width && y >= r.y && y < r.y + r.height;
  const int along = (x - r.x) + (y - r.y), down = (y - r.y) - (x - r.x);
  return along >= 0 && along < 2 * r.width && down >= 0 && down < 2 * r.height;
}

/// The first ten Haar features that are asked for, on the window of the largest face: what is added in white, what is
/// subtracted in black.
Image draw_features(const cascade::Cascade& cascade, const Image& gray, const cascade::Options& options) {
  if (cascade.kind() != cascade::FeatureKind::haar) fail<ArgumentError>("--features needs a cascade of Haar features");
  const auto found = detect(cascade, gray, options);
  if (found.empty()) fail<ArgumentError>("nothing found in the picture to show features on");
  const cascade::Rect face = std::max_element(found.begin(), found.end(), [](const auto& a, const auto& b) {
                               return a.box.width < b.box.width;
                             })->box;
  constexpr index_t zoom = 4, gap = 6, across = 5;
  const index_t tile_width = cascade.window().width * zoom, tile_height = cascade.window().height * zoom;
  const index_t count = std::min<index_t>(10, static_cast<index_t>(cascade.nodes().size()));
  const index_t rows = (count + across - 1) / across;
  Image picture{across * (tile_width + gap) - gap, rows * (tile_height + gap) - gap, 3, {}};
  picture.pixels.assign(static_cast<std::size_t>(picture.width * picture.height * 3), 255);
  const Image window = crop_resize(gray, {face.x, face.y, face.width, face.height}, tile_width, tile_height);
  photo::Canvas canvas(picture);
  for (index_t i = 0; i < count; ++i) {
    const index_t left = i % across * (tile_width + gap), top = i / across * (tile_height + gap);
    const auto feature = static_cast<std::size_t>(cascade.nodes()[static_cast<std::size_t>(i)].feature);
    const cascade::HaarFeature& haar = cascade.haar_features()[feature];
    for (index_t y = 0; y < tile_height; ++y) {
      for (index_t x = 0; x < tile_width; ++x) {
        const std::uint8_t value = window.pixels[static_cast<std::size_t>(y * tile_width + x)];
        canvas.fill({left + x, top + y, 1, 1}, {value, value, value});
      }
    }
    for (int y = 0; y < cascade.window().height; ++y) {
      for (int x = 0; x < cascade.window().width; ++x) {
        float weight = 0;
        bool inside = false;
        for (std::size_t k = 0; k < 3; ++k) {
          if (haar.weights[k] == 0.0f || !covers(haar.rects[k], haar.tilted, x, y)) continue;
          inside = true;
          weight += haar.weights[k];
        }
        if (!inside || weight == 0.0f) continue;
        const photo::Colour colour = weight > 0 ? photo::Colour{255, 255, 255} : photo::Colour{0, 0, 0};
        canvas.fill({left + x * zoom, top + y * zoom, zoom, zoom}, colour, 200);
      }
    }
  }
  return picture;
}

/// The windows of one scale, each as a dot in its middle: the colour says how many stages it passed.
Image draw_scan(const cascade::Cascade& cascade, const Image& gray, cascade::Options options, index_t side) {
  const auto found = detect(cascade, gray, options);
  // The scale at which most windows agreed on a face, or the smallest one.
  cascade::Size size = cascade.window();
  if (!found.empty()) size = {found[0].box.width, found[0].box.height};
  options.min_size = options.max_size = size;
  options.min_neighbors = 0;
  const index_t longer = std::max(gray.width, gray.height);
  const double zoom = static_cast<double>(side) / static_cast<double>(longer);
  const auto zoomed = [&](double value) { return static_cast<index_t>(std::lround(value * zoom)); };
  const Image large = resize(gray, std::max<index_t>(1, zoomed(static_cast<double>(gray.width))),
                             std::max<index_t>(1, zoomed(static_cast<double>(gray.height))));
  Image picture = with_channels(large, 3);
  photo::Canvas canvas(picture);
  canvas.fill({0, 0, picture.width, picture.height}, {255, 255, 255}, 110);

  constexpr photo::Colour colours[] = {{120, 170, 255}, {60, 200, 200}, {90, 200, 70},
                                       {250, 190, 40},  {250, 110, 40}, {220, 20, 30}};
  const std::size_t stages = cascade.stages().size();
  std::vector<std::size_t> depths;
  for (const std::size_t depth :
       {std::size_t{1}, std::size_t{2}, std::size_t{4}, std::size_t{8}, std::size_t{16}, stages}) {
    if (depth <= stages && (depths.empty() || depth > depths.back())) depths.push_back(depth);
  }
  index_t x = 4;
  for (std::size_t i = 0; i < depths.size(); ++i) {
    const photo::Colour colour = depths[i] == stages ? colours[5] : colours[i];
    const auto passed = detect(first_stages(cascade, depths[i]), gray, options);
    for (const cascade::Detection& one : passed) {
      const double scale = static_cast<double>(one.box.width) / cascade.window().width;
      const index_t dot = std::max<index_t>(1, zoomed(scale * (scale >= 2 ? 1 : 2)) - 1);
      canvas.fill({zoomed(one.box.x + one.box.width / 2.0) - dot / 2,
                   zoomed(one.box.y + one.box.height / 2.0) - dot / 2, dot, dot},
                  colour);
    }
    std::printf("%2zu stages: %zu windows pass\n", depths[i], passed.size());
    const std::string text = std::to_string(depths[i]) + (depths[i] == stages ? " all" : "");
    canvas.fill({x - 4, picture.height - 24, photo::Canvas::text_width(text, 2) + 24, 24}, {20, 20, 20});
    canvas.fill({x, picture.height - 19, 12, 12}, colour);
    canvas.text(x + 16, picture.height - 20, text, 2, {255, 255, 255});
    x += photo::Canvas::text_width(text, 2) + 24;
  }
  for (const cascade::Detection& one : found) {
    canvas.frame({zoomed(one.box.x), zoomed(one.box.y), zoomed(one.box.width), zoomed(one.box.height)}, 2, colours[5]);
  }
  return picture;
}

int run(const Settings& s) {
  if (s.features.empty() && s.scan.empty()) fail<ArgumentError>("nothing to draw: --features or --scan names a PNG");
  for (const std::string& out : {s.features, s.scan}) {
    if (!out.empty()) fer::check_drawing(out, s.image);
  }
  const cascade::Cascade cascade = s.detection.load();
  const Threads threads(1);
  const cascade::Options options = s.detection.for_detector(threads);
  const Image gray = photo::decode_photo(read_file(s.image, photo::PhotoLimits().file_bytes), 1);
  if (!s.features.empty()) photo::write_png(s.features, draw_features(cascade, gray, options));
  if (!s.scan.empty()) photo::write_png(s.scan, draw_scan(cascade, gray, options, s.side));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  CLI::App app{"Draws what a cascade looks at in a photograph.", "draw_cascade"};
  app.add_option("image", s.image, "Photograph")->required();
  s.detection.add_to(app);
  app.add_option("--features", s.features, "PNG to write: the first ten features, on the face that is found")
      ->check(fer::not_empty());
  app.add_option("--scan", s.scan, "PNG to write: how far the windows of the face's scale come")
      ->check(fer::not_empty());
  app.add_option("--side", s.side, "Longer side of the picture of the scan")
      ->check(CLI::Range(50, 4000))
      ->capture_default_str();
  return fer::run_program(app, argc, argv, [&] { return run(s); });
}
