// Compares mien's cascade evaluator with OpenCV's, bit for bit, on many random configurations.
//
//   cascade_against_opencv [--cascades DIR]... [--images DIR]... [--video FILE] [--configurations N] [--seed S]
//
// Each configuration is a cascade, an image and options; compared are the ungrouped candidates and the groups, with
// neighbours, levels and weights, for every instruction set of this machine, with and without threads. Exit status 1 on
// any difference, 2 when nothing could be compared. OpenCV runs with one thread, where its order is defined.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/objdetect.hpp>
#include <opencv2/videoio.hpp>
#include <random>
#include <string>
#include <vector>

#include "cascade/detector.hpp"
#include "cascade/xml.hpp"

namespace {

namespace mc = mien::cascade;

std::mt19937_64 generator;

int uniform(int low, int high) {
  return low + static_cast<int>(generator() % static_cast<std::uint64_t>(high - low + 1));
}

void list_files(const std::string& folder, const std::vector<std::string>& endings, std::vector<std::string>& files) {
  DIR* directory = opendir(folder.c_str());
  if (directory == nullptr) return;
  std::vector<std::string> names;
  while (const dirent* entry = readdir(directory)) names.emplace_back(entry->d_name);
  closedir(directory);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name;
    struct stat status {};
    if (name[0] == '.' || stat(path.c_str(), &status) != 0) continue;
    if (S_ISDIR(status.st_mode)) {
      list_files(path, endings, files);
      continue;
    }
    for (const std::string& ending : endings) {
      if (name.size() > ending.size() && name.compare(name.size() - ending.size(), ending.size(), ending) == 0) {
        files.push_back(path);
      }
    }
  }
}

struct Pair {
  std::string name;
  std::unique_ptr<mc::Cascade> ours;
  cv::CascadeClassifier theirs;
};

cv::Mat noise(int width, int height) {
  cv::Mat image(height, width, CV_8UC1);
  const int smooth = uniform(0, 3);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) image.at<uchar>(y, x) = static_cast<uchar>(uniform(0, 255));
  }
  if (smooth > 0) cv::GaussianBlur(image, image, cv::Size(2 * smooth + 1, 2 * smooth + 1), 0);
  return image;
}

cv::Mat gradient(int width, int height) {
  cv::Mat image(height, width, CV_8UC1);
  const int a = uniform(-6, 6), b = uniform(-6, 6), c = uniform(0, 255), period = uniform(3, 80);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const int ramp = (a * x + b * y) / 4 + c + ((x / period + y / period) % 2) * 60;
      image.at<uchar>(y, x) = static_cast<uchar>(std::clamp(ramp % 256, 0, 255));
    }
  }
  return image;
}

/// Pieces of photographs, faces among them, pasted at random sizes over noise.
cv::Mat collage(int width, int height, const std::vector<cv::Mat>& photographs) {
  cv::Mat image = noise(width, height);
  if (photographs.empty()) return image;
  for (int i = uniform(1, 5); i > 0; --i) {
    cv::Mat photograph = photographs[static_cast<std::size_t>(uniform(0, static_cast<int>(photographs.size()) - 1))];
    if (photograph.channels() == 3) cv::cvtColor(photograph, photograph, cv::COLOR_BGR2GRAY);
    const int w = uniform(1, width), h = uniform(1, height);
    cv::Mat part;
    cv::resize(photograph, part, cv::Size(w, h), 0, 0, cv::INTER_AREA);
    part.copyTo(image(cv::Rect(uniform(0, width - w), uniform(0, height - h), w, h)));
  }
  return image;
}

cv::Mat choose_image(const std::vector<cv::Mat>& photographs, std::string& what) {
  static const int sizes[][2] = {{1, 1},     {1, 300},   {300, 1},   {24, 24},   {23, 24},   {25, 25},   {20, 20},
                                 {64, 16},   {31, 200},  {200, 31},  {97, 101},  {160, 120}, {320, 240}, {321, 241},
                                 {255, 257}, {400, 300}, {101, 350}, {517, 389}, {640, 480}, {4096, 64}};
  cv::Mat image;
  const int kind = uniform(0, 9);
  if (kind >= 4 && !photographs.empty()) {
    image = photographs[static_cast<std::size_t>(uniform(0, static_cast<int>(photographs.size()) - 1))];
    const int largest = uniform(60, 480);
    const double shrink = static_cast<double>(largest) / std::max(image.cols, image.rows);
    if (shrink < 1.0) {
      cv::resize(image, image,
                 cv::Size(std::max(1, static_cast<int>(image.cols * shrink)),
                          std::max(1, static_cast<int>(image.rows * shrink))),
                 0, 0, cv::INTER_AREA);
    }
    what = "photograph";
  } else {
    const auto& size = sizes[uniform(0, static_cast<int>(std::size(sizes)) - 1)];
    int width = size[0], height = size[1];
    if (uniform(0, 3) == 0) width = uniform(1, 400), height = uniform(1, 400);
    image = kind == 0   ? noise(width, height)
            : kind == 1 ? gradient(width, height)
                        : collage(width, height, photographs);
    what = kind == 0 ? "noise" : kind == 1 ? "gradient" : "collage";
  }
  if (image.channels() == 1 && uniform(0, 7) == 0) cv::cvtColor(image, image, cv::COLOR_GRAY2BGR);
  if (image.channels() == 3 && uniform(0, 1) == 0) cv::cvtColor(image, image, cv::COLOR_BGR2GRAY);
  what += " " + std::to_string(image.cols) + "x" + std::to_string(image.rows) + "x" + std::to_string(image.channels());
  return image;
}

struct Expected {
  std::vector<cv::Rect> boxes;
  std::vector<int> levels;
  std::vector<double> weights;
  std::vector<int> neighbors;
};

Expected run_opencv(cv::CascadeClassifier& classifier, const cv::Mat& image, const mc::Options& options) {
  const cv::Size smallest(options.min_size.width, options.min_size.height);
  const cv::Size largest(options.max_size.width, options.max_size.height);
  Expected result;
  classifier.detectMultiScale(image, result.boxes, result.levels, result.weights, options.scale_factor,
                              options.min_neighbors, 0, smallest, largest, true);
  // The same search by the two other functions, which must agree and which alone give the number of neighbours.
  std::vector<cv::Rect> again, plain;
  classifier.detectMultiScale(image, again, result.neighbors, options.scale_factor, options.min_neighbors, 0, smallest,
                              largest);
  classifier.detectMultiScale(image, plain, options.scale_factor, options.min_neighbors, 0, smallest, largest);
  if (again != plain) std::printf("OpenCV disagrees with itself\n");
  if (plain != result.boxes) result.boxes.clear(), result.levels.clear(), result.boxes = plain;
  return result;
}

std::string difference(const Expected& theirs, const std::vector<mc::Detection>& ours) {
  if (theirs.boxes.size() != ours.size()) {
    return std::to_string(theirs.boxes.size()) + " detections by OpenCV, " + std::to_string(ours.size()) + " by mien";
  }
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const cv::Rect& r = theirs.boxes[i];
    const std::string at = "detection " + std::to_string(i) + ": ";
    if (ours[i].box != mc::Rect{r.x, r.y, r.width, r.height}) return at + "rectangle";
    if (i >= theirs.neighbors.size() || ours[i].neighbors != theirs.neighbors[i]) return at + "neighbours";
    if (i >= theirs.levels.size() || ours[i].level != theirs.levels[i]) return at + "level";
    if (ours[i].weight != theirs.weights[i]) return at + "weight";
  }
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> cascade_folders, image_folders;
  std::string video;
  int configurations = 600;
  std::uint64_t seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    if (option == "--cascades") cascade_folders.emplace_back(argv[i + 1]);
    if (option == "--images") image_folders.emplace_back(argv[i + 1]);
    if (option == "--video") video = argv[i + 1];
    if (option == "--configurations") configurations = std::atoi(argv[i + 1]);
    if (option == "--seed") seed = std::strtoull(argv[i + 1], nullptr, 10);
  }
  if (cascade_folders.empty()) {
    cascade_folders = {"/usr/share/opencv4/haarcascades", "/usr/share/opencv4/lbpcascades"};
  }
  generator.seed(seed);
  cv::setNumThreads(1);

  std::vector<std::string> files;
  for (const std::string& folder : cascade_folders) list_files(folder, {".xml"}, files);
  std::vector<Pair> cascades;
  for (const std::string& file : files) {
    if (file.find("hogcascade") != std::string::npos) continue;  // not a kind of cascade that OpenCV still reads
    Pair pair;
    pair.name = file.substr(file.rfind('/') + 1);
    pair.ours = std::make_unique<mc::Cascade>(mc::load_cascade(file));
    if (!pair.theirs.load(file)) continue;
    cascades.push_back(std::move(pair));
  }
  files.clear();
  for (const std::string& folder : image_folders) list_files(folder, {".jpg", ".jpeg", ".png", ".pgm"}, files);
  std::vector<cv::Mat> photographs;
  for (const std::string& file : files) {
    cv::Mat image = cv::imread(file, cv::IMREAD_COLOR);
    if (!image.empty() && image.cols < 3000 && image.rows < 3000) photographs.push_back(image);
  }
  const std::size_t pictures = photographs.size();
  if (!video.empty()) {
    cv::VideoCapture capture(video);
    cv::Mat frame;
    for (int i = 0; capture.read(frame); ++i) {
      if (i % 25 == 0) photographs.push_back(frame.clone());
    }
  }
  std::printf("%zu cascades, %zu photographs, %zu video frames, best instruction set %s\n", cascades.size(), pictures,
              photographs.size() - pictures, std::string(mien::to_string(mien::cpu_isa())).c_str());
  if (cascades.empty()) return 2;

  const mien::Threads threads(2);
  long comparisons = 0, differences = 0, candidates = 0, groups = 0;
  for (int c = 0; c < configurations; ++c) {
    Pair& pair = cascades[static_cast<std::size_t>(c) % cascades.size()];
    std::string what;
    const cv::Mat image = choose_image(photographs, what);
    mc::Options options;
    static const double factors[] = {1.01, 1.05, 1.1, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0, 2.5, 3.0};
    options.scale_factor = factors[uniform(0, static_cast<int>(std::size(factors)) - 1)];
    if (options.scale_factor < 1.02 && image.total() > 40000) options.scale_factor = 1.07;
    const int limits = uniform(0, 5);
    if (limits == 1) options.min_size = {uniform(0, 100), uniform(0, 100)};
    if (limits == 2) options.max_size = {uniform(0, 200), uniform(0, 200)};
    if (limits == 3) options.min_size = options.max_size = {uniform(20, 120), uniform(20, 120)};
    if (limits == 4) options.min_size = {uniform(50, 150), uniform(50, 150)}, options.max_size = {uniform(1, 60), 40};
    if (limits == 5) options.min_size = {uniform(0, 60), uniform(0, 60)}, options.max_size = {uniform(60, 300), 300};
    const int neighbors[] = {0, uniform(1, 6)};
    for (const int min_neighbors : neighbors) {
      options.min_neighbors = min_neighbors;
      const Expected expected = run_opencv(pair.theirs, image, options);
      (min_neighbors == 0 ? candidates : groups) += static_cast<long>(expected.boxes.size());
      for (int isa = 0; isa <= std::min(static_cast<int>(mien::cpu_isa()), 2); ++isa) {
        mc::Detector detector(*pair.ours, static_cast<mien::Isa>(isa));
        options.threads = uniform(0, 1) == 0 ? nullptr : &threads;
        const mc::ImageView view{image.data, image.cols, image.rows, static_cast<mien::index_t>(image.step[0]),
                                 image.channels() == 3 ? mc::PixelFormat::bgr : mc::PixelFormat::gray};
        const std::string wrong = difference(expected, detector.detect(view, options));
        ++comparisons;
        if (wrong.empty()) continue;
        ++differences;
        std::printf("DIFFERENCE configuration %d, %s, %s: %s, factor %g, neighbours %d, sizes %dx%d to %dx%d: %s\n", c,
                    std::string(mien::to_string(static_cast<mien::Isa>(isa))).c_str(), pair.name.c_str(), what.c_str(),
                    options.scale_factor, min_neighbors, options.min_size.width, options.min_size.height,
                    options.max_size.width, options.max_size.height, wrong.c_str());
      }
    }
  }
  std::printf("%d configurations, %ld comparisons (%ld candidates, %ld groups): %ld differences\n", configurations,
              comparisons, candidates, groups, differences);
  return differences == 0 ? 0 : 1;
}
