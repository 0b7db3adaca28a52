// BatchNorm2d: the formula in all three modes, running statistics, large means, edge cases.
#include "mien/nn/batch_norm.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "nn_test.hpp"

using namespace mien;

namespace {

struct Moments {
  double mean = 0, variance = 0;
};
template <class T>
Moments moments(const Tensor<T>& x, index_t channel) {
  const index_t channels = x.shape().back(), rows = x.size() / channels;
  Moments m;
  for (index_t r = 0; r < rows; ++r)
    m.mean += static_cast<double>(x[r * channels + channel]) / static_cast<double>(rows);
  for (index_t r = 0; r < rows; ++r) {
    const double d = static_cast<double>(x[r * channels + channel]) - m.mean;
    m.variance += d * d / static_cast<double>(rows);
  }
  return m;
}

}  // namespace

TEST_CASE_TEMPLATE("BatchNorm2d: the formula, also about a large mean", T, float, double, bfloat16) {
  const double tolerance = sizeof(T) == 2 ? 1e-2 : sizeof(T) == 4 ? 2e-5 : 1e-10;
  for (const double offset : {0.0, 1000.0, -4096.0}) {
    CAPTURE(offset);
    Sequential<T> net{BatchNorm2d{.epsilon = 1e-3f, .momentum = 0.25f}};
    net.build({9, 7, 5});
    for (index_t c = 0; c < 5; ++c) {
      net.parameters()[0].value[c] = static_cast<parameter_t<T>>(0.5 + static_cast<double>(c));
      net.parameters()[1].value[c] = static_cast<parameter_t<T>>(c - 2);
    }
    Tensor<T> x = test::random_tensor<T>({70, 9, 7, 5}, 3);
    for (T& v : x) v = T(static_cast<parameter_t<T>>(static_cast<double>(v) * 3 + offset));
    const Threads threads(2);
    const test::Passed<T> passed(net, x, test::random_tensor<T>(x.shape(), 4), threads);
    const double count = 70 * 9 * 7;
    double worst = 0;
    for (index_t c = 0; c < 5; ++c) {
      const Moments m = moments(x, c);
      for (index_t i = c; i < x.size(); i += 5) {
        const double expected =
            (0.5 + static_cast<double>(c)) * (static_cast<double>(x[i]) - m.mean) / std::sqrt(m.variance + 1e-3) +
            static_cast<double>(c - 2);
        worst =
            std::max(worst, std::abs(static_cast<double>(passed.y[i]) - expected) / std::max(1.0, std::abs(expected)));
      }
      // The running statistics start at 0 and 1; the variance that they take in is the unbiased one.
      CHECK(static_cast<double>(passed.gradients.tensors[2][c]) == doctest::Approx(0.25 * m.mean).epsilon(1e-5));
      CHECK(static_cast<double>(passed.gradients.tensors[3][c]) ==
            doctest::Approx(0.75 + 0.25 * m.variance * count / (count - 1)).epsilon(1e-4));
    }
    // About a mean of 4096 single floats have lost 12 of their 24 bits before the layer sees them; what is left is the
    // rounding of scale * x + shift at that size.
    CHECK(worst < tolerance * (offset == 0 || sizeof(T) == 8 ? 1 : 100));
  }
}

TEST_CASE("BatchNorm2d: inference uses the running statistics") {
  Sequential<float> net{BatchNorm2d{.epsilon = 0.5f}};
  net.build({3, 2});
  const float values[4][2] = {{2, 3}, {-1, 1}, {10, 20}, {3.5f, 8.5f}};  // weight, bias, mean, variance
  for (index_t k = 0; k < 4; ++k)
    for (index_t c = 0; c < 2; ++c) net.parameters()[static_cast<std::size_t>(k)].value[c] = values[k][c];
  const Tensor<float> x = test::random_tensor<float>({1, 3, 2}, 1);
  Workspace workspace;
  const Tensor<float> y = net.infer(x.view(), workspace);
  for (index_t i = 0; i < 6; ++i) {
    const double expected =
        i % 2 == 0 ? 2 * (static_cast<double>(x[i]) - 10) / 2 - 1 : 3 * (static_cast<double>(x[i]) - 20) / 3 + 1;
    CHECK(static_cast<double>(y[i]) == doctest::Approx(expected).epsilon(1e-5));
  }
}

TEST_CASE("BatchNorm2d: a constant channel, a NaN, momentum at its ends") {
  for (const float momentum : {0.f, 1.f}) {
    Sequential<float> net{BatchNorm2d{.momentum = momentum}};
    net.build({2, 3});
    Tensor<float> x({4, 2, 3});
    for (index_t i = 0; i < x.size(); ++i) x[i] = i % 3 == 0 ? 7 : static_cast<float>(i);
    x[5] = std::numeric_limits<float>::quiet_NaN();  // channel 2
    const Threads threads(1);
    const test::Passed<float> passed(net, x, test::random_tensor<float>(x.shape(), 2), threads);
    for (index_t i = 0; i < x.size(); ++i) {
      if (i % 3 == 0) CHECK(passed.y[i] == 0);
      CHECK(std::isnan(passed.y[i]) == (i % 3 == 2));
      CHECK(std::isfinite(passed.dx[i]) == (i % 3 != 2));
    }
    const auto& mean = passed.gradients.tensors[2];
    const auto& variance = passed.gradients.tensors[3];
    CHECK(mean[0] == (momentum == 0 ? 0 : 7));
    CHECK(variance[0] == (momentum == 0 ? 1 : 0));
  }
}

TEST_CASE("BatchNorm2d: one value per channel has no variance to train on") {
  Sequential<float> net{BatchNorm2d{}};
  net.build({3});
  Workspace workspace;
  Tensor<float> x({1, 3}), y({1, 3});
  CHECK_THROWS_AS(net.forward(x.view(), y.view(), workspace, 1, 0), ShapeError);
  net.infer(x.view(), y.view(), workspace);
  net.freeze("");
  net.forward(x.view(), y.view(), workspace, 1, 0);
  const auto build = [](const BatchNorm2d& layer) {
    Sequential<float> bad{layer};
    bad.build({3});
  };
  CHECK_THROWS_AS(build({.epsilon = 0}), ArgumentError);
  CHECK_THROWS_AS(build({.momentum = 1.5f}), ArgumentError);
  CHECK_THROWS_AS(build({.momentum = std::numeric_limits<float>::quiet_NaN()}), ArgumentError);
  CHECK_THROWS_AS(build({.epsilon = std::numeric_limits<float>::quiet_NaN()}), ArgumentError);
}
