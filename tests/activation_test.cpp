// Activations, Softmax, Flatten and Dropout: values, ends of the range, rounding, statistics.
#include "mien/nn/activation.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "mien/nn/dropout.hpp"
#include "mien/nn/shape_layers.hpp"
#include "nn_test.hpp"

using namespace mien;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

template <class T, class L>
Tensor<T> infer(const L& layer, const Tensor<T>& x) {
  Sequential<T> net(layer);
  net.build(x.shape().without_batch());
  Workspace workspace;
  return net.infer(x.view(), workspace);
}

template <class T>
Tensor<T> row(std::initializer_list<float> values) {
  Tensor<T> x({1, static_cast<index_t>(values.size())});
  index_t i = 0;
  for (float v : values) x[i++] = T(static_cast<parameter_t<T>>(v));
  return x;
}

}  // namespace

TEST_CASE_TEMPLATE("activations: the function, rounded once", T, float, double, bfloat16) {
  using P = parameter_t<T>;
  const Tensor<T> x = test::random_tensor<T>({2, 20001}, 1);  // more than one piece
  const auto relu = infer(Relu{}, x), leaky = infer(LeakyRelu{0.25f}, x);
  const auto sigmoid = infer(Sigmoid{}, x), tangent = infer(Tanh{}, x);
  bool right = true;
  for (index_t i = 0; i < x.size(); ++i) {
    const P v = P(x[i]);
    right = right && P(relu[i]) == (v > 0 ? v : 0) && P(leaky[i]) == P(T(v > 0 ? v : v / 4)) &&
            P(sigmoid[i]) == P(T(1 / (1 + std::exp(-v)))) && P(tangent[i]) == P(T(std::tanh(v)));
  }
  CHECK(right);
}

TEST_CASE("activations: the ends of the range") {
  const auto x = row<float>({-infinity, -1e30f, -0.f, 0.f, 1e30f, infinity, not_a_number});
  const auto relu = infer(Relu{}, x);
  CHECK(relu[0] == 0);
  CHECK_FALSE(std::signbit(relu[2]));
  CHECK(relu[5] == infinity);
  CHECK(std::isnan(relu[6]));
  const auto sigmoid = infer(Sigmoid{}, x), tangent = infer(Tanh{}, x), leaky = infer(LeakyRelu{}, x);
  for (index_t i = 0; i < 6; ++i) {
    CHECK(sigmoid[i] == (i < 2 ? 0.f : i < 4 ? 0.5f : 1.f));
    CHECK(tangent[i] == (i < 2 ? -1.f : i < 4 ? 0.f : 1.f));
  }
  CHECK(std::isnan(sigmoid[6]));
  CHECK(std::isnan(tangent[6]));
  CHECK(std::isnan(leaky[6]));
  Sequential<float> bad{LeakyRelu{-0.1f}};
  CHECK_THROWS_AS(bad.build({3}), ArgumentError);
  Sequential<float> worse{LeakyRelu{not_a_number}};
  CHECK_THROWS_AS(worse.build({3}), ArgumentError);
}

TEST_CASE("Softmax: sums to one where exp would overflow") {
  const auto y = infer(Softmax{}, row<float>({10000, 9999, -10000, 10000}));
  CHECK(y[0] == y[3]);
  CHECK(y[2] == 0);
  CHECK(y[0] == doctest::Approx(1 / (2 + std::exp(-1.0))));
  CHECK(y[0] + y[1] + y[2] + y[3] == doctest::Approx(1));
  const auto bad = infer(Softmax{}, row<float>({not_a_number, 1, 2}));
  for (float v : bad) CHECK(std::isnan(v));
}

TEST_CASE("Flatten: leaves the order") {
  const Tensor<float> x = test::random_tensor<float>({2, 3, 4, 5}, 1);
  const Tensor<float> y = infer(Flatten{}, x);
  CHECK(y.shape() == Shape{2, 60});
  CHECK(test::same_bits<float>(x.span(), y.span()));
}

TEST_CASE("Dropout: drops with its rate, keeps the mean, the same backward as forward") {
  for (const float rate : {0.1f, 0.25f, 0.5f, 0.9f}) {
    CAPTURE(rate);
    Sequential<float> net{Dropout{rate}};
    const index_t n = 100003;
    net.build({n});
    Tensor<float> x({1, n}), dy({1, n});
    for (float& v : x) v = 1;
    for (float& v : dy) v = 3;
    const Threads threads(2);
    const test::Passed<float> passed(net, x, dy, threads, 1, 2);
    const float scale = 1 / (1 - rate);
    double kept = 0, sum = 0;
    bool exact = true, same = true;
    for (index_t i = 0; i < n; ++i) {
      kept += passed.y[i] != 0;
      sum += static_cast<double>(passed.y[i]);
      exact = exact && (passed.y[i] == 0 || passed.y[i] == scale);
      same = same && passed.dx[i] == 3 * passed.y[i];
    }
    const double p = 1 - static_cast<double>(rate), m = static_cast<double>(n);
    const double error = std::sqrt(p * (1 - p) / m);
    CHECK(std::abs(kept / m - p) < 5 * error);
    CHECK(std::abs(sum / m - 1) < 5 * error / p);
    CHECK(exact);
    CHECK(same);
  }
}

TEST_CASE("Dropout: off in inference and when frozen; every layer and step draws its own") {
  Sequential<float> net{Dropout{0.5f}, Dropout{0.5f}};
  net.build({4000});
  Tensor<float> x = test::random_tensor<float>({1, 4000}, 1), y(x.shape());
  Workspace workspace;
  CHECK(test::same_bits(net.infer(x.view(), workspace), x));
  for (float& v : x) v = 1;
  net.forward(x.view(), y.view(), workspace, 1, 0);
  // Two independent halves leave a quarter; the same zeros twice would leave half.
  double kept = 0;
  for (float v : y) kept += v != 0;
  CHECK(std::abs(kept / 4000 - 0.25) < 5 * std::sqrt(0.25 * 0.75 / 4000));
  net.freeze("");
  net.forward(x.view(), y.view(), workspace, 1, 0);
  CHECK(test::same_bits(y, x));
  for (const float rate : {-0.1f, 1.f, not_a_number}) {
    Sequential<float> bad{Dropout{rate}};
    CHECK_THROWS_AS(bad.build({3}), ArgumentError);
  }
}
