// A cascade prepared for evaluating many windows at once.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cascade/geometry.hpp"
#include "cascade/model.hpp"
#include "cascade/program.hpp"

namespace mien::cascade::detail {

/// A point of the integral image, counted from the window's corner, and its factor in a feature's value.
struct Point {
  int x = 0;
  int y = 0;
  int factor = 0;
};

/// Shapes of Haar features by which integral image values they need. Rectangles share corners: most features of two
/// need six values instead of eight, the checkerboard of three nine instead of twelve.
enum class Shape4 { edge, line, checker, wide };

/// A node's feature, its threshold, and what a window gains by going left (stumps) or the node's number (trees).
/// In every record `at` are offsets from the window.
struct EdgeNode {  // at[0] + at[1] - at[2] - at[3] + 2 (at[4] - at[5])
  std::array<std::int32_t, 6> at;
  float threshold;
  std::int32_t gain;
};
struct LineNode {  // (at[0] - at[1] - at[2] + at[3]) + weight (at[4] - at[5] - at[6] + at[7])
  std::array<std::int32_t, 8> at;
  float weight;
  float threshold;
  std::int32_t gain;
};
struct CheckerNode {  // sign (at[0] + ... + at[3] - 2 (at[4] + ... + at[7]) + 4 at[8])
  std::array<std::int32_t, 9> at;
  float sign;
  float threshold;
  std::int32_t gain;
};
struct WideNode {  // three rectangles, each with its weight
  std::array<std::int32_t, 12> at;
  std::array<float, 3> weights;
  float threshold;
  std::int32_t gain;
};
struct PatternNode {  // LBP: 4x4 corners
  std::array<std::int32_t, 16> at;
  std::array<std::uint32_t, 8> subset;
  std::int32_t gain;
};

struct Range {
  std::int32_t first = 0;
  std::int32_t last = 0;
};

struct VectorStage {
  Range edges, lines, checkers, wides, patterns;
  Range trees;
  // Sums run in 32-bit fixed point. `base` is what a window that goes right everywhere has, less the threshold; a sum
  // within `margin` of zero is decided by the exact evaluation.
  std::int32_t base = 0;
  std::int32_t margin = 0;
};

struct VectorTreeNode {
  std::int32_t left, right;  // above zero: node of the tree; otherwise a leaf
  std::int32_t left_gain, right_gain;
};
struct VectorTree {
  std::int32_t first_node = 0;  // in `tree_nodes`; masks are numbered from the stage's first node
  std::int32_t nodes = 0;
  std::int32_t first_mask = 0;
};

/// Nodes sorted by stage and shape.
struct VectorProgram {
  std::vector<EdgeNode> edges;
  std::vector<LineNode> lines;
  std::vector<CheckerNode> checkers;
  std::vector<WideNode> wides;
  std::vector<PatternNode> patterns;
  std::vector<VectorTree> trees;
  std::vector<VectorTreeNode> tree_nodes;
  std::vector<VectorStage> stages;
  std::array<std::int32_t, 4> norm{};
  std::int32_t largest_stage = 0;  // nodes
  std::vector<int> segment_ends;   // stages at which the surviving windows are packed together; the last is the end
};

/// Largest tree and most nodes of a stage that the vector code takes.
inline constexpr int max_vector_tree = 16;
inline constexpr int max_vector_stage = 4096;

/// Whether the vector code can evaluate `cascade`: otherwise the plain scan does. Feature values must be exact.
inline bool vector_code_applies(const Cascade& cascade) {
  if (!cascade.exact_features()) return false;
  for (const Tree& tree : cascade.trees()) {
    if (tree.nodes > max_vector_tree) return false;
  }
  for (const Stage& stage : cascade.stages()) {
    int nodes = 0;
    for (int t = 0; t < stage.trees; ++t)
      nodes += cascade.trees()[static_cast<std::size_t>(stage.first_tree + t)].nodes;
    if (nodes > max_vector_stage) return false;
  }
  return true;
}

/// Builds VectorPrograms of one cascade for any layout.
class VectorCompiler {
 public:
  VectorCompiler(const Cascade& cascade, const Layout& layout, int lanes, VectorProgram& program)
      : cascade_(cascade), layout_(layout), lanes_(lanes), program_(program) {}

  /// `lanes` > 1 in the constructor: every value of the integral images is that many elements wide (packed windows).
  void run() {
    program_ = {};
    const auto [width, height] = cascade_.window();
    if (cascade_.kind() == FeatureKind::haar) {
      program_.norm = corners({1, 1, width - 2, height - 2}, layout_);
      for (std::int32_t& offset : program_.norm) offset *= lanes_;
    }
    for (const Stage& stage : cascade_.stages()) add_stage(stage);
    choose_segments();
  }

 private:
  template <class T>
  static std::int32_t count(const std::vector<T>& v) {
    return static_cast<std::int32_t>(v.size());
  }

  void add_stage(const Stage& stage) {
    VectorStage out;
    double bound = std::abs(static_cast<double>(stage.threshold));
    double base = -static_cast<double>(stage.threshold);
    bool stumps = true;
    for (int t = 0; t < stage.trees; ++t) {
      const Tree& tree = tree_at(stage, t);
      double largest = 0.0;
      for (int n = 0; n <= tree.nodes; ++n) largest = std::max(largest, std::abs(leaf(tree, n)));
      bound += 3.0 * largest;  // a right leaf and the difference to the left one
      stumps = stumps && tree.nodes == 1;
    }
    // Every gain is off by at most half a unit, so is the base; the sums of doubles that these stand for are off by far
    // less.
    int exponent = 0;
    std::frexp(bound, &exponent);
    const double unit = bound > 0.0 ? std::ldexp(1.0, 30 - exponent) : 1.0;
    out.margin = stage.trees + 4;
    out.edges.first = count(program_.edges);
    out.lines.first = count(program_.lines);
    out.checkers.first = count(program_.checkers);
    out.wides.first = count(program_.wides);
    out.patterns.first = count(program_.patterns);
    out.trees.first = count(program_.trees);
    std::int32_t mask = 0;
    for (int t = 0; t < stage.trees; ++t) {
      const Tree& tree = tree_at(stage, t);
      const Node* const nodes = cascade_.nodes().data() + tree.first_node;
      if (stumps) {
        const double left = leaf(tree, -nodes->left), right = leaf(tree, -nodes->right);
        base += right;
        add_node(*nodes, fixed(left - right, unit));
        continue;
      }
      program_.trees.push_back({count(program_.tree_nodes), tree.nodes, mask});
      for (int n = 0; n < tree.nodes; ++n) {
        const Node& node = nodes[n];
        add_node(node, mask++);
        program_.tree_nodes.push_back({node.left, node.right, node.left > 0 ? 0 : fixed(leaf(tree, -node.left), unit),
                                       node.right > 0 ? 0 : fixed(leaf(tree, -node.right), unit)});
      }
    }
    out.base = fixed(base, unit);
    program_.largest_stage = std::max(program_.largest_stage, mask);
    out.edges.last = count(program_.edges);
    out.lines.last = count(program_.lines);
    out.checkers.last = count(program_.checkers);
    out.wides.last = count(program_.wides);
    out.patterns.last = count(program_.patterns);
    out.trees.last = count(program_.trees);
    program_.stages.push_back(out);
  }

  static std::int32_t fixed(double value, double unit) { return round_even(value * unit); }
  const Tree& tree_at(const Stage& stage, int t) const {
    return cascade_.trees()[static_cast<std::size_t>(stage.first_tree + t)];
  }
  double leaf(const Tree& tree, int n) const {
    return cascade_.leaves()[static_cast<std::size_t>(tree.first_leaf + n)];
  }

  void add_node(const Node& node, std::int32_t gain) {
    if (cascade_.kind() == FeatureKind::haar) {
      add_haar(cascade_.haar_features()[static_cast<std::size_t>(node.feature)], node.threshold, gain);
      return;
    }
    PatternNode out{{}, node.subset, gain};
    const Rect& cell = cascade_.lbp_features()[static_cast<std::size_t>(node.feature)].cell;
    for (int row = 0; row < 4; ++row) {
      for (int column = 0; column < 4; ++column) {
        out.at[static_cast<std::size_t>(4 * row + column)] =
            lanes_ * layout_.offset(cell.x + column * cell.width, cell.y + row * cell.height);
      }
    }
    program_.patterns.push_back(out);
  }

  std::int32_t place(const Point& p, bool tilted) const {
    return lanes_ * (layout_.offset(p.x, p.y) + (tilted ? layout_.tilted_plane : 0));
  }

  static std::array<Point, 4> corner_points(const Rect& r, bool tilted) {
    if (tilted) {
      return {{{r.x, r.y, 1},
               {r.x - r.height, r.y + r.height, -1},
               {r.x + r.width, r.y + r.width, -1},
               {r.x + r.width - r.height, r.y + r.width + r.height, 1}}};
    }
    return {{{r.x, r.y, 1}, {r.x + r.width, r.y, -1}, {r.x, r.y + r.height, -1}, {r.x + r.width, r.y + r.height, 1}}};
  }

  void add_haar(const HaarFeature& feature, float threshold, std::int32_t gain) {
    // Corners that coincide are added up.
    std::vector<Point>& points = points_;
    points.clear();
    for (std::size_t k = 0; k < 3; ++k) {
      if (feature.weights[k] == 0.0F) continue;
      for (Point p : corner_points(feature.rects[k], feature.tilted)) {
        p.factor *= static_cast<int>(feature.weights[k]);
        const auto same =
            std::find_if(points.begin(), points.end(), [&](const Point& q) { return q.x == p.x && q.y == p.y; });
        if (same == points.end()) {
          points.push_back(p);
        } else {
          same->factor += p.factor;
        }
      }
    }
    points.erase(std::remove_if(points.begin(), points.end(), [](const Point& p) { return p.factor == 0; }),
                 points.end());
    if (!add_edge(feature.tilted, threshold, gain) && !add_checker(feature.tilted, threshold, gain) &&
        !add_line(feature, threshold, gain)) {
      add_wide(feature, threshold, gain);
    }
  }

  /// Copies the points of `factor` to `out`; false unless there are exactly `wanted`.
  template <std::size_t N>
  bool take(int factor, bool tilted, std::size_t wanted, std::array<std::int32_t, N>& out, std::size_t first) const {
    std::size_t found = 0;
    for (const Point& p : points_) {
      if (p.factor != factor) continue;
      if (found == wanted) return false;
      out[first + found++] = place(p, tilted);
    }
    return found == wanted;
  }

  bool add_edge(bool tilted, float threshold, std::int32_t gain) {
    EdgeNode out{{}, threshold, gain};
    if (points_.size() != 6 || !take(1, tilted, 2, out.at, 0) || !take(-1, tilted, 2, out.at, 2) ||
        !take(2, tilted, 1, out.at, 4) || !take(-2, tilted, 1, out.at, 5)) {
      return false;
    }
    program_.edges.push_back(out);
    return true;
  }

  bool add_checker(bool tilted, float threshold, std::int32_t gain) {
    if (points_.size() != 9) return false;
    for (const int sign : {1, -1}) {
      CheckerNode out{{}, static_cast<float>(sign), threshold, gain};
      if (take(sign, tilted, 4, out.at, 0) && take(-2 * sign, tilted, 4, out.at, 4) &&
          take(4 * sign, tilted, 1, out.at, 8)) {
        program_.checkers.push_back(out);
        return true;
      }
    }
    return false;
  }

  bool add_line(const HaarFeature& feature, float threshold, std::int32_t gain) {
    if (std::abs(feature.weights[0]) != 1.0F || feature.weights[2] != 0.0F) return false;
    LineNode out{{}, feature.weights[1], threshold, gain};
    for (std::size_t k = 0; k < 2; ++k) {
      const auto rect = corner_points(feature.rects[k], feature.tilted);
      // A weight of -1 changes places among the corners: + - - + becomes - + + -.
      static constexpr std::size_t swapped[4] = {1, 0, 3, 2};
      const bool negative = k == 0 && feature.weights[0] < 0.0F;
      for (std::size_t i = 0; i < 4; ++i) out.at[4 * k + i] = place(rect[negative ? swapped[i] : i], feature.tilted);
    }
    program_.lines.push_back(out);
    return true;
  }

  void add_wide(const HaarFeature& feature, float threshold, std::int32_t gain) {
    WideNode out{{}, feature.weights, threshold, gain};
    for (std::size_t k = 0; k < 3; ++k) {
      if (feature.weights[k] == 0.0F) continue;
      const auto rect = corner_points(feature.rects[k], feature.tilted);
      for (std::size_t i = 0; i < 4; ++i) out.at[4 * k + i] = place(rect[i], feature.tilted);
    }
    program_.wides.push_back(out);
  }

  /// Neighbouring windows are evaluated side by side as long as most of them live. From about two hundred nodes on, few
  /// do; packing those together costs about as much as some hundred nodes, which pays if many more are to come.
  void choose_segments() {
    constexpr int side_by_side = 200;
    constexpr int worth_packing = 600;
    int since = 0, rest = static_cast<int>(cascade_.nodes().size()), wanted = side_by_side;
    if (cascade_.kind() == FeatureKind::haar) {
      for (std::size_t s = 0; s < cascade_.stages().size(); ++s) {
        if (since >= wanted && rest >= wanted) {
          program_.segment_ends.push_back(static_cast<int>(s));
          since = 0;
          wanted = worth_packing;
        }
        const Stage& stage = cascade_.stages()[s];
        for (int t = 0; t < stage.trees; ++t) {
          since += tree_at(stage, t).nodes;
          rest -= tree_at(stage, t).nodes;
        }
      }
    }
    program_.segment_ends.push_back(static_cast<int>(cascade_.stages().size()));
  }

  const Cascade& cascade_;
  Layout layout_;
  int lanes_;
  VectorProgram& program_;
  std::vector<Point> points_;
};

}  // namespace mien::cascade::detail
