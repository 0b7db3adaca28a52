// read_faces: from photographs to faces to the expressions they display.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cascade/detector.hpp"
#include "fer/boxes.hpp"
#include "fer/detection.hpp"
#include "fer/draw_faces.hpp"
#include "fer/pictures.hpp"
#include "fer/program.hpp"
#include "fer/read_expression.hpp"
#include "photo/photo.hpp"
#include "photo/write.hpp"

using namespace mien;

namespace {

struct Settings {
  std::string model, personal, boxes, draw;
  std::vector<std::string> pictures;
  fer::DetectionOptions detection;
  index_t draw_side = 1600;
  int threads = 0;
  bool ten_crop = false, json = false, csv = false;
};

/// The model that comes with mien: below the current folder, or beside the folder that this program was built in.
std::string default_model() {
  namespace fs = std::filesystem;
  const fs::path model = fs::path("examples") / "models" / "mien-s.safetensors";
  std::error_code error;
  if (fs::exists(model, error)) return model.string();
  fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (int up = 0; up < 3 && folder.has_relative_path(); ++up, folder = folder.parent_path()) {
    if (fs::exists(folder / model, error)) return (folder / model).string();
  }
  fail<ArgumentError>("no " + model.string() + " here: name a model with --model (train_fer makes one)");
}

struct Face {
  PixelBox box;
  std::optional<cascade::Detection> detection;  // none: the box came from outside
  std::vector<float> probabilities;
  std::size_t best() const {
    return static_cast<std::size_t>(std::max_element(probabilities.begin(), probabilities.end()) -
                                    probabilities.begin());
  }
};

/// What became of one picture.
struct Reading {
  bool done = false;
  std::string error;          // why it could not be read
  std::string drawing_error;  // why its drawing could not be written
  index_t width = 0, height = 0;
  std::vector<Face> faces;
  double milliseconds = 0;
};

/// Prints readings in the order of the pictures, each as soon as those before it are printed.
class Printer {
 public:
  Printer(const Settings& s, const std::vector<fer::Picture>& pictures) : s_(s), pictures_(pictures) {
    if (!s.csv) return;
    std::printf("file,face,x,y,w,h,label");
    for (const auto name : fer::class_names) std::printf(",%s", std::string(name).c_str());
    std::printf("\n");
  }

  void print(std::size_t index, const Reading& r) {
    const std::string& file = pictures_[index].path;
    if (!r.error.empty()) {
      broken_.emplace_back(file, r.error);
      return;
    }
    faces_ += r.faces.size();
    without_face_ += r.faces.empty();
    if (s_.json) {
      add_json(file, r);
    } else if (s_.csv) {
      print_csv(file, r);
    } else {
      print_lines(file, r);
    }
    if (!r.drawing_error.empty()) broken_.emplace_back(file, "its drawing: " + r.drawing_error);
  }

  /// What is left to say. Returns the exit status.
  int finish() {
    if (s_.json) {
      Json broken = Json::array();
      for (const auto& [file, why] : broken_) broken.push_back(Json::object({{"file", file}, {"error", why}}));
      fer::print_json(Json::object({{"classes", Json::array_of(fer::class_names)},
                                    {"images", Json::array(std::move(images_))},
                                    {"broken", std::move(broken)}}));
    }
    std::fflush(stdout);
    if (pictures_.size() > 1) {
      std::fprintf(stderr, "%zu pictures: %zu faces; %zu without a face, %zu could not be read\n", pictures_.size(),
                   faces_, without_face_, broken_.size());
    }
    for (const auto& [file, why] : broken_) {
      const bool named = why.find("'" + file + "'") != std::string::npos;
      std::fprintf(stderr, "read_faces: %s%s%s\n", named ? "" : file.c_str(), named ? "" : ": ", why.c_str());
    }
    return broken_.empty() ? 0 : 1;
  }

 private:
  void add_json(const std::string& file, const Reading& r) {
    Json faces = Json::array();
    for (const Face& face : r.faces) {
      Json one = Json::object({{"x", face.box.x}, {"y", face.box.y}, {"w", face.box.width}, {"h", face.box.height}});
      if (face.detection) {
        one.set("neighbors", face.detection->neighbors);
        one.set("level", face.detection->level);
        one.set("weight", face.detection->weight);
      }
      const std::size_t best = face.best();
      one.set("label", fer::class_names[best]);
      one.set("probability", face.probabilities[best]);
      Json all = Json::object();
      for (std::size_t k = 0; k < fer::class_count; ++k) all.set(fer::class_names[k], face.probabilities[k]);
      one.set("probabilities", std::move(all));
      faces.push_back(std::move(one));
    }
    images_.push_back(Json::object({{"file", file},
                                    {"width", r.width},
                                    {"height", r.height},
                                    {"faces", std::move(faces)},
                                    {"milliseconds", r.milliseconds}}));
  }

  /// One row a face; a picture without one has a row with face 0 and nothing behind it.
  static void print_csv(const std::string& file, const Reading& r) {
    std::string quoted = file;
    if (file.find_first_of(",\"\r\n") != std::string::npos || file.front() == ' ' || file.back() == ' ') {
      quoted = "\"";
      for (const char c : file) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
      quoted += '"';
    }
    if (r.faces.empty()) std::printf("%s,0,,,,,,,,,,,,\n", quoted.c_str());
    for (std::size_t i = 0; i < r.faces.size(); ++i) {
      const Face& face = r.faces[i];
      std::printf("%s,%zu,%td,%td,%td,%td,%s", quoted.c_str(), i + 1, face.box.x, face.box.y, face.box.width,
                  face.box.height, std::string(fer::class_names[face.best()]).c_str());
      for (const float p : face.probabilities) std::printf(",%.6f", static_cast<double>(p));
      std::printf("\n");
    }
  }

  static void print_lines(const std::string& file, const Reading& r) {
    const std::string count = r.faces.empty() ? "no face" : std::to_string(r.faces.size()) + " face";
    std::printf("%s: %tdx%td, %s%s, %.0f ms\n", file.c_str(), r.width, r.height, count.c_str(),
                r.faces.size() > 1 ? "s" : "", r.milliseconds);
    for (const Face& face : r.faces) {
      std::printf("  x %td, y %td, %tdx%td: %s |", face.box.x, face.box.y, face.box.width, face.box.height,
                  std::string(fer::class_names[face.best()]).c_str());
      for (std::size_t k = 0; k < fer::class_count; ++k) {
        std::printf(" %s %.1f%%", std::string(fer::class_names[k]).c_str(),
                    100 * static_cast<double>(face.probabilities[k]));
      }
      std::printf("\n");
    }
  }

  const Settings& s_;
  const std::vector<fer::Picture>& pictures_;
  std::vector<std::pair<std::string, std::string>> broken_;
  std::vector<Json> images_;
  std::size_t faces_ = 0, without_face_ = 0;
};

/// What all pictures share; never changed while they are read.
struct Tools {
  Model<float> model;
  std::optional<cascade::Cascade> cascade;
  cascade::Options search;
  std::map<std::string, std::vector<PixelBox>> boxes;
  std::multiset<std::string> file_names;  // of all pictures, where boxes are given
};

/// What one picture at a time needs: a lane of the road.
struct Lane {
  Lane(const Tools& tools, const Threads* threads) : workspace(threads) {
    if (tools.cascade) detector.emplace(*tools.cascade);
  }
  std::atomic<bool> taken{false};
  std::optional<cascade::Detector> detector;
  Workspace workspace;
};

std::string file_name(const fer::Picture& picture) { return std::filesystem::path(picture.path).filename().string(); }

/// The boxes given for a picture: under its path, its path below the folder named, or its file's own name, unless
/// another picture has the same one.
const std::vector<PixelBox>* boxes_of(const Tools& tools, const fer::Picture& picture) {
  std::vector<std::string> keys = {picture.path, picture.name};
  if (tools.file_names.count(file_name(picture)) < 2) keys.push_back(file_name(picture));
  for (const std::string& key : keys) {
    const auto found = tools.boxes.find(key);
    if (found != tools.boxes.end()) return &found->second;
  }
  return nullptr;
}

/// Fills `r` and returns the picture in colour if it is to be drawn. Throws what reading and decoding throw.
Image read_picture(const Settings& s, const Tools& tools, const fer::Picture& picture, Lane& lane, Reading& r) {
  const auto start = std::chrono::steady_clock::now();
  const Preprocessing &p = tools.model.info.preprocessing, usual;
  const bool usual_gray = p.red == usual.red && p.green == usual.green && p.blue == usual.blue;
  const bool colour = !s.draw.empty() || !usual_gray;
  Image image = photo::decode_photo(read_file(picture.path, photo::PhotoLimits().file_bytes), colour ? 3 : 1);
  r.width = image.width;
  r.height = image.height;
  Image turned_gray;
  if (colour) turned_gray = with_channels(image, 1);
  const Image& gray = colour ? turned_gray : image;
  if (lane.detector) {
    const auto width = static_cast<int>(gray.width), height = static_cast<int>(gray.height);
    cascade::Options options = tools.search;
    options.threads = &lane.workspace.threads();
    for (const cascade::Detection& one :
         lane.detector->detect({gray.pixels.data(), width, height, width, cascade::PixelFormat::gray}, options)) {
      r.faces.push_back({{one.box.x, one.box.y, one.box.width, one.box.height}, one, {}});
    }
  } else if (const auto* boxes = boxes_of(tools, picture)) {
    for (const PixelBox& box : *boxes) {
      if (box.x >= image.width || box.y >= image.height || box.x + box.width <= 0 || box.y + box.height <= 0) {
        fail<FormatError>("its box at " + std::to_string(box.x) + ", " + std::to_string(box.y) +
                          " lies outside of it: boxes are of the picture as it is seen, turned upright");
      }
      r.faces.push_back({box, std::nullopt, {}});
    }
  }
  // The network's gray may be weighed otherwise than the cascade's.
  if (!usual_gray) turned_gray = fer::gray_for(p, image);
  fer::FaceImages faces;
  faces.resize(static_cast<index_t>(r.faces.size()));
  for (std::size_t i = 0; i < r.faces.size(); ++i) {
    const Image face = fer::crop_face(gray, r.faces[i].box, p.margin);
    std::copy(face.pixels.begin(), face.pixels.end(), faces.image(static_cast<index_t>(i)).begin());
  }
  const std::vector<float> all = fer::read_expressions(tools.model.network, faces, p, s.ten_crop, lane.workspace);
  for (std::size_t i = 0; i < r.faces.size(); ++i) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(i * fer::class_count);
    r.faces[i].probabilities.assign(first, first + fer::class_count);
  }
  r.milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return image;
}

int run(const Settings& s) {
  const std::vector<fer::Picture> pictures = fer::list_pictures(s.pictures);
  const Threads threads(s.threads);
  Tools tools{fer::load_expression_model(s.model.empty() ? default_model() : s.model), {}, {}, {}, {}};
  if (!s.personal.empty()) load_delta(tools.model.network, s.personal);
  tools.search = s.detection.for_detector(threads);
  if (s.boxes.empty()) {
    tools.cascade = s.detection.load();
  } else {
    tools.boxes = fer::read_box_lists(s.boxes);
    for (const fer::Picture& picture : pictures) tools.file_names.insert(file_name(picture));
    std::size_t missing = 0;
    for (const fer::Picture& picture : pictures) missing += boxes_of(tools, picture) == nullptr;
    if (missing > 0) {
      std::fprintf(stderr, "warning: %zu of %zu pictures are not in %s and count as without a face\n", missing,
                   pictures.size(), s.boxes.c_str());
    }
  }
  std::vector<std::string> drawings;
  if (!s.draw.empty()) {
    const bool single = s.pictures.size() == 1 && pictures[0].path == s.pictures[0];
    drawings = fer::drawing_paths(s.draw, pictures, single);
  }

  // Several pictures: one thread each. A single one: all threads for it.
  const bool shared = pictures.size() > 1;
  std::vector<std::unique_ptr<Lane>> lanes(static_cast<std::size_t>(shared ? threads.count() : 1));
  for (auto& lane : lanes) {
    lane = std::make_unique<Lane>(tools, shared ? nullptr : &threads);
  }
  std::vector<Reading> readings(pictures.size());
  Printer printer(s, pictures);
  fer::PictureProgress progress(pictures.size());
  std::mutex mutex;
  std::size_t printed = 0;
  threads.parallel_for(static_cast<index_t>(pictures.size()), [&](index_t i) {
    Lane* lane = nullptr;
    for (std::size_t k = 0; lane == nullptr; k = (k + 1) % lanes.size()) {
      if (!lanes[k]->taken.exchange(true, std::memory_order_acquire)) lane = lanes[k].get();
    }
    const auto index = static_cast<std::size_t>(i);
    Reading r;
    Image image;
    // One picture that cannot be read does not stop the rest.
    try {
      image = read_picture(s, tools, pictures[index], *lane, r);
    } catch (const Error& error) {
      r.error = error.what();
    } catch (const std::bad_alloc&) {
      r.error = "out of memory";
    }
    lane->taken.store(false, std::memory_order_release);
    if (!drawings.empty() && r.error.empty()) {
      std::vector<fer::DrawnFace> faces;
      for (const Face& face : r.faces) faces.push_back({face.box, face.probabilities});
      try {
        photo::write_png(drawings[index], fer::draw_faces(std::move(image), std::move(faces), s.draw_side));
      } catch (const Error& error) {
        r.drawing_error = error.what();
      } catch (const std::bad_alloc&) {
        r.drawing_error = "out of memory";
      }
    }
    r.done = true;
    const std::lock_guard lock(mutex);
    readings[index] = std::move(r);
    if (readings[printed].done) progress.clear();
    for (; printed < readings.size() && readings[printed].done; ++printed) {
      printer.print(printed, readings[printed]);
      readings[printed].faces = {};
    }
    progress.step();
  });
  progress.clear();
  return printer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  CLI::App app("Finds the faces in photographs and reads the expressions they display.", "read_faces");
  app.add_option("--model", s.model, "Model file written by train_fer (default: examples/models/mien-s.safetensors)")
      ->check(fer::not_empty());
  app.add_option("--personal", s.personal, "Delta of a person, written by personalize over the same model")
      ->check(fer::not_empty());
  app.add_option("pictures", s.pictures, "Photographs (JPEG, PNG, PGM, PPM), and folders of them")->required();
  app.add_option("--boxes", s.boxes,
                 "Take the faces from this CSV (columns file,x,y,w,h; pixels of the upright picture) instead of "
                 "searching them")
      ->check(fer::not_empty());
  s.detection.add_to(app);
  app.add_flag("--ten-crop", s.ten_crop, "Average the answers over ten views of each face");
  app.add_option("--threads", s.threads, "Number of threads; 0 is one per core")->check(CLI::Range(0, 1024));
  CLI::Option* json = app.add_flag("--json", s.json, "Print one JSON object");
  app.add_flag("--csv", s.csv, "Print one line of CSV per face")->excludes(json);
  CLI::Option* draw = app.add_option("--draw", s.draw,
                                     "Write the picture with boxes, labels and probabilities to this PNG; of several "
                                     "pictures, into this folder")
                          ->check(fer::not_empty());
  app.add_option("--draw-side", s.draw_side, "Longest side of a drawn picture; 0: that of the photograph")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 20))
      ->needs(draw);
  return fer::run_program(app, argc, argv, [&] { return run(s); });
}
