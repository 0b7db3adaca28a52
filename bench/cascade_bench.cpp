// The cascade evaluator beside OpenCV's: one image after the other, in turn, in one process, OpenCV with one thread.
//
//   cascade_bench [Google Benchmark's options] [--cascades DIR] [--group IMAGE] [--single IMAGE] [--large IMAGE]
//
// DIR is OpenCV's folder of cascades (default /usr/share/opencv4). Images are read by OpenCV; where none are given, a
// group is drawn from OpenCV's random numbers, which has no faces in it. Reported are mien's time, and as counters the
// medians of both in milliseconds and that of their ratios. Times are of the thread where one works, of the clock for
// two threads. Where dlib is installed, its face detector takes the place of OpenCV in two rows, for orientation: the
// pictures and mien's part are those of haar_group_1.1 and haar_large_1.1.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/objdetect.hpp>
#include <string>
#include <vector>

#include "cascade/detector.hpp"
#include "cascade/xml.hpp"
#include "turns.hpp"
#if MIEN_BENCH_DLIB
#include "peers/dlib_faces.hpp"
#endif

namespace {

namespace mc = mien::cascade;
using mien::bench::Medians;
using mien::bench::take_turns;

std::string cascade_folder = "/usr/share/opencv4";
std::string image_files[3];  // group, single, large

/// Image `which`, 640x480 or (the last) 1920x1080.
cv::Mat load_image(int which) {
  const cv::Size size = which == 2 ? cv::Size(1920, 1080) : cv::Size(640, 480);
  cv::Mat image = image_files[which].empty() ? cv::Mat() : cv::imread(image_files[which], cv::IMREAD_GRAYSCALE);
  if (image.empty()) {
    cv::RNG random(static_cast<std::uint64_t>(which) + 1);
    image.create(size, CV_8UC1);
    random.fill(image, cv::RNG::UNIFORM, 0, 256);
    cv::GaussianBlur(image, image, cv::Size(9, 9), 2.5);
    cv::normalize(image, image, 0, 255, cv::NORM_MINMAX);
  } else if (image.size() != size) {
    cv::resize(image, image, size, 0, 0, cv::INTER_AREA);
  }
  return image;
}

struct Row {
  const char* name;
  const char* cascade;
  int image;
  double factor;
};

mc::ImageView view_of(const cv::Mat& image) {
  return {image.data, image.cols, image.rows, static_cast<mien::index_t>(image.step[0]), mc::PixelFormat::gray};
}

void against_opencv(benchmark::State& state, const Row& row, mien::Isa isa) {
  cv::setNumThreads(1);
  const cv::Mat image = load_image(row.image);
  const std::string file = cascade_folder + "/" + row.cascade;
  cv::CascadeClassifier theirs;
  std::unique_ptr<mc::Cascade> cascade;
  try {
    cascade = std::make_unique<mc::Cascade>(mc::load_cascade(file));
  } catch (const mien::Error& error) {
    state.SkipWithError(error.what());
    return;
  }
  if (!theirs.load(file)) {
    state.SkipWithError("OpenCV cannot load the cascade");
    return;
  }
  mc::Detector ours(*cascade, isa);
  mc::Options options;
  options.scale_factor = row.factor;
  options.min_neighbors = 5;
  options.min_size = {48, 48};
  std::vector<cv::Rect> boxes;
  std::size_t found = 0;
  const Medians times = take_turns(
      state, false, [&] { found = ours.detect(view_of(image), options).size(); },
      [&] { theirs.detectMultiScale(image, boxes, row.factor, 5, 0, cv::Size(48, 48)); });
  if (found != boxes.size()) state.SkipWithError("results differ");
  state.counters["found"] = static_cast<double>(found);
  state.counters["opencv_ms"] = times.theirs * 1e3;
  state.counters["mien_ms"] = times.ours * 1e3;
}

#if MIEN_BENCH_DLIB
void against_dlib(benchmark::State& state, const Row& row) {
  const cv::Mat image = load_image(row.image);
  std::unique_ptr<mc::Cascade> cascade;
  try {
    cascade = std::make_unique<mc::Cascade>(mc::load_cascade(cascade_folder + "/" + row.cascade));
  } catch (const mien::Error& error) {
    state.SkipWithError(error.what());
    return;
  }
  peers::DlibFaces theirs;
  mc::Detector ours(*cascade);
  mc::Options options;
  options.scale_factor = row.factor;
  options.min_neighbors = 5;
  options.min_size = {48, 48};
  std::size_t found = 0, their_found = 0;
  const Medians times = take_turns(
      state, false, [&] { found = ours.detect(view_of(image), options).size(); },
      [&] { their_found = theirs.detect(image.data, image.cols, image.rows, static_cast<long>(image.step[0])); });
  state.counters["found"] = static_cast<double>(found);
  state.counters["dlib_found"] = static_cast<double>(their_found);
  state.counters["dlib_ms"] = times.theirs * 1e3;
  state.counters["mien_ms"] = times.ours * 1e3;
}
#endif

void two_threads(benchmark::State& state, int which) {
  const cv::Mat image = load_image(which);
  std::unique_ptr<mc::Cascade> cascade;
  try {
    cascade = std::make_unique<mc::Cascade>(
        mc::load_cascade(cascade_folder + "/haarcascades/haarcascade_frontalface_default.xml"));
  } catch (const mien::Error& error) {
    state.SkipWithError(error.what());
    return;
  }
  const mien::Threads threads(2);
  mc::Detector detector(*cascade);
  mc::Options options;
  options.min_neighbors = 5;
  options.min_size = {48, 48};
  const Medians times = take_turns(
      state, true,
      [&] {
        options.threads = &threads;
        detector.detect(view_of(image), options);
      },
      [&] {
        options.threads = nullptr;
        detector.detect(view_of(image), options);
      });
  state.counters["one_ms"] = times.theirs * 1e3;
  state.counters["two_ms"] = times.ours * 1e3;
}

void loading(benchmark::State& state) {
  std::vector<double> times;
  for (auto _ : state) {
    const double start = mien::bench::seconds(false);
    try {
      mc::load_cascade(cascade_folder + "/haarcascades/haarcascade_frontalface_default.xml");
    } catch (const mien::Error& error) {
      state.SkipWithError(error.what());
      return;
    }
    times.push_back(mien::bench::seconds(false) - start);
    state.SetIterationTime(times.back());
  }
  state.counters["mien_ms"] = mien::bench::median(times) * 1e3;
}

constexpr const char* haar = "haarcascades/haarcascade_frontalface_default.xml";
constexpr const char* lbp = "lbpcascades/lbpcascade_frontalface.xml";
constexpr Row rows[] = {
    {"haar_group_1.1", haar, 0, 1.1},
    {"haar_single_1.1", haar, 1, 1.1},
    {"haar_group_1.05", haar, 0, 1.05},
    {"haar_large_1.1", haar, 2, 1.1},
    {"lbp_group_1.1", lbp, 0, 1.1},
    {"lbp_large_1.1", lbp, 2, 1.1},
    {"alt2_group_1.1", "haarcascades/haarcascade_frontalface_alt2.xml", 0, 1.1},
    {"eyeglasses_group_1.1", "haarcascades/haarcascade_eye_tree_eyeglasses.xml", 0, 1.1},
};

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--cascades") == 0) cascade_folder = argv[i + 1];
    if (std::strcmp(argv[i], "--group") == 0) image_files[0] = argv[i + 1];
    if (std::strcmp(argv[i], "--single") == 0) image_files[1] = argv[i + 1];
    if (std::strcmp(argv[i], "--large") == 0) image_files[2] = argv[i + 1];
  }
  const auto add = [](const std::string& name, auto&& function) {
    benchmark::RegisterBenchmark(name.c_str(), function)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond)
        ->Iterations(mien::bench::turns());
  };
  for (const Row& row : rows) {
    add(row.name, [&row](benchmark::State& state) { against_opencv(state, row, mien::Isa::avx512); });
  }
  add("haar_group_1.1/avx2", [](benchmark::State& state) { against_opencv(state, rows[0], mien::Isa::avx2); });
  add("haar_group_1.1/portable", [](benchmark::State& state) { against_opencv(state, rows[0], mien::Isa::portable); });
#if MIEN_BENCH_DLIB
  add("dlib_group", [](benchmark::State& state) { against_dlib(state, rows[0]); });
  add("dlib_large", [](benchmark::State& state) { against_dlib(state, rows[3]); });
#endif
  add("two_threads_group", [](benchmark::State& state) { two_threads(state, 0); });
  add("two_threads_large", [](benchmark::State& state) { two_threads(state, 2); });
  add("loading", [](benchmark::State& state) { loading(state); });
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
