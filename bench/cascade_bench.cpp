// The cascade evaluator beside OpenCV's: one image after the other, in turn, in one process, OpenCV with one thread.
//
//   cascade_bench [Google Benchmark's options] [--cascades DIR] [--group IMAGE] [--single IMAGE] [--large IMAGE]
//
// DIR is OpenCV's folder of cascades (default /usr/share/opencv4). Images are read by OpenCV; where none are given, a
// group is drawn from OpenCV's random numbers, which has no faces in it. Reported are mien's time, and as counters the
// smallest times of both in milliseconds and their ratio. Times are of the thread where one works, of the clock for
// two threads. Where dlib is installed, its face detector takes the place of OpenCV in two rows, for orientation: the
// pictures and mien's part are those of haar_group_1.1 and haar_large_1.1.
#include <benchmark/benchmark.h>
#include <ctime>

#include <algorithm>
#include <chrono>
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
#if MIEN_BENCH_DLIB
#include "peers/dlib_faces.hpp"
#endif

namespace {

namespace mc = mien::cascade;

std::string cascade_folder = "/usr/share/opencv4";
std::string image_files[3];  // group, single, large

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

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
  double best_theirs = 1e9, best_ours = 1e9;
  std::size_t found = 0;
  for (auto _ : state) {
    std::vector<cv::Rect> boxes;
    const double start = thread_seconds();
    theirs.detectMultiScale(image, boxes, row.factor, 5, 0, cv::Size(48, 48));
    const double middle = thread_seconds();
    found = ours.detect(view_of(image), options).size();
    const double end = thread_seconds();
    if (found != boxes.size()) state.SkipWithError("results differ");
    best_theirs = std::min(best_theirs, middle - start);
    best_ours = std::min(best_ours, end - middle);
    state.SetIterationTime(end - middle);
  }
  state.counters["found"] = static_cast<double>(found);
  state.counters["opencv_ms"] = best_theirs * 1e3;
  state.counters["mien_ms"] = best_ours * 1e3;
  state.counters["ratio"] = best_theirs / best_ours;
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
  double best_theirs = 1e9, best_ours = 1e9;
  std::size_t found = 0, their_found = 0;
  for (auto _ : state) {
    const double start = thread_seconds();
    their_found = theirs.detect(image.data, image.cols, image.rows, static_cast<long>(image.step[0]));
    const double middle = thread_seconds();
    found = ours.detect(view_of(image), options).size();
    const double end = thread_seconds();
    best_theirs = std::min(best_theirs, middle - start);
    best_ours = std::min(best_ours, end - middle);
    state.SetIterationTime(end - middle);
  }
  state.counters["found"] = static_cast<double>(found);
  state.counters["dlib_found"] = static_cast<double>(their_found);
  state.counters["dlib_ms"] = best_theirs * 1e3;
  state.counters["mien_ms"] = best_ours * 1e3;
  state.counters["ratio"] = best_theirs / best_ours;
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
  double best_one = 1e9, best_two = 1e9;
  for (auto _ : state) {
    options.threads = nullptr;
    const double start = clock_seconds();
    detector.detect(view_of(image), options);
    const double middle = clock_seconds();
    options.threads = &threads;
    detector.detect(view_of(image), options);
    const double end = clock_seconds();
    best_one = std::min(best_one, middle - start);
    best_two = std::min(best_two, end - middle);
    state.SetIterationTime(end - middle);
  }
  state.counters["one_ms"] = best_one * 1e3;
  state.counters["two_ms"] = best_two * 1e3;
  state.counters["ratio"] = best_one / best_two;
}

void loading(benchmark::State& state) {
  double best = 1e9;
  for (auto _ : state) {
    const double start = thread_seconds();
    try {
      mc::load_cascade(cascade_folder + "/haarcascades/haarcascade_frontalface_default.xml");
    } catch (const mien::Error& error) {
      state.SkipWithError(error.what());
      return;
    }
    const double time = thread_seconds() - start;
    best = std::min(best, time);
    state.SetIterationTime(time);
  }
  state.counters["mien_ms"] = best * 1e3;
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
    benchmark::RegisterBenchmark(name.c_str(), function)->UseManualTime()->Unit(benchmark::kMillisecond)->MinTime(0.3);
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
