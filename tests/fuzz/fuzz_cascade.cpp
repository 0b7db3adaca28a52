// Fuzz target: parse_cascade on any text; whatever is accepted is evaluated, by every instruction set, to the same end.
//
// Built where clang-16 is installed; a long run, as fuzz_model.cpp says, is
//   fuzz_cascade -runs=2000000 -dict=tests/fuzz/cascade.dict -rss_limit_mb=1024 -timeout=20 corpus
//   tests/fuzz/seeds/cascade
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "cascade/detector.hpp"
#include "cascade/xml.hpp"

namespace {

using namespace mien::cascade;

void expect(bool holds) {
  if (!holds) std::abort();
}

bool same(const std::vector<Detection>& a, const std::vector<Detection>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].box != b[i].box || a[i].neighbors != b[i].neighbors || a[i].weight != b[i].weight) return false;
  }
  return true;
}

/// Small pictures with edges, so that windows have contrast.
ImageView picture(std::uint8_t* pixels, int width, int height) {
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      pixels[y * width + x] = static_cast<std::uint8_t>((x * 37 + y * 11 + (x / 5 % 2) * 90 + (x * y) % 17 * 8) & 255);
    }
  }
  return {pixels, width, height, width, PixelFormat::gray};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const Cascade cascade = parse_cascade(text, "fuzz");
    expect(!cascade.stages().empty() && !cascade.nodes().empty());
    // A few windows in two scales; larger cascades would only cost time.
    const auto [width, height] = cascade.window();
    if (cascade.nodes().size() > 300 || width > 40 || height > 40) return 0;
    static std::uint8_t pixels[64 * 64];
    Options options;
    options.scale_factor = 1.06;
    options.min_neighbors = static_cast<int>(size % 3);
    const ImageView image = picture(pixels, width + 21, height + 3);
    const mien::Isa isa = size % 2 == 0 ? mien::Isa::avx2 : mien::Isa::avx512;
    const std::vector<Detection> plain = Detector(cascade, mien::Isa::portable).detect(image, options);
    expect(same(Detector(cascade, isa).detect(image, options), plain));
  } catch (const mien::FormatError& error) {
    expect(std::string_view(error.what()).rfind("fuzz", 0) == 0);
  }
  return 0;
}
