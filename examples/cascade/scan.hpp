// The scan in plain C++: the truth beside the vector versions, and what runs where there are none.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cascade/geometry.hpp"
#include "cascade/model.hpp"
#include "cascade/program.hpp"

namespace mien::cascade::detail {

/// A window that passed every stage: its place in the level, and the sum of the last stage.
struct Hit {
  std::int32_t row = 0;
  std::int32_t column = 0;
  double weight = 0.0;
};

/// Integral images of some rows of a level, and the windows to look at: `columns` in each of `rows` rows, one row of
/// windows being `step` rows of pixels below the other.
struct Strip {
  const std::uint32_t* sums = nullptr;     // the corner of the first window
  const std::uint32_t* squares = nullptr;  // Haar only
  int rows = 0;
  int columns = 0;
  int step = 1;
  int first_row = 0;  // row number of the first in the level, as hits report it
};

inline std::int32_t rect_sum(const std::uint32_t* at, const std::array<std::int32_t, 4>& corner) {
  return static_cast<std::int32_t>(at[corner[0]] - at[corner[1]] - at[corner[2]] + at[corner[3]]);
}

/// 1 / (area * standard deviation) of the window; 0 where the deviation is at most 10 gray levels, which ends the
/// evaluation of the window. The sums are exact in double, as Cascade::max_window makes sure.
inline float norm_factor(const Program& program, const std::uint32_t* sums, const std::uint32_t* squares) {
  const double sum = rect_sum(sums, program.norm);
  const double square_sum = static_cast<std::uint32_t>(rect_sum(squares, program.norm));
  const double variance = program.norm_area * square_sum - sum * sum;
  if (!(variance > 0.0)) return 0.0F;
  const auto factor = static_cast<float>(rounded(1.0 / rounded(std::sqrt(variance))));
  return program.norm_area * factor < 0.1 ? factor : 0.0F;
}

inline bool goes_left(const Node& node, const HaarOffsets& feature, const std::uint32_t* sums, float factor) {
  // Products and sums are rounded one by one: with weights that are no integers, a fused operation would differ.
  float value = rounded(static_cast<float>(rect_sum(sums, feature.at[0])) * feature.weights[0]) +
                rounded(static_cast<float>(rect_sum(sums, feature.at[1])) * feature.weights[1]);
  if (feature.weights[2] != 0.0F) {
    value = rounded(value) + rounded(static_cast<float>(rect_sum(sums, feature.at[2])) * feature.weights[2]);
  }
  return rounded(value) * factor < node.threshold;
}

inline bool goes_left(const Node& node, const LbpOffsets& feature, const std::uint32_t* sums, float) {
  const auto cell = [&](std::size_t i) {
    return static_cast<std::int32_t>(sums[feature.at[i]] - sums[feature.at[i + 1]] - sums[feature.at[i + 4]] +
                                     sums[feature.at[i + 5]]);
  };
  const std::int32_t centre = cell(5);
  // Clockwise from the top left, the most significant bit first.
  const unsigned pattern = (cell(0) >= centre ? 128U : 0U) | (cell(1) >= centre ? 64U : 0U) |
                           (cell(2) >= centre ? 32U : 0U) | (cell(6) >= centre ? 16U : 0U) |
                           (cell(10) >= centre ? 8U : 0U) | (cell(9) >= centre ? 4U : 0U) |
                           (cell(8) >= centre ? 2U : 0U) | (cell(4) >= centre ? 1U : 0U);
  return (node.subset[pattern >> 5] >> (pattern & 31U) & 1U) != 0;
}

inline const HaarOffsets& feature_of(const Program& program, const Node& node, const HaarOffsets*) {
  return program.haar[static_cast<std::size_t>(node.feature)];
}
inline const LbpOffsets& feature_of(const Program& program, const Node& node, const LbpOffsets*) {
  return program.lbp[static_cast<std::size_t>(node.feature)];
}

/// Whether the window at `sums` passes stage `number`; `weight` receives the sum of its trees. `Feature` is HaarOffsets
/// or LbpOffsets.
template <class Feature>
bool passes_stage(const Cascade& cascade, const Program& program, const std::uint32_t* sums, float factor, int number,
                  double& weight) {
  const Node* const nodes = cascade.nodes().data();
  const float* const leaves = cascade.leaves().data();
  const Stage& stage = cascade.stages()[static_cast<std::size_t>(number)];
  const Tree* tree = cascade.trees().data() + stage.first_tree;
  double sum = 0.0;
  for (std::int32_t t = 0; t < stage.trees; ++t, ++tree) {
    std::int32_t at = 0;
    do {
      const Node& node = nodes[tree->first_node + at];
      const Feature& feature = feature_of(program, node, static_cast<const Feature*>(nullptr));
      at = goes_left(node, feature, sums, factor) ? node.left : node.right;
    } while (at > 0);
    sum += static_cast<double>(leaves[tree->first_leaf - at]);
  }
  weight = sum;
  return !(sum < static_cast<double>(stage.threshold));
}

/// Appends to `hits` the windows of `strip` that pass, row by row. A window that fails at stage 0 makes the scan jump
/// over its right neighbour; one of too little contrast or failing later does not.
template <class Feature>
void scan_plain(const Cascade& cascade, const Program& program, const Strip& strip, std::vector<Hit>& hits) {
  constexpr bool haar = std::is_same_v<Feature, HaarOffsets>;
  const int stages = static_cast<int>(cascade.stages().size());
  for (int row = 0; row < strip.rows; ++row) {
    const index_t start = static_cast<index_t>(row) * strip.step * program.layout.stride;
    for (int column = 0; column < strip.columns; ++column) {
      const std::uint32_t* const sums = strip.sums + start + column;
      float factor = 0.0F;
      if constexpr (haar) {
        factor = norm_factor(program, sums, strip.squares + start + column);
        if (factor == 0.0F) continue;
      }
      double weight = 0.0;
      int passed = 0;
      while (passed < stages && passes_stage<Feature>(cascade, program, sums, factor, passed, weight)) ++passed;
      if (passed == stages) hits.push_back({strip.first_row + row, column, weight});
      if (passed == 0) ++column;
    }
  }
}

inline void scan_portable(const Cascade& cascade, const Program& program, const Strip& strip, std::vector<Hit>& hits) {
  if (cascade.kind() == FeatureKind::haar) {
    scan_plain<HaarOffsets>(cascade, program, strip, hits);
  } else {
    scan_plain<LbpOffsets>(cascade, program, strip, hits);
  }
}

}  // namespace mien::cascade::detail
