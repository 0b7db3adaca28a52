// Losses: against PyTorch, against differences, at the ends of the range.
#include "mien/nn/loss.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <utility>

#include "optimizer_golden.hpp"

using namespace mien;

namespace {

constexpr index_t rows = 5;
constexpr index_t classes = 7;

// The inputs of make_optimizer_golden.py.
template <class T>
Tensor<T> logits() {
  Tensor<T> z({rows, classes});
  for (index_t r = 0; r < rows; ++r)
    for (index_t c = 0; c < classes; ++c)
      z[r * classes + c] = static_cast<T>(static_cast<float>((r * 31 + c * 17) % 23 - 11) / 4);
  return z;
}
index_t label(index_t row) { return (row * 3 + 1) % classes; }
Tensor<float> hard_targets() {
  Tensor<float> t({rows, classes});
  for (index_t r = 0; r < rows; ++r) t[r * classes + label(r)] = 1;
  return t;
}
Tensor<float> soft_targets() {
  Tensor<float> t({rows, classes});
  const std::pair<index_t, float> shares[] = {{0, 8.f}, {1, 4.f}, {3, 3.f}, {4, 1.f}};
  for (index_t r = 0; r < rows; ++r)
    for (const auto& [offset, share] : shares) t[r * classes + (label(r) + offset) % classes] += share / 16;
  return t;
}
std::vector<float> weights() {
  std::vector<float> w;
  for (index_t c = 0; c < classes; ++c) w.push_back(static_cast<float>(c * 5 % 7 + 1) / 4);
  return w;
}

struct Case {
  const char* name;
  CrossEntropy loss;
  Tensor<float> targets;
};
std::vector<Case> cases() {
  return {
      {"hard", {}, hard_targets()},
      {"hard_smooth", {0.1f, {}}, hard_targets()},
      {"hard_weights", {0, weights()}, hard_targets()},
      {"hard_weights_smooth", {0.1f, weights()}, hard_targets()},
      {"soft", {}, soft_targets()},
      {"soft_smooth", {0.2f, {}}, soft_targets()},
      {"soft_weights", {0, weights()}, soft_targets()},
      {"soft_weights_smooth", {0.1f, weights()}, soft_targets()},
  };
}

template <class T>
void fill_nan(Tensor<T>& tensor) {
  for (T& value : tensor) value = static_cast<T>(std::numeric_limits<float>::quiet_NaN());
}

}  // namespace

TEST_CASE_TEMPLATE("cross entropy: PyTorch's loss and gradient", T, float, double) {
  const double tolerance = sizeof(T) == 8 ? 1e-12 : 1e-6;
  const Tensor<T> z = logits<T>();
  for (const Case& c : cases()) {
    CAPTURE(std::string(c.name));
    Tensor<T> dz({rows, classes});
    fill_nan(dz);
    const double loss = c.loss(z.view(), c.targets.view(), dz.view());
    CHECK(std::abs(loss / test::golden(std::string(c.name) + ".loss")[0] - 1) < 1e-12);
    CHECK(test::largest_error<T>(dz.span(), test::golden(std::string(c.name) + ".gradient")) < tolerance);
    CHECK(c.loss(z.view(), c.targets.view()) == loss);

    // In place: the gradient over the logits.
    Tensor<T> both = z;
    CHECK(c.loss(both.view(), c.targets.view(), both.view()) == loss);
    CHECK(std::equal(both.begin(), both.end(), dz.begin()));
  }
}

TEST_CASE("cross entropy: gradient against central differences") {
  const double h = 1e-5;
  for (const Case& c : cases()) {
    CAPTURE(std::string(c.name));
    Tensor<double> z = logits<double>();
    Tensor<double> dz({rows, classes});
    c.loss(z.view(), c.targets.view(), dz.view());
    double largest = 0;
    for (index_t i = 0; i < z.size(); ++i) {
      const double at = z[i];
      z[i] = at + h;
      const double above = c.loss(z.view(), c.targets.view());
      z[i] = at - h;
      const double below = c.loss(z.view(), c.targets.view());
      z[i] = at;
      const double numeric = (above - below) / (2 * h);
      largest = std::max(largest, std::abs(numeric));
      CHECK(std::abs(numeric - dz[i]) < 1e-9);
    }
    CHECK(largest > 0.01);
  }
}

TEST_CASE_TEMPLATE("cross entropy: logits of +-1e4 and beyond", T, float, double) {
  Tensor<T> z({3, 3}, std::vector<T>{T(1e4), T(-1e4), T(0), T(-1e4), T(1e4), T(1e4), T(-3e38), T(3e38), T(0)});
  Tensor<float> t({3, 3}, std::vector<float>{0, 1, 0, 0, 0, 1, 0, 1, 0});
  Tensor<T> dz({3, 3});
  const double loss = CrossEntropy{}(z.view(), t.view(), dz.view());
  CHECK(loss == doctest::Approx((2e4 + std::log(2.0) + 0) / 3).epsilon(1e-12));
  const T third = T(1) / T(3);
  const std::vector<double> expected{third, -third, 0, 0, third / 2, -third / 2, 0, 0, 0};
  CHECK(test::largest_error<T>(dz.span(), expected) < 1e-6);

  Tensor<T> p({3, 3});
  softmax(z.view(), p.view());
  CHECK(test::largest_error<T>(p.span(), {1, 0, 0, 0, 0.5, 0.5, 0, 1, 0}) < 1e-6);
}

TEST_CASE("cross entropy: masked logits, rows of no weight, no rows, NaN") {
  const float infinity = std::numeric_limits<float>::infinity();
  Tensor<float> z({1, 3}, std::vector<float>{0, -infinity, 0});
  Tensor<float> t({1, 3}, std::vector<float>{1, 0, 0});
  Tensor<float> dz({1, 3});
  CHECK(CrossEntropy{}(z.view(), t.view(), dz.view()) == doctest::Approx(std::log(2.0)));
  CHECK(dz[0] == -0.5f);
  CHECK(dz[1] == 0.0f);

  fill_nan(dz);
  CHECK(CrossEntropy{0, {0, 1, 1}}(z.view(), t.view(), dz.view()) == 0);
  for (float value : dz.span()) CHECK(value == 0);

  Tensor<float> none({0, 3});
  CHECK(CrossEntropy{}(none.view(), none.view(), none.view()) == 0);

  z[2] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(CrossEntropy{}(z.view(), t.view(), dz.view())));
  t[1] = std::numeric_limits<float>::quiet_NaN();
  z[2] = 0;
  CHECK(!std::isfinite(CrossEntropy{0, {1, 1, 1}}(z.view(), t.view())));
}

TEST_CASE("cross entropy: bfloat16 logits are exact, the gradient is rounded once") {
  const Tensor<bfloat16> z = logits<bfloat16>();  // multiples of 1/4: exact
  Tensor<bfloat16> dz({rows, classes});
  const Tensor<float> t = soft_targets();
  const double loss = CrossEntropy{}(z.view(), t.view(), dz.view());
  CHECK(std::abs(loss / test::golden("soft.loss")[0] - 1) < 1e-12);
  CHECK(test::largest_error<bfloat16>(dz.span(), test::golden("soft.gradient"), 1e-9) < 0x1p-8);
}

TEST_CASE("cross entropy: what does not fit is named") {
  Tensor<float> z({2, 3});
  Tensor<float> other({3, 2});
  Tensor<float> dz({2, 3});
  CHECK_THROWS_AS(CrossEntropy{}(z.view(), other.view(), dz.view()), ShapeError);
  CHECK_THROWS_AS(CrossEntropy{}(z.view(), dz.view(), other.view()), ShapeError);
  CHECK_THROWS_AS(CrossEntropy{}(z.view().reshaped({6}), z.view().reshaped({6})), ShapeError);
  CHECK_THROWS_AS(CrossEntropy{1.5f}(z.view(), z.view()), ArgumentError);
  CHECK_THROWS_AS(CrossEntropy{std::nanf("")}(z.view(), z.view()), ArgumentError);
  CHECK_THROWS_AS((CrossEntropy{0, {1, 2}}(z.view(), z.view())), ArgumentError);
  CHECK_THROWS_AS((CrossEntropy{0, {1, 2, -1}}(z.view(), z.view())), ArgumentError);
}

TEST_CASE_TEMPLATE("mean squared error: PyTorch's loss and gradient", T, float, double) {
  const Tensor<T> x = logits<T>();
  const Tensor<float> t = soft_targets();
  Tensor<T> dx({rows, classes});
  fill_nan(dx);
  const double loss = MeanSquaredError{}(x.view(), t.view(), dx.view());
  CHECK(std::abs(loss / test::golden("mse.loss")[0] - 1) < 1e-12);
  CHECK(test::largest_error<T>(dx.span(), test::golden("mse.gradient")) < (sizeof(T) == 8 ? 1e-12 : 1e-6));
  CHECK(MeanSquaredError{}(x.view(), t.view()) == loss);

  Tensor<float> none({0});
  CHECK(MeanSquaredError{}(none.view(), none.view(), none.view()) == 0);
  CHECK_THROWS_AS(MeanSquaredError{}(x.view(), none.view()), ShapeError);
}

TEST_CASE_TEMPLATE("softmax: PyTorch's", T, float, double) {
  Tensor<T> z = logits<T>();
  Tensor<T> p({rows, classes});
  softmax(z.view(), p.view());
  CHECK(test::largest_error<T>(p.span(), test::golden("softmax")) < (sizeof(T) == 8 ? 1e-12 : 1e-6));
  softmax(z.view(), z.view());
  CHECK(std::equal(z.begin(), z.end(), p.begin()));
  Tensor<T> wrong({classes, rows});
  CHECK_THROWS_AS(softmax(z.view(), wrong.view()), ShapeError);
}
