// A cascade laid out for one memory layout of the integral images: every corner as an offset from the window.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cascade/geometry.hpp"
#include "cascade/model.hpp"

namespace mien::cascade::detail {

/// Where the integral image's value of (dx, dy), counted from the window's corner, lies. With `half` = 0, rows are
/// plain. Where windows stand at every second column (step 2), even columns come first and odd ones `half` later, so
/// that neighbouring windows are neighbours in memory.
struct Layout {
  std::int32_t stride = 0;
  std::int32_t half = 0;
  std::int32_t tilted_plane = 0;  // distance from the upright sums to the tilted ones

  std::int32_t column(int x) const { return half == 0 ? x : (x & 1) * half + x / 2; }
  std::int32_t offset(int x, int y) const { return y * stride + column(x); }
  friend bool operator==(const Layout&, const Layout&) = default;
};

struct HaarOffsets {
  std::array<std::array<std::int32_t, 4>, 3> at{};  // + - - +
  std::array<float, 3> weights{};
};

struct LbpOffsets {
  std::array<std::int32_t, 16> at{};  // the 4x4 corners of 3x3 cells, row by row
};

struct Program {
  Layout layout;
  std::array<std::int32_t, 4> norm{};  // + - - + of the rectangle whose variance normalizes Haar features
  double norm_area = 0.0;
  std::vector<HaarOffsets> haar;
  std::vector<LbpOffsets> lbp;
};

inline std::array<std::int32_t, 4> corners(const Rect& r, const Layout& layout) {
  return {layout.offset(r.x, r.y), layout.offset(r.x + r.width, r.y), layout.offset(r.x, r.y + r.height),
          layout.offset(r.x + r.width, r.y + r.height)};
}

inline std::array<std::int32_t, 4> tilted_corners(const Rect& r, const Layout& layout) {
  const std::int32_t plane = layout.tilted_plane;
  return {plane + layout.offset(r.x, r.y), plane + layout.offset(r.x - r.height, r.y + r.height),
          plane + layout.offset(r.x + r.width, r.y + r.width),
          plane + layout.offset(r.x + r.width - r.height, r.y + r.width + r.height)};
}

/// Fills `program` for `cascade` on `layout`, reusing its memory.
inline void compile(const Cascade& cascade, const Layout& layout, Program& program) {
  program.layout = layout;
  program.haar.clear();
  program.lbp.clear();
  const auto [width, height] = cascade.window();
  if (cascade.kind() == FeatureKind::haar) {
    program.norm = corners({1, 1, width - 2, height - 2}, layout);
    program.norm_area = static_cast<double>(width - 2) * (height - 2);
  }
  for (const HaarFeature& feature : cascade.haar_features()) {
    HaarOffsets offsets;
    offsets.weights = feature.weights;
    for (std::size_t k = 0; k < 3; ++k) {
      if (feature.weights[k] == 0.0F) continue;
      offsets.at[k] = feature.tilted ? tilted_corners(feature.rects[k], layout) : corners(feature.rects[k], layout);
    }
    program.haar.push_back(offsets);
  }
  for (const LbpFeature& feature : cascade.lbp_features()) {
    LbpOffsets offsets;
    for (int row = 0; row < 4; ++row) {
      for (int column = 0; column < 4; ++column) {
        offsets.at[static_cast<std::size_t>(4 * row + column)] =
            layout.offset(feature.cell.x + column * feature.cell.width, feature.cell.y + row * feature.cell.height);
      }
    }
    program.lbp.push_back(offsets);
  }
}

}  // namespace mien::cascade::detail
