// From a cascade and a memory layout to the program of the vector scan.
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
#include "cascade/vector_program.hpp"

namespace mien::cascade::detail {

/// A point of the integral image, counted from the window's corner, and its factor in a feature's value.
struct Point {
  int x = 0;
  int y = 0;
  int factor = 0;
};

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
    for (int t = 0; t < stage.trees; ++t) {
      const Tree& tree = tree_at(stage, t);
      double largest = 0.0;
      for (int n = 0; n <= tree.nodes; ++n) largest = std::max(largest, std::abs(leaf(tree, n)));
      bound += largest;
    }
    // Every leaf is off by at most half a unit, so is the threshold; the sums of doubles that these stand for are off
    // by far less. Whatever has been added up so far is the sum of some leaf of every tree: nothing overflows.
    int exponent = 0;
    std::frexp(bound, &exponent);
    unit_ = bound > 0.0 ? std::ldexp(1.0, 30 - exponent) : 1.0;
    out.margin = stage.trees + 4;
    out.base = fixed(-static_cast<double>(stage.threshold));
    out.edges.first = count(program_.edges);
    out.lines.first = count(program_.lines);
    out.checkers.first = count(program_.checkers);
    out.wides.first = count(program_.wides);
    out.patterns.first = count(program_.patterns);
    out.branches.first = count(program_.branches);
    shapes_.clear();
    for (int t = 0; t < stage.trees; ++t) add_tree(tree_at(stage, t), out.base);
    out.edges.last = count(program_.edges);
    out.lines.last = count(program_.lines);
    out.checkers.last = count(program_.checkers);
    out.wides.last = count(program_.wides);
    out.patterns.last = count(program_.patterns);
    out.branches.last = count(program_.branches);
    // The weight of a window that passes follows from the masks of the last stage.
    const bool last = lanes_ > 1 && &stage == &cascade_.stages().back();
    out.keeps_masks = last || out.branches.first != out.branches.last;
    if (out.keeps_masks) {
      number_masks(out.branches);
      if (last) program_.last_masks.assign(numbers_.begin() + first_mask, numbers_.end());
    }
    program_.stages.push_back(out);
  }

  static constexpr std::int32_t all = 0, none = 1, first_mask = 2;

  /// Adds a tree's nodes and branches, whose masks are numbered by the nodes of the stage as they come, those that keep
  /// what reaches them by minus their number.
  void add_tree(const Tree& tree, std::int32_t& base) {
    const Node* const nodes = cascade_.nodes().data() + tree.first_node;
    const auto size = static_cast<std::size_t>(tree.nodes);
    ends_.resize(size);
    gains_.resize(size);
    reach_.assign(size, all);
    for (std::size_t n = size; n-- > 0;) {
      // Where a window ends that goes left or right here and then always right.
      const auto end = [&](std::int32_t child) {
        return child > 0 ? ends_[static_cast<std::size_t>(child)] : fixed(leaf(tree, -child));
      };
      ends_[n] = end(nodes[n].right);
      gains_[n] = end(nodes[n].left) - ends_[n];
    }
    base += ends_[0];
    const std::int32_t first = first_mask + count(shapes_);
    for (std::size_t n = 0; n < size; ++n) {
      shapes_.push_back(add_node(nodes[n], n == 0 ? gains_[0] : 0));
      const std::int32_t here = first + static_cast<std::int32_t>(n);
      if (nodes[n].left > 0) add_branch(here, none, first, nodes[n].left);
      if (nodes[n].right > 0) add_branch(reach_[n], here, first, nodes[n].right);
    }
  }

  void add_branch(std::int32_t from, std::int32_t except, std::int32_t first, std::int32_t node) {
    const auto n = static_cast<std::size_t>(node);
    reach_[n] = -(first + node);
    program_.branches.push_back({from, except, reach_[n], first + node, gains_[n]});
  }

  /// Gives masks their final numbers, now that the order of the stage's nodes is known.
  void number_masks(const Range& branches) {
    const std::int32_t nodes = count(shapes_);
    numbers_.assign({all, none});
    numbers_.resize(static_cast<std::size_t>(first_mask + nodes));
    std::int32_t next = first_mask;
    for (const FeatureShape shape :
         {FeatureShape::edge, FeatureShape::line, FeatureShape::checker, FeatureShape::wide, FeatureShape::pattern}) {
      for (std::size_t n = 0; n < shapes_.size(); ++n) {
        if (shapes_[n] == shape) numbers_[first_mask + n] = next++;
      }
    }
    const auto number = [&](std::int32_t mask) {
      return mask >= 0 ? numbers_[static_cast<std::size_t>(mask)] : nodes - mask;
    };
    for (std::int32_t b = branches.first; b < branches.last; ++b) {
      Branch& branch = program_.branches[static_cast<std::size_t>(b)];
      branch.from = number(branch.from);
      branch.except = number(branch.except);
      branch.reach = number(branch.reach);
      branch.node = number(branch.node);
    }
    program_.masks = std::max(program_.masks, first_mask + 2 * nodes);
  }

  std::int32_t fixed(double value) const { return round_even(value * unit_); }
  const Tree& tree_at(const Stage& stage, int t) const {
    return cascade_.trees()[static_cast<std::size_t>(stage.first_tree + t)];
  }
  double leaf(const Tree& tree, int n) const {
    return cascade_.leaves()[static_cast<std::size_t>(tree.first_leaf + n)];
  }

  FeatureShape add_node(const Node& node, std::int32_t gain) {
    if (cascade_.kind() == FeatureKind::haar) {
      return add_haar(cascade_.haar_features()[static_cast<std::size_t>(node.feature)], node.threshold, gain);
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
    return FeatureShape::pattern;
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

  FeatureShape add_haar(const HaarFeature& feature, float threshold, std::int32_t gain) {
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
    if (add_edge(feature.tilted, threshold, gain)) return FeatureShape::edge;
    if (add_checker(feature.tilted, threshold, gain)) return FeatureShape::checker;
    if (add_line(feature, threshold, gain)) return FeatureShape::line;
    add_wide(feature, threshold, gain);
    return FeatureShape::wide;
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
  // Of the stage or tree at hand.
  double unit_ = 1.0;
  std::vector<FeatureShape> shapes_;
  std::vector<std::int32_t> ends_, gains_, reach_, numbers_;
  std::vector<Point> points_;
};

}  // namespace mien::cascade::detail
