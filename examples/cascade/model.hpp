// The cascade itself: stages of trees of Haar or LBP features, checked once and constant from then on.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cascade/geometry.hpp"
#include "mien/core/error.hpp"

namespace mien::cascade {

enum class FeatureKind { haar, lbp };

/// Weighted sum of the pixels in two or three rectangles of the window. In a tilted feature (x, y) is the topmost
/// corner, the width runs down-right and the height down-left, both counted in diagonal steps.
struct HaarFeature {
  std::array<Rect, 3> rects{};
  std::array<float, 3> weights{};  // the third is zero where there are two rectangles
  bool tilted = false;
};

/// Local binary pattern of 3x3 cells: `cell` is the top left one.
struct LbpFeature {
  Rect cell;
};

/// Node of a tree. A child above zero is a node of the same tree (always a later one), zero or below minus a leaf.
struct Node {
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t feature = 0;
  float threshold = 0.0F;                 // Haar: left if value < threshold
  std::array<std::uint32_t, 8> subset{};  // LBP: left if the bit of the pattern is set
};

/// `nodes` nodes from `first_node` on, with `nodes + 1` leaves from `first_leaf` on.
struct Tree {
  std::int32_t first_node = 0;
  std::int32_t nodes = 0;
  std::int32_t first_leaf = 0;
};

/// A window passes when the sum of its trees' leaves is not below `threshold`.
struct Stage {
  std::int32_t first_tree = 0;
  std::int32_t trees = 0;
  float threshold = 0.0F;
};

/// What a file says, before anything is checked.
struct CascadeData {
  FeatureKind kind = FeatureKind::haar;
  Size window;
  std::vector<Stage> stages;
  std::vector<Tree> trees;
  std::vector<Node> nodes;
  std::vector<float> leaves;
  std::vector<HaarFeature> haar;
  std::vector<LbpFeature> lbp;
};

/// A checked cascade. Constant, hence shared by any number of threads and detectors.
class Cascade {
 public:
  /// Largest window side and most stages, nodes and features of a cascade that is accepted. The window limit keeps the
  /// variance of a window exact in double precision; no cascade in use comes near any of them.
  static constexpr int max_window = 512;
  static constexpr std::size_t max_stages = 1000;
  static constexpr std::size_t max_nodes = 100000;

  /// Checks `data`; throws FormatError naming the stage, tree, node or feature that is wrong.
  explicit Cascade(CascadeData data) : data_(std::move(data)) {
    check_sizes();
    check_features();
    check_trees();
    analyse();
  }

  FeatureKind kind() const { return data_.kind; }
  Size window() const { return data_.window; }
  std::span<const Stage> stages() const { return data_.stages; }
  std::span<const Tree> trees() const { return data_.trees; }
  std::span<const Node> nodes() const { return data_.nodes; }
  std::span<const float> leaves() const { return data_.leaves; }
  std::span<const HaarFeature> haar_features() const { return data_.haar; }
  std::span<const LbpFeature> lbp_features() const { return data_.lbp; }

  bool has_tilted() const { return has_tilted_; }
  /// Every feature value is exact in float in any order of evaluation: integral weights and sums below 2^24, as in all
  /// cascades in use. Vector code needs it to give the same bits as one window after the other.
  bool exact_features() const { return exact_features_; }

 private:
  void check_sizes() const;
  void check_features() const;
  void check_trees() const;
  void analyse();

  CascadeData data_;
  bool has_tilted_ = false;
  bool exact_features_ = true;
};

inline void Cascade::check_sizes() const {
  const auto [width, height] = data_.window;
  const int smallest = data_.kind == FeatureKind::haar ? 3 : 1;
  if (width < smallest || height < smallest || width > max_window || height > max_window) {
    fail<FormatError>("cascade window of " + std::to_string(width) + "x" + std::to_string(height) +
                      " pixels: each side must be " + std::to_string(smallest) + " to " + std::to_string(max_window));
  }
  if (data_.stages.empty()) fail<FormatError>("cascade without stages");
  if (data_.stages.size() > max_stages) {
    fail<FormatError>("cascade of " + std::to_string(data_.stages.size()) + " stages: at most " +
                      std::to_string(max_stages) + " are accepted");
  }
  if (data_.nodes.size() > max_nodes || data_.haar.size() > max_nodes || data_.lbp.size() > max_nodes) {
    fail<FormatError>("cascade of more than " + std::to_string(max_nodes) + " nodes or features");
  }
}

inline void Cascade::check_features() const {
  const auto inside = [&](const Rect& r) {
    return r.x >= 0 && r.y >= 0 && r.width >= 1 && r.height >= 1 && r.width <= data_.window.width - r.x &&
           r.height <= data_.window.height - r.y;
  };
  for (std::size_t i = 0; i < data_.haar.size(); ++i) {
    const HaarFeature& feature = data_.haar[i];
    for (std::size_t k = 0; k < 3; ++k) {
      if (k == 2 && feature.weights[k] == 0.0F) continue;
      const Rect& r = feature.rects[k];
      bool good = inside(r) && detail::is_finite(feature.weights[k]);
      // The corners of a tilted rectangle: left x - height, right x + width, bottom y + width + height.
      if (good && feature.tilted) {
        good =
            r.x >= r.height && r.x + r.width <= data_.window.width && r.y + r.width + r.height <= data_.window.height;
      }
      if (!good) {
        fail<FormatError>("feature " + std::to_string(i) + ", rectangle " + std::to_string(k) +
                          ": it leaves the window, is empty, or its weight is not finite");
      }
    }
  }
  for (std::size_t i = 0; i < data_.lbp.size(); ++i) {
    const Rect& cell = data_.lbp[i].cell;
    if (!inside(cell) || !inside({cell.x, cell.y, 3 * cell.width, 3 * cell.height})) {
      fail<FormatError>("feature " + std::to_string(i) + ": its 3x3 cells leave the window or are empty");
    }
  }
}

inline void Cascade::check_trees() const {
  const std::size_t features = data_.kind == FeatureKind::haar ? data_.haar.size() : data_.lbp.size();
  const auto name = [](std::size_t stage, std::int32_t tree, std::int32_t node) {
    return "stage " + std::to_string(stage) + ", tree " + std::to_string(tree) + ", node " + std::to_string(node);
  };
  std::size_t tree_count = 0, node_count = 0, leaf_count = 0;
  for (std::size_t s = 0; s < data_.stages.size(); ++s) {
    const Stage& stage = data_.stages[s];
    if (!detail::is_finite(stage.threshold))
      fail<FormatError>("stage " + std::to_string(s) + ": threshold is not finite");
    if (stage.trees < 1) fail<FormatError>("stage " + std::to_string(s) + " has no trees");
    if (stage.first_tree != static_cast<std::int32_t>(tree_count) ||
        static_cast<std::size_t>(stage.trees) > data_.trees.size() - tree_count) {
      fail<FormatError>("stage " + std::to_string(s) + ": its trees do not follow those of the stage before");
    }
    tree_count += static_cast<std::size_t>(stage.trees);
    for (std::int32_t t = 0; t < stage.trees; ++t) {
      const Tree& tree = data_.trees[static_cast<std::size_t>(stage.first_tree + t)];
      if (tree.nodes < 1 || tree.first_node != static_cast<std::int32_t>(node_count) ||
          tree.first_leaf != static_cast<std::int32_t>(leaf_count) ||
          static_cast<std::size_t>(tree.nodes) > data_.nodes.size() - node_count ||
          static_cast<std::size_t>(tree.nodes) + 1 > data_.leaves.size() - leaf_count) {
        fail<FormatError>(name(s, t, 0) + ": nodes or leaves of the tree are missing");
      }
      node_count += static_cast<std::size_t>(tree.nodes);
      leaf_count += static_cast<std::size_t>(tree.nodes) + 1;
      for (std::int32_t n = 0; n < tree.nodes; ++n) {
        const Node& node = data_.nodes[static_cast<std::size_t>(tree.first_node + n)];
        if (node.feature < 0 || static_cast<std::size_t>(node.feature) >= features) {
          fail<FormatError>(name(s, t, n) + ": feature " + std::to_string(node.feature) + " of " +
                            std::to_string(features));
        }
        if (!detail::is_finite(node.threshold)) fail<FormatError>(name(s, t, n) + ": threshold is not finite");
        for (const std::int32_t child : {node.left, node.right}) {
          // Children point forward only: no tree can loop.
          if (child > 0 ? (child <= n || child >= tree.nodes) : (child < -tree.nodes)) {
            fail<FormatError>(name(s, t, n) + ": child " + std::to_string(child) + " in a tree of " +
                              std::to_string(tree.nodes) + " nodes (a child node must come later than its parent)");
          }
        }
      }
    }
  }
  if (tree_count != data_.trees.size() || node_count != data_.nodes.size() || leaf_count != data_.leaves.size()) {
    fail<FormatError>("cascade with trees, nodes or leaves that belong to no stage");
  }
  for (std::size_t i = 0; i < data_.leaves.size(); ++i) {
    if (!detail::is_finite(data_.leaves[i])) fail<FormatError>("leaf " + std::to_string(i) + " is not finite");
  }
}

inline void Cascade::analyse() {
  for (const HaarFeature& feature : data_.haar) {
    has_tilted_ = has_tilted_ || feature.tilted;
    double largest = 0.0;
    for (std::size_t k = 0; k < 3; ++k) {
      const double weight = std::abs(static_cast<double>(feature.weights[k]));
      exact_features_ = exact_features_ && weight == std::floor(weight);
      // A tilted rectangle of w x h diagonal steps holds 2 w h pixels.
      const double area = static_cast<double>(feature.rects[k].width) * feature.rects[k].height;
      largest += weight * area * (feature.tilted ? 510.0 : 255.0);
    }
    exact_features_ = exact_features_ && largest < 16777216.0;
  }
}

}  // namespace mien::cascade
