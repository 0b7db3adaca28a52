// Grouping overlapping detections into one each: the results of OpenCV's groupRectangles, without comparing every pair.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cascade/geometry.hpp"

namespace mien::cascade {

/// What the detector found: where, from how many overlapping windows, how many stages they passed, and the largest sum
/// of the last stage among them (the larger, the surer).
struct Detection {
  Rect box;
  int neighbors = 1;
  int level = 0;
  double weight = 0.0;
};

namespace detail {

/// Joins candidates of similar place and size, replaces each class by its mean, and drops classes of too few members
/// or inside a stronger one. Keeps its memory from call to call.
///
/// Two rectangles are similar if x, y, right and bottom each differ by at most a fifth of the mean of the smaller width
/// and the smaller height; classes are the connected components of that. Candidates come in runs of equal size. Within
/// a run, all candidates in a square cell of the tolerance's side are similar; so only cells have to be connected, and
/// two cells already in one class are not compared again.
class Grouper {
 public:
  /// Takes the memory for `count` candidates of `sizes` sizes.
  void reserve(std::size_t count, std::size_t sizes) {
    runs_.reserve(sizes);
    cells_.reserve(count);
    keys_.reserve(count);
    holders_.reserve(count);
    order_.reserve(count);
    cell_of_.reserve(count);
    classes_.reserve(count);
  }

  /// Groups `found` in place, keeping classes of more than `min_neighbors` >= 1 members in the order of their first.
  void group(std::vector<Detection>& found, int min_neighbors) {
    if (found.empty()) return;
    make_cells(found);
    connect_cells(found);
    make_classes(found);
    select(found, min_neighbors);
  }

 private:
  struct Run {  // candidates of one size
    std::int32_t width, height;
    std::int32_t tolerance;
    std::int32_t first_cell, last_cell;
  };
  struct Cell {
    std::int32_t run, y, x;    // y and x in units of the run's cell side
    std::int32_t first, last;  // members in order_
    std::int32_t parent;       // union-find
    std::int32_t group;
  };
  struct Class {
    std::int64_t x = 0, y = 0, width = 0, height = 0;
    std::int32_t count = 0, level = 0;
    double weight = 0.0;
    Rect mean;
  };

  static std::int32_t tolerance(std::int32_t width, std::int32_t height) {
    return static_cast<std::int32_t>(std::floor(0.2 * (width + height) * 0.5));
  }
  static std::int32_t floor_divide(std::int32_t a, std::int32_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

  void make_cells(const std::vector<Detection>& found) {
    runs_.clear();
    cells_.clear();
    order_.clear();
    keys_.clear();
    for (std::size_t i = 0; i < found.size(); ++i) {
      const Rect& box = found[i].box;
      if (runs_.empty() || runs_.back().width != box.width || runs_.back().height != box.height) {
        runs_.push_back({box.width, box.height, tolerance(box.width, box.height), 0, 0});
      }
      const std::int32_t side = runs_.back().tolerance + 1;
      keys_.push_back({static_cast<std::int32_t>(runs_.size() - 1), box.y / side, box.x / side});
      order_.push_back(static_cast<std::int32_t>(i));
    }
    std::sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) {
      const Key& ka = keys_[static_cast<std::size_t>(a)];
      const Key& kb = keys_[static_cast<std::size_t>(b)];
      return ka < kb || (!(kb < ka) && a < b);
    });
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const Key& key = keys_[static_cast<std::size_t>(order_[i])];
      const auto at = static_cast<std::int32_t>(i);
      const auto index = static_cast<std::int32_t>(cells_.size());
      if (cells_.empty() || cells_.back().run != key.run || cells_.back().y != key.y || cells_.back().x != key.x) {
        Run& run = runs_[static_cast<std::size_t>(key.run)];
        if (cells_.empty() || cells_.back().run != key.run) run.first_cell = index;
        run.last_cell = index + 1;
        cells_.push_back({key.run, key.y, key.x, at, at + 1, index, -1});
      } else {
        cells_.back().last = at + 1;
      }
    }
  }

  void connect_cells(const std::vector<Detection>& found) {
    for (std::size_t c = 0; c < cells_.size(); ++c) {
      const Cell cell = cells_[c];
      const Run& run = runs_[static_cast<std::size_t>(cell.run)];
      const std::int32_t side = run.tolerance + 1;
      for (std::size_t r = static_cast<std::size_t>(cell.run); r < runs_.size(); ++r) {
        const Run& other = runs_[r];
        const std::int32_t limit = tolerance(std::min(run.width, other.width), std::min(run.height, other.height));
        const std::int32_t wider = other.width - run.width;
        const std::int32_t higher = other.height - run.height;
        // The left edges differ by d, the right ones by d + wider: both must stay within the limit.
        const std::int32_t low_x = std::max(-limit, -limit - wider), high_x = std::min(limit, limit - wider);
        const std::int32_t low_y = std::max(-limit, -limit - higher), high_y = std::min(limit, limit - higher);
        if (low_x > high_x || low_y > high_y) continue;
        const std::int32_t other_side = other.tolerance + 1;
        const std::int32_t first_y = floor_divide(cell.y * side + low_y, other_side);
        const std::int32_t last_y = floor_divide(cell.y * side + side - 1 + high_y, other_side);
        const std::int32_t first_x = floor_divide(cell.x * side + low_x, other_side);
        const std::int32_t last_x = floor_divide(cell.x * side + side - 1 + high_x, other_side);
        for (std::int32_t y = first_y; y <= last_y; ++y) {
          for (std::int32_t b = find_cell(other, y, first_x); b < other.last_cell; ++b) {
            const Cell& neighbor = cells_[static_cast<std::size_t>(b)];
            if (neighbor.y != y || neighbor.x > last_x) break;
            const std::int32_t root = root_of(static_cast<std::int32_t>(c));
            const std::int32_t neighbor_root = root_of(b);
            if (root == neighbor_root) continue;
            if (touching(found, cell, neighbor, low_x, high_x, low_y, high_y)) {
              cells_[static_cast<std::size_t>(std::max(root, neighbor_root))].parent = std::min(root, neighbor_root);
            }
          }
        }
      }
    }
  }

  /// First cell of `run` in row `y` whose column is not below `x`, or the first after where it would be.
  std::int32_t find_cell(const Run& run, std::int32_t y, std::int32_t x) const {
    std::int32_t low = run.first_cell, high = run.last_cell;
    while (low < high) {
      const std::int32_t middle = low + (high - low) / 2;
      const Cell& cell = cells_[static_cast<std::size_t>(middle)];
      if (cell.y < y || (cell.y == y && cell.x < x)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  bool touching(const std::vector<Detection>& found, const Cell& a, const Cell& b, std::int32_t low_x,
                std::int32_t high_x, std::int32_t low_y, std::int32_t high_y) const {
    for (std::int32_t i = a.first; i < a.last; ++i) {
      const Rect& one = found[static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])].box;
      for (std::int32_t j = b.first; j < b.last; ++j) {
        const Rect& two = found[static_cast<std::size_t>(order_[static_cast<std::size_t>(j)])].box;
        const std::int32_t dx = two.x - one.x, dy = two.y - one.y;
        if (dx >= low_x && dx <= high_x && dy >= low_y && dy <= high_y) return true;
      }
    }
    return false;
  }

  std::int32_t root_of(std::int32_t cell) {
    while (cells_[static_cast<std::size_t>(cell)].parent != cell) {
      Cell& at = cells_[static_cast<std::size_t>(cell)];
      at.parent = cells_[static_cast<std::size_t>(at.parent)].parent;
      cell = at.parent;
    }
    return cell;
  }

  void make_classes(const std::vector<Detection>& found) {
    cell_of_.resize(found.size());
    for (std::size_t c = 0; c < cells_.size(); ++c) {
      for (std::int32_t i = cells_[c].first; i < cells_[c].last; ++i) {
        cell_of_[static_cast<std::size_t>(order_[static_cast<std::size_t>(i)])] = static_cast<std::int32_t>(c);
      }
    }
    classes_.clear();
    for (std::size_t i = 0; i < found.size(); ++i) {
      Cell& root = cells_[static_cast<std::size_t>(root_of(cell_of_[i]))];
      if (root.group < 0) {
        root.group = static_cast<std::int32_t>(classes_.size());
        classes_.emplace_back();
      }
      Class& group = classes_[static_cast<std::size_t>(root.group)];
      const Detection& one = found[i];
      group.x += one.box.x;
      group.y += one.box.y;
      group.width += one.box.width;
      group.height += one.box.height;
      if (one.level > group.level || group.count == 0) {
        group.level = one.level;
        group.weight = one.weight;
      } else if (one.level == group.level) {
        group.weight = std::max(group.weight, one.weight);
      }
      ++group.count;
    }
    for (Class& group : classes_) {
      const float inverse = 1.0F / static_cast<float>(group.count);
      const auto mean = [&](std::int64_t sum) {
        return round_even(rounded(static_cast<float>(static_cast<std::int32_t>(sum)) * inverse));
      };
      group.mean = {mean(group.x), mean(group.y), mean(group.width), mean(group.height)};
    }
  }

  /// The room around a class: a fifth of its size on every side.
  static std::int32_t margin(std::int32_t side) { return round_even(side * 0.2); }

  static int size_class(const Rect& box) {
    int k = 0;
    while (k < 30 && (std::int64_t{1} << k) < std::int64_t{box.height} + 2 * margin(box.height)) ++k;
    return k;
  }

  /// A class is dropped when it lies within the room of another that is stronger. The others are looked up by height
  /// and upper edge, which leaves few to compare.
  void select(std::vector<Detection>& found, int min_neighbors) {
    holders_.clear();
    for (std::size_t i = 0; i < classes_.size(); ++i) {
      if (classes_[i].count <= min_neighbors) continue;
      const Rect& box = classes_[i].mean;
      holders_.push_back({size_class(box), box.y - margin(box.height), static_cast<std::int32_t>(i)});
    }
    std::sort(holders_.begin(), holders_.end());
    found.clear();
    for (std::size_t i = 0; i < classes_.size(); ++i) {
      const Class& group = classes_[i];
      if (group.count <= min_neighbors || inside_stronger(static_cast<std::int32_t>(i))) continue;
      found.push_back({group.mean, group.count, group.level, group.weight});
    }
  }

  bool inside_stronger(std::int32_t index) const {
    const Class& group = classes_[static_cast<std::size_t>(index)];
    const Rect& r = group.mean;
    for (auto at = holders_.begin(); at != holders_.end();) {
      const int size = at->run;
      const auto end = std::upper_bound(at, holders_.end(), Key{size, r.y, 0x7FFFFFFF});
      // One whose upper edge lies higher than this does not reach down to the lower edge.
      const std::int64_t highest = std::int64_t{r.y} + r.height - (std::int64_t{1} << size);
      const auto low = static_cast<std::int32_t>(std::clamp<std::int64_t>(highest, -0x7FFFFFFF, 0x7FFFFFFF));
      for (auto it = std::lower_bound(at, end, Key{size, low, -1}); it != end; ++it) {
        if (it->x == index) continue;
        const Class& other = classes_[static_cast<std::size_t>(it->x)];
        const Rect& o = other.mean;
        const std::int32_t dx = margin(o.width), dy = margin(o.height);
        if (r.x >= o.x - dx && r.y >= o.y - dy && r.x + r.width <= o.x + o.width + dx &&
            r.y + r.height <= o.y + o.height + dy && (other.count > std::max(3, group.count) || group.count < 3)) {
          return true;
        }
      }
      at = std::upper_bound(end, holders_.end(), Key{size, 0x7FFFFFFF, 0x7FFFFFFF});
    }
    return false;
  }

  struct Key {  // also (size class, upper edge, class)
    std::int32_t run, y, x;
    friend bool operator<(const Key& a, const Key& b) {
      return a.run != b.run ? a.run < b.run : a.y != b.y ? a.y < b.y : a.x < b.x;
    }
  };

  std::vector<Run> runs_;
  std::vector<Cell> cells_;
  std::vector<Key> keys_;
  std::vector<Key> holders_;
  std::vector<std::int32_t> order_;
  std::vector<std::int32_t> cell_of_;
  std::vector<Class> classes_;
};

}  // namespace detail
}  // namespace mien::cascade
