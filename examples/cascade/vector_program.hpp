// A cascade prepared for evaluating many windows at once: what the vector scan goes through.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cascade/model.hpp"

namespace mien::cascade::detail {

/// Shapes of features by which integral image values they need, in the order in which a stage evaluates them.
/// Rectangles share corners: most Haar features of two need six values instead of eight, the checkerboard of three nine
/// instead of twelve.
enum class FeatureShape { edge, line, checker, wide, pattern };

/// A node's feature, its threshold, and what a window gains by going left there (nothing below the root of a tree: see
/// Branch). In every record `at` are offsets from the window.
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

template <class Node>
std::span<const Node> part(const std::vector<Node>& nodes, const Range& range) {
  return {nodes.data() + range.first, nodes.data() + range.last};
}

struct VectorStage {
  Range edges, lines, checkers, wides, patterns;
  Range branches;
  // Sums run in 32-bit fixed point. `base` is what a window that goes right everywhere has, less the threshold; a sum
  // within `margin` of zero is decided by the exact evaluation.
  std::int32_t base = 0;
  std::int32_t margin = 0;
  bool keeps_masks = false;  // for the branches, or for what comes after the last stage
};

/// A node below the root of its tree. A window that went right everywhere would end in a certain leaf; every node that
/// it reaches and leaves to the left adds what that changes, so that a tree costs one addition per node.
///
/// Windows are told apart by masks, numbered: 0 all, 1 none, then for each node of the stage those that go left, in the
/// order in which they are evaluated, then for each branch those that reach it. Branches are sorted parents first.
struct Branch {
  std::int32_t from;    // windows that reach it are those of `from` ...
  std::int32_t except;  // ... without those of `except`
  std::int32_t reach;   // where these are kept
  std::int32_t node;    // those that go left; afterwards those that reach the node and go left
  std::int32_t gain;
};

/// Nodes sorted by stage and shape.
struct VectorProgram {
  std::vector<EdgeNode> edges;
  std::vector<LineNode> lines;
  std::vector<CheckerNode> checkers;
  std::vector<WideNode> wides;
  std::vector<PatternNode> patterns;
  std::vector<Branch> branches;
  std::vector<VectorStage> stages;
  std::array<std::int32_t, 4> norm{};
  std::int32_t masks = 0;                // most of a stage
  std::vector<std::int32_t> last_masks;  // of the nodes of the last stage, in the cascade's order; packed windows only
  std::vector<int> segment_ends;  // stages at which the surviving windows are packed together; the last is the end
};

/// Most nodes of a stage that the vector code takes.
inline constexpr int max_vector_stage = 4096;

/// Whether every node but the root has one parent. What a file calls a tree may also let two nodes share a child.
inline bool is_tree(const Cascade& cascade, const Tree& tree) {
  std::vector<int> parents(static_cast<std::size_t>(tree.nodes), 0);
  for (std::int32_t n = 0; n < tree.nodes; ++n) {
    const Node& node = cascade.nodes()[static_cast<std::size_t>(tree.first_node + n)];
    for (const std::int32_t child : {node.left, node.right}) {
      if (child > 0) ++parents[static_cast<std::size_t>(child)];
    }
  }
  return std::all_of(parents.begin() + 1, parents.end(), [](int count) { return count == 1; });
}

/// Whether the vector code can evaluate `cascade`: otherwise the plain scan does. Feature values must be exact.
inline bool vector_code_applies(const Cascade& cascade) {
  if (!cascade.exact_features()) return false;
  for (const Stage& stage : cascade.stages()) {
    int nodes = 0;
    for (int t = 0; t < stage.trees; ++t) {
      const Tree& tree = cascade.trees()[static_cast<std::size_t>(stage.first_tree + t)];
      if (tree.nodes > 1 && !is_tree(cascade, tree)) return false;
      nodes += tree.nodes;
    }
    if (nodes > max_vector_stage) return false;
  }
  return true;
}

}  // namespace mien::cascade::detail
