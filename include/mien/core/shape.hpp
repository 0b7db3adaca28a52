// Shape: up to five extents, held inline.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <limits>
#include <string>

#include "mien/core/error.hpp"

namespace mien {

/// Signed type of all extents and indices.
using index_t = std::ptrdiff_t;

/// Row-major shape of rank 0 to 5, every extent >= 0. Images are (height, width, channels), batches
/// (batch, height, width, channels).
class Shape {
 public:
  static constexpr int max_rank = 5;

  constexpr Shape() = default;

  /// Throws ShapeError for more than five extents, a negative one, or a product beyond `index_t`.
  constexpr Shape(std::initializer_list<index_t> extents) {
    for (index_t extent : extents) push_back(extent);
  }

  constexpr int rank() const { return rank_; }
  constexpr index_t operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  /// Extent counted from the back: `back()` is the last one.
  constexpr index_t back(int from_end = 0) const { return (*this)[rank_ - 1 - from_end]; }

  /// Number of elements: the product of the extents, 1 for rank 0.
  constexpr index_t size() const {
    index_t product = 1;
    for (int i = 0; i < rank_; ++i) product *= (*this)[i];
    return product;
  }

  /// Appends an extent as the new last axis.
  constexpr void push_back(index_t extent) {
    if (rank_ == max_rank) refuse_rank();
    if (extent < 0) refuse_negative(extent);
    const index_t limit = std::numeric_limits<index_t>::max() / 64;
    if (extent > 0 && size() > limit / extent) refuse_size();
    extents_[static_cast<std::size_t>(rank_++)] = extent;
  }

  // These two stand in so many checks that, inlined, they made programs 2 kB larger.

  /// This shape with `extent` in front: a batch of it.
  [[gnu::noinline]] constexpr Shape with_batch(index_t extent) const {
    Shape result{extent};
    for (int i = 0; i < rank_; ++i) result.push_back((*this)[i]);
    return result;
  }

  /// This shape without its first axis.
  [[gnu::noinline]] constexpr Shape without_batch() const {
    Shape result;
    for (int i = 1; i < rank_; ++i) result.push_back((*this)[i]);
    return result;
  }

  friend constexpr bool operator==(const Shape& a, const Shape& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }

  /// Such as "(64, 48, 48, 1)".
  std::string to_string() const;

 private:
  [[noreturn]] static void refuse_rank();
  [[noreturn]] static void refuse_negative(index_t extent);
  [[noreturn]] static void refuse_size();

  std::array<index_t, max_rank> extents_{};
  int rank_ = 0;
};

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/core/impl/error.hpp"
#include "mien/core/impl/shape.hpp"
#endif
