#include "mien/core/tensor.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

using namespace mien;

TEST_CASE_TEMPLATE("tensor: aligned, zero, and a value", T, float, double, bfloat16) {
  for (index_t n : {0, 1, 7, 1000}) {
    Tensor<T> a({n, 3});
    CHECK(reinterpret_cast<std::uintptr_t>(a.data()) % alignment == 0);
    for (const T& value : a) CHECK(static_cast<float>(value) == 0);
    for (index_t i = 0; i < a.size(); ++i) a[i] = T(static_cast<float>(i % 100));
    Tensor<T> b = a;
    CHECK(b.shape() == a.shape());
    CHECK((n == 0 || b.data() != a.data()));
    for (index_t i = 0; i < a.size(); ++i) CHECK(static_cast<float>(b[i]) == static_cast<float>(i % 100));
    if (n > 0) {
      b[0] = T(55.f);
      CHECK(static_cast<float>(a[0]) == 0);
    }
    const T* where = a.data();
    Tensor<T> c = std::move(a);
    CHECK(c.data() == where);
    CHECK(c.shape() == Shape{n, 3});
    CHECK(a.size() == 0);  // NOLINT: a moved-from tensor is an empty one
    a = c;
    CHECK(a.size() == c.size());
    a = Tensor<T>{};
    CHECK(a.size() == 0);
    Tensor<T>& self = c;
    c = self;
    CHECK(c.size() == n * 3);
  }
}

TEST_CASE("tensor: from values") {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const Tensor<float> t({2, 3}, values);
  CHECK(t[4] == 5);
  CHECK(t.span().size() == 6);
  CHECK_THROWS_AS((Tensor<float>({2, 2}, values)), ShapeError);
}

TEST_CASE("view: reshape, slice and emptiness") {
  Tensor<float> t({4, 2, 3});
  for (index_t i = 0; i < t.size(); ++i) t[i] = static_cast<float>(i);
  const TensorView<float> view = t;
  CHECK(view.reshaped({8, 3})[5] == 5);
  CHECK_THROWS_AS(view.reshaped({5, 5}), ShapeError);
  const TensorView<const float> middle = TensorView<const float>(view).slice(1, 2);
  CHECK(middle.shape() == Shape{2, 2, 3});
  CHECK(middle[0] == 6);
  CHECK(view.slice(4, 0).size() == 0);
  CHECK_THROWS_AS(view.slice(3, 2), ShapeError);
  CHECK_THROWS_AS(view.slice(std::numeric_limits<index_t>::max(), 1), ShapeError);
  CHECK_THROWS_AS(view.slice(-1, 1), ShapeError);
  CHECK_THROWS_AS(view.slice(0, -1), ShapeError);
  CHECK_THROWS_AS(TensorView<float>().slice(0, 1), ShapeError);
  CHECK_FALSE(TensorView<float>());
  CHECK(TensorView<float>().span().empty());
  CHECK(TensorView<float>().begin() == TensorView<float>().end());
  view[0] = 9;
  CHECK(t[0] == 9);
}
