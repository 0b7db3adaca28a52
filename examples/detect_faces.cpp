// detect_faces: finds faces (or what else a cascade was trained for) in photographs.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "cascade/detector.hpp"
#include "fer/detection.hpp"
#include "fer/draw_faces.hpp"
#include "fer/pictures.hpp"
#include "fer/program.hpp"
#include "mien/core/threads.hpp"
#include "mien/io/atomic_file.hpp"
#include "mien/io/json.hpp"
#include "photo/photo.hpp"
#include "photo/write.hpp"

using namespace mien;

namespace {

struct Settings {
  fer::DetectionOptions detection;
  std::vector<std::string> images;
  int threads = 1;
  bool json = false;
  std::string draw;
};

Json describe(const cascade::Detection& one) {
  return Json::object({{"x", one.box.x},
                       {"y", one.box.y},
                       {"w", one.box.width},
                       {"h", one.box.height},
                       {"neighbors", one.neighbors},
                       {"level", one.level},
                       {"weight", one.weight}});
}

/// Searches one picture, prints what is found or adds it to `list`, and returns it with what is to be drawn into it.
/// Throws what reading and decoding throw.
std::pair<Image, std::vector<fer::DrawnFace>> search(const Settings& s, const std::string& file,
                                                     cascade::Detector& detector, const cascade::Options& options,
                                                     Json& list) {
  Image image = photo::decode_photo(read_file(file, photo::PhotoLimits().file_bytes), s.draw.empty() ? 1 : 3);
  const auto width = static_cast<int>(image.width), height = static_cast<int>(image.height);
  const auto format = image.channels == 1 ? cascade::PixelFormat::gray : cascade::PixelFormat::rgb;
  const auto start = std::chrono::steady_clock::now();
  const std::vector<cascade::Detection>& found =
      detector.detect({image.pixels.data(), width, height, image.width * image.channels, format}, options);
  const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
  if (s.json) {
    std::vector<Json> detections;
    detections.reserve(found.size());
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
  std::vector<fer::DrawnFace> faces;
  faces.reserve(found.size());
  for (const cascade::Detection& one : found) {
    faces.push_back({{one.box.x, one.box.y, one.box.width, one.box.height}, {}});
  }
  return {std::move(image), std::move(faces)};
}

int run(const Settings& s) {
  const Threads threads(s.threads);
  const cascade::Options options = s.detection.for_detector(threads);
  const std::vector<fer::Picture> pictures = fer::list_pictures(s.images);
  const cascade::Cascade cascade = s.detection.load();
  cascade::Detector detector(cascade);
  std::vector<std::string> drawings;
  if (!s.draw.empty()) {
    const bool single = s.images.size() == 1 && pictures[0].path == s.images[0];
    drawings = fer::drawing_paths(s.draw, pictures, single);
  }
  Json list = Json::array();
  std::vector<std::string> broken;
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const std::string& file = pictures[i].path;
    std::pair<Image, std::vector<fer::DrawnFace>> found;
    // One picture that cannot be read does not stop the rest.
    try {
      found = search(s, file, detector, options, list);
      if (!drawings.empty()) photo::write_png(drawings[i], fer::draw_faces(std::move(found.first), found.second, 0));
    } catch (const FileError& error) {
      broken.push_back(error.what());
    } catch (const Error& error) {
      broken.push_back(file + ": " + error.what());
    } catch (const std::bad_alloc&) {
      broken.push_back(file + ": out of memory");
    }
  }
  if (s.json) fer::print_json(Json::object({{"images", std::move(list)}}));
  std::fflush(stdout);
  for (const std::string& line : broken) std::fprintf(stderr, "detect_faces: %s\n", line.c_str());
  return broken.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  CLI::App app{"Finds faces in photographs, with OpenCV's cascades and OpenCV's results.", "detect_faces"};
  app.add_option("images", s.images, "Photographs (JPEG, PNG, PGM, PPM), and folders of them")->required();
  s.detection.add_to(app);
  app.add_option("--threads", s.threads, "Number of threads; 0 is one per core")->check(CLI::Range(0, 1024));
  app.add_flag("--json", s.json, "Print one JSON object");
  app.add_option("--draw", s.draw,
                 "Write the picture with the faces framed to this PNG; of several pictures, into this folder")
      ->check(fer::not_empty());
  return fer::run_program(app, argc, argv, [&] { return run(s); });
}
