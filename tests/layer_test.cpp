// The layer contract: the concept, memory, and the small types that layers are written with.
#include "mien/nn/layer.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/shape_layers.hpp"

using namespace mien;

template <class T, class... L>
constexpr bool all_layers = (Layer<L, T> && ...);
template <class T>
constexpr bool complete =
    all_layers<T, Conv2d, Dense, MaxPool2d, AveragePool2d, AdaptiveAveragePool2d, GlobalAveragePool, BatchNorm2d, Relu,
               LeakyRelu, Sigmoid, Tanh, Softmax, Flatten, Dropout, Residual<T>, Concat<T>>;
static_assert(complete<float> && complete<double> && complete<bfloat16>);
static_assert(!Layer<int, float> && !Layer<Residual<float>, double>);

namespace {

struct Values : Describer {
  std::vector<std::string> seen;
  void value(std::string_view name, index_t& number) override {
    seen.push_back(std::string(name) + "=" + std::to_string(number));
    number += 1;
  }
  void value(std::string_view name, float& number) override {
    seen.push_back(std::string(name) + "=" + std::to_string(number));
  }
  void value(std::string_view name, bool& flag) override {
    seen.push_back(std::string(name) + (flag ? "=true" : "=false"));
  }
  using Describer::value;
};

}  // namespace

TEST_CASE("layer: extents and padding from one number or several") {
  constexpr Extent2 square = 3, both{3, 5};
  static_assert(square.height == 3 && square.width == 3 && both.height == 3 && both.width == 5);
  constexpr Padding all = 2, two{1, 3}, four{1, 2, 3, 4};
  static_assert(all.top == 2 && all.left == 2 && all.bottom == 2 && all.right == 2);
  static_assert(two.top == 1 && two.bottom == 1 && two.left == 3 && two.right == 3);
  static_assert(four.top == 1 && four.left == 2 && four.bottom == 3 && four.right == 4);
}

TEST_CASE("layer: the arena hands out aligned pieces and no more than there is") {
  static_assert(padded(0) == 0 && padded(1) == 64 && padded(64) == 64 && padded(65) == 128);
  static_assert(bytes_of<bfloat16>(33) == 128 && bytes_of<double>(8) == 64);
  Tensor<std::byte> bytes(Shape{256});
  Arena arena(bytes.span());
  const float* a = arena.take<float>(1);
  const TensorView<double> b = arena.tensor<double>({2, 4});
  CHECK(reinterpret_cast<std::uintptr_t>(a) % alignment == 0);
  CHECK(reinterpret_cast<const std::byte*>(b.data()) == bytes.data() + 64);
  CHECK(b.shape() == Shape{2, 4});
  CHECK(arena.rest().size() == 128);
  CHECK_THROWS_AS(arena.take<float>(33), Error);
  CHECK(arena.take<float>(32) != nullptr);
  CHECK(arena.rest().empty());
  arena.take<float>(0);
}

TEST_CASE("layer: a setup prefixes names and says which layer complains") {
  Setup setup;
  setup.parameter({"weight", {1}, Role::weight, {}, 1, 1, {}});
  setup.layer = "a.0";
  setup.parameter({"bias", {1}, Role::bias, {}, 1, 1, {}});
  CHECK(setup.declarations[0].name == "weight");
  CHECK(setup.declarations[1].name == "a.0.bias");
  CHECK_THROWS_WITH_AS(setup.reject("Conv2d", {1, 2}, "more"),
                       "layer 'a.0' (Conv2d): got input of shape (1, 2) per sample, expected more", ShapeError);
  CHECK_THROWS_WITH_AS(setup.require(false, "Dense", "no"), "layer 'a.0' (Dense): no", ArgumentError);
  setup.require(true, "Dense", "no");
}

TEST_CASE("layer: hyper-parameters are named once each, readable and writable") {
  Conv2d conv{.filters = 2, .kernel = {3, 4}, .padding = {1, 2, 3, 4}, .bias = false};
  Values values;
  conv.describe(values);
  CHECK(values.seen == std::vector<std::string>{"filters=2", "kernel_height=3", "kernel_width=4", "stride_height=1",
                                                "stride_width=1", "padding_top=1", "padding_left=2", "padding_bottom=3",
                                                "padding_right=4", "dilation_height=1", "dilation_width=1", "groups=1",
                                                "bias=false"});
  CHECK(conv.filters == 3);
  CHECK(conv.padding.right == 5);
}

TEST_CASE("parameter names: what covers what") {
  CHECK(covers("", "a.b"));
  CHECK(covers("a", "a"));
  CHECK(covers("a", "a.b"));
  CHECK(covers("a.b", "a.b.c"));
  CHECK_FALSE(covers("a", "ab"));
  CHECK_FALSE(covers("a.b", "a"));
  CHECK_FALSE(covers("a.", "a.b"));
}
