// Detections against what OpenCV computed (tests/opencv/make_cascade_golden.cpp): candidates and groups with
// neighbours, levels and weights, to the last bit, for every instruction set.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "cascade/xml.hpp"
#include "cascade_cases.hpp"

namespace {

using namespace mien;
using namespace mien::cascade;
using cascade_cases::Golden;

#include "data/cascade/golden.inc"

static_assert(std::size(drawn_golden) == cascade_cases::case_count);
static_assert(std::size(photograph_golden) == std::size(cascade_cases::photograph_cases));

std::vector<Isa> instruction_sets() {
  std::vector<Isa> sets{Isa::portable};
  if (cpu_isa() >= Isa::avx2) sets.push_back(Isa::avx2);
  if (cpu_isa() >= Isa::avx512) sets.push_back(Isa::avx512);
  return sets;
}

void check(const Cascade& cascade, const ImageView& image, Options options, const Golden& golden) {
  const int min_neighbors = options.min_neighbors;
  for (const Isa isa : instruction_sets()) {
    CAPTURE(to_string(isa));
    Detector detector(cascade, isa);
    options.min_neighbors = 0;
    const std::vector<Detection> candidates = detector.detect(image, options);
    CHECK(static_cast<int>(candidates.size()) == golden.candidates);
    CHECK(cascade_cases::digest(candidates) == golden.candidate_digest);
    options.min_neighbors = min_neighbors;
    const std::vector<Detection> groups = detector.detect(image, options);
    CHECK(static_cast<int>(groups.size()) == golden.groups);
    CHECK(cascade_cases::digest(groups) == golden.group_digest);
  }
}

struct Photograph {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;
  ImageView view() const { return {pixels.data(), width, height, width, PixelFormat::gray}; }
};

/// tests/data/cascade/grace_hopper.pgm (a part of a U.S. Navy photograph, public domain), where the test was built.
Photograph read_photograph() {
  std::string path = __FILE__;
  path = path.substr(0, path.find_last_of('/') + 1) + "data/cascade/grace_hopper.pgm";
  Photograph out;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file || std::fscanf(file.get(), "P5 %d %d 255", &out.width, &out.height) != 2) return {};
  std::fgetc(file.get());
  out.pixels.resize(static_cast<std::size_t>(out.width) * static_cast<std::size_t>(out.height));
  if (std::fread(out.pixels.data(), 1, out.pixels.size(), file.get()) != out.pixels.size()) return {};
  return out;
}

}  // namespace

TEST_CASE("drawn cascades give OpenCV's detections") {
  int with_candidates = 0;
  for (int i = 0; i < cascade_cases::case_count; ++i) {
    const cascade_cases::Case one = cascade_cases::make_case(i);
    CAPTURE(i);
    CAPTURE(cascade_cases::kind_names[static_cast<int>(one.kind)]);
    const Cascade cascade = parse_cascade(one.xml);
    check(cascade, one.picture.view(), one.options, drawn_golden[i]);
    with_candidates += drawn_golden[i].candidates > 0;
  }
  CHECK(with_candidates > cascade_cases::case_count / 5);
}

TEST_CASE("OpenCV's cascades give OpenCV's detections in a photograph") {
  const Photograph photograph = read_photograph();
  REQUIRE(photograph.width == 200);
  const std::string folder = "/usr/share/opencv4/";
  for (std::size_t i = 0; i < std::size(photograph_golden); ++i) {
    const auto& one = cascade_cases::photograph_cases[i];
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen((folder + one.file).c_str(), "rb"),
                                                               [](std::FILE* f) { return f ? std::fclose(f) : 0; });
    if (!file) {
      MESSAGE("skipped: ", folder, one.file, " is not installed (Debian: opencv-data)");
      continue;
    }
    CAPTURE(one.file);
    Options options;
    options.scale_factor = one.scale_factor;
    options.min_neighbors = one.min_neighbors;
    check(load_cascade(folder + one.file), photograph.view(), options, photograph_golden[i]);
  }
}
