// Residual and Concat: what they compute, what they refuse.
#include "mien/nn/combinators.hpp"

#include <doctest/doctest.h>

#include <string>

#include "mien/nn/activation.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/shape_layers.hpp"
#include "nn_test.hpp"

using namespace mien;
using test::contains;
using S = Sequential<float>;

namespace {

Tensor<float> infer(S& net, const Tensor<float>& x) {
  net.build(x.shape().without_batch(), 1);
  Workspace workspace;
  return net.infer(x.view(), workspace);
}

}  // namespace

TEST_CASE("Residual: main(x) + shortcut(x)") {
  const Tensor<float> x = test::random_tensor<float>({3, 4}, 1);
  S tangent{Tanh{}}, sigmoid{Sigmoid{}};
  const Tensor<float> a = infer(tangent, x), b = infer(sigmoid, x);
  S identity{Residual<float>{S{Tanh{}}}}, both{Residual<float>{S{Tanh{}}, S{Sigmoid{}}}};
  const Tensor<float> y = infer(identity, x), z = infer(both, x);
  for (index_t i = 0; i < x.size(); ++i) {
    CHECK(y[i] == a[i] + x[i]);
    CHECK(z[i] == a[i] + b[i]);
  }
}

TEST_CASE("Concat: branches side by side in the last axis, an empty one is x") {
  const Tensor<float> x = test::random_tensor<float>({2, 3, 1, 2}, 1);
  S tangent{Tanh{}};
  const Tensor<float> a = infer(tangent, x);
  S net{Concat<float>{S{Tanh{}}, S{}, S{Conv2d{.filters = 3, .kernel = 1}}}};
  const Tensor<float> y = infer(net, x);
  CHECK(y.shape() == Shape{2, 3, 1, 7});
  for (index_t row = 0; row < 6; ++row)
    for (index_t c = 0; c < 2; ++c) {
      CHECK(y[row * 7 + c] == a[row * 2 + c]);
      CHECK(y[row * 7 + 2 + c] == x[row * 2 + c]);
    }
  // The gradient of what is used three times is the sum of three.
  S thrice{Concat<float>{S{}, S{}, S{}}};
  thrice.build({2});
  const Threads threads(1);
  const Tensor<float> one({1, 2});
  const test::Passed<float> passed(thrice, one, Tensor<float>({1, 6}, std::vector<float>{1, 2, 10, 20, 100, 200}),
                                   threads);
  CHECK(passed.dx[0] == 111);
  CHECK(passed.dx[1] == 222);
  // Logits of two networks, blended: rank 1.
  S blend{Concat<float>{S{Dense{7}}, S{Dense{7}}}, Dense{7}};
  CHECK(blend.build({5, 5, 1}) == Shape{7});
}

TEST_CASE("combinators: branches that do not fit are refused by name") {
  const auto refused = [](S net, const Shape& input, const char* reason) {
    const auto message = test::message_of<ShapeError>([&] { net.build(input); });
    CAPTURE(message);
    CHECK(contains(message, "layer '0' ("));
    CHECK(contains(message, reason));
  };
  refused({Residual<float>{S{Dense{3}}}}, {4}, "main gives (3), the shortcut (4)");
  refused({Residual<float>{S{}}}, {4}, "main branch");
  refused({Concat<float>{S{}, S{Conv2d{}}}}, {4, 4, 1}, "differ in the last axis only; got (4, 4, 1) and (2, 2, 1)");
  refused({Concat<float>{S{}, S{Dense{2}}}}, {4, 4, 1}, "differ in the last axis only");
  refused({Concat<float>{}}, {4}, "at least one branch");
}

TEST_CASE("combinators: every dropout of every branch draws its own") {
  S net{Concat<float>{S{Dropout{0.5f}}, S{Dropout{0.5f}}, S{Residual<float>{S{Dropout{0.5f}}, S{Dropout{0.5f}}}}}};
  net.build({1000});
  Tensor<float> x({1, 1000}), y({1, 3000});
  for (float& v : x) v = 1;
  Workspace workspace;
  net.forward(x.view(), y.view(), workspace, 1, 0);
  double equal[3] = {};
  for (index_t i = 0; i < 1000; ++i) {
    equal[0] += y[i] == y[1000 + i];
    equal[1] += (y[i] != 0) == (y[2000 + i] != 0);
    equal[2] += y[2000 + i] == 2;  // one of the two dropped: half of the time
  }
  const double error = 5 * std::sqrt(250);
  CHECK(std::abs(equal[0] - 500) < error);
  CHECK(std::abs(equal[1] - 500) < error);
  CHECK(std::abs(equal[2] - 500) < error);
}

TEST_CASE("Residual: columns behind flattened images are in PyTorch's order in files only if both branches keep it") {
  S kept{Flatten{}, Residual<float>{S{Relu{}}}, Dense{2}},
      changed{Flatten{}, Residual<float>{S{Relu{}}, S{Dense{12}}}, Dense{2}};
  kept.build({2, 2, 3}, 1);
  changed.build({2, 2, 3}, 1);
  CHECK(kept.parameter("2.weight").columns == Shape{2, 2, 3});
  CHECK(changed.parameter("2.weight").columns == Shape{});
}
