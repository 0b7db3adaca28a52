// detect_faces: finds faces (or what else a cascade was trained for) in photographs.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "cascade/detector.hpp"
#include "cascade/xml.hpp"
#include "fer/png.hpp"
#include "mien/core/threads.hpp"
#include "mien/data/image.hpp"
#include "mien/io/atomic_file.hpp"
#include "mien/io/json.hpp"

using namespace mien;

namespace {

constexpr const char* default_cascade = "/usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml";

struct Settings {
  std::string cascade = default_cascade;
  std::vector<std::string> images;
  double scale_factor = 1.1;
  int min_neighbors = 3, min_size = 0, max_size = 0, threads = 1;
  bool json = false;
  std::string draw;
};

/// A frame of two pixels, white in black, so that it shows on any ground.
void draw_frame(Image& gray, const cascade::Rect& box) {
  for (int inset = 0; inset < 4; ++inset) {
    const std::uint8_t value = inset == 0 || inset == 3 ? 0 : 255;
    const index_t left = box.x + inset, top = box.y + inset;
    const index_t right = box.x + box.width - 1 - inset, bottom = box.y + box.height - 1 - inset;
    for (index_t x = left; x <= right; ++x) {
      gray.pixels[static_cast<std::size_t>(top * gray.width + x)] = value;
      gray.pixels[static_cast<std::size_t>(bottom * gray.width + x)] = value;
    }
    for (index_t y = top; y <= bottom; ++y) {
      gray.pixels[static_cast<std::size_t>(y * gray.width + left)] = value;
      gray.pixels[static_cast<std::size_t>(y * gray.width + right)] = value;
    }
  }
}

Json describe(const cascade::Detection& one) {
  return Json::object({{"x", one.box.x},
                       {"y", one.box.y},
                       {"w", one.box.width},
                       {"h", one.box.height},
                       {"neighbors", one.neighbors},
                       {"level", one.level},
                       {"weight", one.weight}});
}

/// Searches one file, prints what is found or adds it to `list`. Throws what reading and decoding throw.
void search(const Settings& s, const std::string& file, cascade::Detector& detector, const cascade::Options& options,
            Json& list) {
  Image gray = decode_image(read_file(file, ImageLimits().file_bytes), 1);
  const auto width = static_cast<int>(gray.width), height = static_cast<int>(gray.height);
  const auto start = std::chrono::steady_clock::now();
  const std::vector<cascade::Detection>& found =
      detector.detect({gray.pixels.data(), width, height, width, cascade::PixelFormat::gray}, options);
  const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
  if (s.json) {
    std::vector<Json> detections;
    for (const cascade::Detection& one : found) detections.push_back(describe(one));
    list.push_back(Json::object({{"file", file},
                                 {"width", width},
                                 {"height", height},
                                 {"detections", Json::array(std::move(detections))},
                                 {"milliseconds", elapsed.count()}}));
  } else {
    std::printf("%s: %zu found in %.1f ms\n", file.c_str(), found.size(), elapsed.count());
    for (const cascade::Detection& one : found) {
      std::printf("  x %d, y %d, %dx%d, %d neighbours, weight %.2f\n", one.box.x, one.box.y, one.box.width,
                  one.box.height, one.neighbors, one.weight);
    }
  }
  if (s.draw.empty()) return;
  for (const cascade::Detection& one : found) {
    if (one.box.width >= 8 && one.box.height >= 8) draw_frame(gray, one.box);
  }
  const std::string png = fer::encode_png(gray.pixels, gray.width, gray.height);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(png));
  write_file_atomically(s.draw, std::span(&bytes, 1));
}

int run(const Settings& s) {
  if (!s.draw.empty() && s.images.size() != 1) fail<ArgumentError>("--draw takes one image");
  const cascade::Cascade cascade = cascade::load_cascade(s.cascade);
  const Threads threads(s.threads);
  cascade::Detector detector(cascade);
  cascade::Options options;
  options.scale_factor = s.scale_factor;
  options.min_neighbors = s.min_neighbors;
  options.min_size = {s.min_size, s.min_size};
  options.max_size = {s.max_size, s.max_size};
  options.threads = &threads;
  Json list = Json::array();
  std::vector<std::string> broken;
  for (const std::string& file : s.images) {
    // One picture that cannot be read does not stop the rest.
    try {
      search(s, file, detector, options, list);
    } catch (const FormatError& error) {
      broken.push_back(file + ": " + error.what());
    } catch (const FileError& error) {
      broken.push_back(error.what());
    }
  }
  if (s.json) std::printf("%s\n", Json::object({{"images", std::move(list)}}).write().c_str());
  std::fflush(stdout);
  for (const std::string& line : broken) std::fprintf(stderr, "detect_faces: %s\n", line.c_str());
  return broken.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  CLI::App app{"Finds faces in photographs (JPEG, PNG), with OpenCV's cascades and OpenCV's results.", "detect_faces"};
  app.add_option("--cascade", s.cascade, "Cascade, an XML file of OpenCV's")->capture_default_str();
  app.add_option("images", s.images, "Photographs")->required();
  app.add_option("--scale-factor", s.scale_factor, "Ratio of neighbouring scales, above 1")->capture_default_str();
  app.add_option("--min-neighbors", s.min_neighbors,
                 "Overlapping windows that a face needs beside the first; 0: list all")
      ->capture_default_str();
  app.add_option("--min-size", s.min_size, "Smallest face in pixels; 0: the cascade's window")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--max-size", s.max_size, "Largest face in pixels; 0: the picture")->check(CLI::Range(0, 1 << 20));
  app.add_option("--threads", s.threads, "Number of threads; 0 is one per core")->check(CLI::Range(0, 1024));
  app.add_flag("--json", s.json, "Print one JSON object");
  app.add_option("--draw", s.draw, "Write the picture in gray with the faces framed, as PNG");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "detect_faces: %s (see --help)\n", error.what());
    return 2;
  }
  try {
    return run(s);
  } catch (const FileError& error) {
    const bool missing = s.cascade == default_cascade;
    std::fprintf(stderr, "detect_faces: %s%s\n", error.what(),
                 missing ? " (Debian: opencv-data has it; --cascade names another)" : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "detect_faces: %s\n", error.what());
  }
  return 2;
}
