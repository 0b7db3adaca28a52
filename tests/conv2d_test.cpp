// Conv2d and Dense as layers: shapes, parameters, the formula, refused settings. The kernels have their own tests.
#include "mien/nn/conv2d.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "mien/nn/dense.hpp"
#include "mien/nn/shape_layers.hpp"
#include "nn_test.hpp"

using namespace mien;
using test::contains;
using S = Sequential<float>;

namespace {

template <class L>
Shape shape_of(const L& layer, const Shape& input) {
  S net(layer);
  return net.build(input);
}

/// y by the formula of the doc comment, in double.
Tensor<double> naive(const Conv2d& c, const Tensor<float>& x, const Tensor<float>& weight, const Tensor<float>& bias,
                     const Shape& out) {
  Tensor<double> y(out);
  const index_t h = x.shape()[1], w = x.shape()[2], channels = x.shape()[3];
  const index_t in_group = channels / c.groups, out_group = c.filters / c.groups;
  index_t o = 0;
  for (index_t n = 0; n < out[0]; ++n)
    for (index_t i = 0; i < out[1]; ++i)
      for (index_t j = 0; j < out[2]; ++j)
        for (index_t k = 0; k < c.filters; ++k, ++o) {
          y[o] = static_cast<double>(bias[k]);
          for (index_t r = 0; r < c.kernel.height; ++r)
            for (index_t s = 0; s < c.kernel.width; ++s)
              for (index_t m = 0; m < in_group; ++m) {
                const index_t row = i * c.stride.height + r * c.dilation.height - c.padding.top;
                const index_t column = j * c.stride.width + s * c.dilation.width - c.padding.left;
                if (row < 0 || row >= h || column < 0 || column >= w) continue;
                const float value = x[((n * h + row) * w + column) * channels + k / out_group * in_group + m];
                const float factor = weight[((k * in_group + m) * c.kernel.height + r) * c.kernel.width + s];
                y[o] += static_cast<double>(value) * static_cast<double>(factor);
              }
        }
  return y;
}

}  // namespace

TEST_CASE("Conv2d: output shapes") {
  CHECK(shape_of(Conv2d{.filters = 32}, {48, 48, 1}) == Shape{46, 46, 32});
  CHECK(shape_of(Conv2d{.filters = 8, .padding = 1}, {5, 7, 2}) == Shape{5, 7, 8});
  CHECK(shape_of(Conv2d{.kernel = 7, .stride = 2, .padding = 3}, {44, 45, 1}) == Shape{22, 23, 1});
  CHECK(shape_of(Conv2d{.kernel = {1, 3}, .padding = {0, 1}}, {4, 4, 1}) == Shape{4, 4, 1});
  CHECK(shape_of(Conv2d{.kernel = 2, .padding = {1, 0, 0, 3}}, {4, 4, 1}) == Shape{4, 6, 1});
  CHECK(shape_of(Conv2d{.kernel = 3, .dilation = 2}, {5, 6, 1}) == Shape{1, 2, 1});
  CHECK(shape_of(Conv2d{.kernel = 1, .stride = 5}, {6, 5, 1}) == Shape{2, 1, 1});
}

TEST_CASE("Conv2d: parameters") {
  S net{Conv2d{.filters = 6, .kernel = {3, 5}, .groups = 2}};
  net.build({8, 8, 4}, 3);
  REQUIRE(net.parameters().size() == 2);
  CHECK(net.parameter("0.weight").value.shape() == Shape{6, 2, 3, 5});
  CHECK(net.parameter("0.bias").value.shape() == Shape{6});
  CHECK(net.parameter("0.bias").role == Role::bias);
  // PyTorch's default: uniform within 1 / sqrt(fan in), fan in being what one output is connected to.
  const double bound = 1 / std::sqrt(2 * 3 * 5.0);
  double largest = 0;
  for (const auto& p : net.parameters())
    for (float v : p.value) largest = std::max(largest, std::abs(static_cast<double>(v)));
  CHECK(largest <= bound * 1.000001);
  CHECK(largest > 0.9 * bound);
  S bare{Conv2d{.bias = false}};
  bare.build({3, 3, 1});
  CHECK(bare.parameters().size() == 1);
}

TEST_CASE("Conv2d: refused with the reason") {
  const auto refused = [](const Conv2d& layer, const Shape& input, const char* reason) {
    const auto message = test::message_of<Error>([&] { shape_of(layer, input); });
    CAPTURE(message);
    CHECK(contains(message, "layer '0' (Conv2d)"));
    CHECK(contains(message, reason));
  };
  refused(Conv2d{.filters = 0}, {5, 5, 1}, "positive");
  refused(Conv2d{.kernel = {3, 0}}, {5, 5, 1}, "positive");
  refused(Conv2d{.stride = 0}, {5, 5, 1}, "positive");
  refused(Conv2d{.stride = -1}, {5, 5, 1}, "positive");
  refused(Conv2d{.padding = {0, 0, 0, -1}}, {5, 5, 1}, "negative");
  refused(Conv2d{.filters = 4, .groups = 3}, {5, 5, 6}, "groups = 3");
  refused(Conv2d{.filters = 3, .groups = 3}, {5, 5, 4}, "groups = 3");
  refused(Conv2d{.kernel = 6}, {5, 9, 1}, "at least as large as the kernel");
  refused(Conv2d{.kernel = 3, .dilation = 3}, {6, 9, 1}, "at least as large as the kernel");
  refused(Conv2d{}, {25}, "(height, width, channels)");
  // Values as a damaged file may hold them.
  const index_t huge = std::numeric_limits<index_t>::max();
  refused(Conv2d{.kernel = huge}, {5, 5, 1}, "at most");
  refused(Conv2d{.padding = huge}, {5, 5, 1}, "at most");
  refused(Conv2d{.stride = {1, huge}}, {5, 5, 1}, "at most");
  refused(Conv2d{.dilation = huge}, {5, 5, 1}, "at most");
  CHECK_THROWS_AS(shape_of(Conv2d{.filters = huge}, {5, 5, 1}), Error);
}

TEST_CASE("Conv2d: the formula") {
  const Conv2d layers[] = {{.filters = 5, .kernel = 3, .padding = 1},
                           {.filters = 6, .kernel = {2, 3}, .stride = {2, 3}, .padding = {0, 2, 1, 3}, .groups = 2},
                           {.filters = 4, .kernel = 3, .padding = 2, .dilation = {2, 1}, .groups = 4}};
  for (const Conv2d& layer : layers) {
    S net{layer};
    const Shape out = net.build({7, 6, 4}, 2);
    const Tensor<float> x = test::random_tensor<float>({3, 7, 6, 4}, 1);
    Workspace workspace;
    const Tensor<float> y = net.infer(x.view(), workspace);
    const Tensor<double> expected =
        naive(layer, x, net.parameter("0.weight").value, net.parameter("0.bias").value, out.with_batch(3));
    CHECK(test::largest_difference(y, expected) < 3e-6);
  }
}

TEST_CASE("Dense: shapes, columns and the formula") {
  S net{Dense{3}};
  CHECK(net.build({2, 2, 5}, 4) == Shape{3});
  CHECK(net.parameter("0.weight").value.shape() == Shape{3, 20});
  CHECK(net.parameter("0.weight").columns == Shape{2, 2, 5});
  const Tensor<float> x = test::random_tensor<float>({4, 2, 2, 5}, 1);
  Workspace workspace;
  const Tensor<float> y = net.infer(x.view(), workspace);
  for (index_t n = 0; n < 4; ++n)
    for (index_t k = 0; k < 3; ++k) {
      double sum = static_cast<double>(net.parameter("0.bias").value[k]);
      for (index_t c = 0; c < 20; ++c)
        sum += static_cast<double>(x[n * 20 + c]) * static_cast<double>(net.parameter("0.weight").value[k * 20 + c]);
      CHECK(static_cast<double>(y[n * 3 + k]) == doctest::Approx(sum).epsilon(1e-5));
    }
  // Behind a Flatten the columns are the image's, behind another dense layer nobody's.
  S chain{Flatten{}, Dense{4, false}, Dense{2}};
  chain.build({3, 2, 1});
  CHECK(chain.parameters().size() == 3);
  CHECK(chain.parameter("1.weight").columns == Shape{3, 2, 1});
  CHECK(chain.parameter("2.weight").columns.rank() == 0);
  CHECK_THROWS_AS(shape_of(Dense{0}, {4}), ArgumentError);
  CHECK_THROWS_AS(shape_of(Dense{std::numeric_limits<index_t>::max()}, {4}), Error);
}
