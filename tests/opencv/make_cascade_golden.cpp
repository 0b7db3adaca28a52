// Computes the golden results of tests/cascade_golden_test.cpp with OpenCV (version 4, one thread).
//
//   make_cascade_golden PHOTOGRAPH.pgm [CASCADES] > tests/data/cascade/golden.inc
//   make_cascade_golden                    compares the stored results of the drawn cases with OpenCV's
//
// CASCADES is OpenCV's folder of cascades, by default /usr/share/opencv4. Writes scratch.xml into the current folder.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/objdetect.hpp>
#include <string>
#include <vector>

#include "../cascade_cases.hpp"

namespace {

using cascade_cases::Golden;

#if __has_include("../data/cascade/golden.inc")
#include "../data/cascade/golden.inc"
#else
constexpr Golden drawn_golden[] = {{0, 0, 0, 0}};
#endif

void run(cv::CascadeClassifier& classifier, const cv::Mat& image, const mien::cascade::Options& options,
         int min_neighbors, int& count, std::uint64_t& digest) {
  const cv::Size smallest(options.min_size.width, options.min_size.height);
  const cv::Size largest(options.max_size.width, options.max_size.height);
  std::vector<cv::Rect> boxes, again;
  std::vector<int> levels, neighbors;
  std::vector<double> weights;
  classifier.detectMultiScale(image, boxes, levels, weights, options.scale_factor, min_neighbors, 0, smallest, largest,
                              true);
  classifier.detectMultiScale(image, again, neighbors, options.scale_factor, min_neighbors, 0, smallest, largest);
  if (again != boxes) std::fprintf(stderr, "OpenCV's functions disagree with each other\n");
  cascade_cases::Digest sum;
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    sum.add(boxes[i].x, boxes[i].y, boxes[i].width, boxes[i].height, neighbors[i], levels[i], weights[i]);
  }
  count = static_cast<int>(boxes.size());
  digest = sum.value();
}

Golden golden(const std::string& cascade, const cv::Mat& image, const mien::cascade::Options& options) {
  cv::CascadeClassifier classifier;
  Golden out{-1, 0, -1, 0};
  if (!classifier.load(cascade)) return out;
  run(classifier, image, options, 0, out.candidates, out.candidate_digest);
  run(classifier, image, options, options.min_neighbors, out.groups, out.group_digest);
  return out;
}

Golden drawn(int number) {
  const cascade_cases::Case one = cascade_cases::make_case(number);
  std::ofstream("scratch.xml") << one.xml;
  const cv::Mat image(one.picture.height, one.picture.width, CV_8UC1,
                      const_cast<std::uint8_t*>(one.picture.pixels.data()));
  return golden("scratch.xml", image, one.options);
}

void print(const Golden& one) {
  std::printf("    {%d, 0x%016llXU, %d, 0x%016llXU},\n", one.candidates,
              static_cast<unsigned long long>(one.candidate_digest), one.groups,
              static_cast<unsigned long long>(one.group_digest));
}

}  // namespace

int main(int argc, char** argv) {
  cv::setNumThreads(1);
  if (argc < 2) {
    int different = 0;
    for (int i = 0; i < cascade_cases::case_count && i < static_cast<int>(std::size(drawn_golden)); ++i) {
      const Golden one = drawn(i), &stored = drawn_golden[i];
      if (one.candidates != stored.candidates || one.candidate_digest != stored.candidate_digest ||
          one.groups != stored.groups || one.group_digest != stored.group_digest) {
        std::printf("case %d: OpenCV %s computes something else than is stored\n", i, CV_VERSION);
        ++different;
      }
    }
    std::printf("%d passed, %d failed\n", cascade_cases::case_count - different, different);
    return different == 0 ? 0 : 1;
  }
  std::printf("// Made by tests/opencv/make_cascade_golden.cpp with OpenCV %s.\n", CV_VERSION);
  std::printf("constexpr cascade_cases::Golden drawn_golden[] = {\n");
  for (int i = 0; i < cascade_cases::case_count; ++i) print(drawn(i));
  std::printf("};\nconstexpr cascade_cases::Golden photograph_golden[] = {\n");
  const cv::Mat photograph = cv::imread(argv[1], cv::IMREAD_GRAYSCALE);
  const std::string folder = argc > 2 ? argv[2] : "/usr/share/opencv4";
  for (const auto& one : cascade_cases::photograph_cases) {
    mien::cascade::Options options;
    options.scale_factor = one.scale_factor;
    options.min_neighbors = one.min_neighbors;
    print(golden(folder + "/" + one.file, photograph, options));
  }
  std::printf("};\n");
  return 0;
}
