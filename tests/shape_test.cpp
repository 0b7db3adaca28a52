#include "mien/core/shape.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace mien;

TEST_CASE("shape: extents, size and text") {
  constexpr Shape shape{2, 3, 4};
  static_assert(shape.rank() == 3 && shape.size() == 24 && shape[1] == 3 && shape.back() == 4 && shape.back(2) == 2);
  CHECK(shape.to_string() == "(2, 3, 4)");
  CHECK(Shape{}.rank() == 0);
  CHECK(Shape{}.size() == 1);
  CHECK(Shape{}.to_string() == "()");
  CHECK(Shape{5, 0, 3}.size() == 0);
}

TEST_CASE("shape: batches") {
  CHECK(Shape{4, 5}.with_batch(3) == Shape{3, 4, 5});
  CHECK(Shape{3, 4, 5}.without_batch() == Shape{4, 5});
  CHECK(Shape{}.with_batch(2) == Shape{2});
  CHECK(Shape{2}.without_batch() == Shape{});
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(Shape{2, 3} != Shape{2, 3, 1});
}

TEST_CASE("shape: what cannot be held is refused") {
  CHECK_THROWS_AS((Shape{1, 2, 3, 4, 5, 6}), ShapeError);
  CHECK_THROWS_AS((Shape{1, 2, 3, 4, 5}.with_batch(1)), ShapeError);
  CHECK_THROWS_AS((Shape{2, -1}), ShapeError);
  const index_t big = index_t{1} << 40;
  CHECK_THROWS_AS((Shape{big, big}), ShapeError);
  CHECK_THROWS_AS(Shape{std::numeric_limits<index_t>::max()}, ShapeError);
  CHECK(Shape{big}.size() == big);
}
