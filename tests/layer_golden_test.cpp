// Every layer against PyTorch: outputs and all gradients, in double, float and bfloat16.
#include "layer_golden.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/shape_layers.hpp"

using namespace mien;
using test::LayerGolden;

namespace {

const LayerGolden& golden() {
  static const LayerGolden file("layers.safetensors");
  return file;
}

struct Settings {
  std::vector<index_t> values;
  explicit Settings(const std::string& name) {
    for (std::int64_t v : golden().get<std::int64_t>(name + ".settings")) values.push_back(static_cast<index_t>(v));
  }
  index_t operator[](std::size_t i) const { return values.at(i); }
  Extent2 extent(std::size_t i) const { return {values.at(i), values.at(i + 1)}; }
};

/// Errors relative to the largest magnitude of the tensor: of the order of the scalar's rounding, where inputs have
/// been rounded too.
template <class T>
constexpr double tolerance = sizeof(T) == 8   ? 1e-13
                             : sizeof(T) == 4 ? 3e-6
                                              : 0.04;

template <class A>
double relative_to_largest(const Tensor<A>& actual, const Tensor<double>& expected) {
  if (actual.size() != expected.size()) return 1e300;
  double largest = 1e-30, worst = 0;
  for (double v : expected) largest = std::max(largest, std::abs(v));
  for (index_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(static_cast<double>(actual[i]) - expected[i]);
    worst = std::isfinite(error) ? std::max(worst, error) : 1e300;
  }
  return worst / largest;
}

template <class T, class L>
void check_case(const std::string& name, const L& layer, bool frozen = false, bool with_dx = true) {
  CAPTURE(name);
  Tensor<T> x, dy;
  {
    const Tensor<float> x32 = golden().get<float>(name + ".x"), dy32 = golden().get<float>(name + ".dy");
    x = Tensor<T>(x32.shape());
    dy = Tensor<T>(dy32.shape());
    for (index_t i = 0; i < x.size(); ++i) x[i] = T(parameter_t<T>(x32[i]));
    for (index_t i = 0; i < dy.size(); ++i) dy[i] = T(parameter_t<T>(dy32[i]));
  }
  Sequential<T> net(layer);
  CHECK(net.build(x.shape().without_batch()) == dy.shape().without_batch());
  for (auto& p : net.parameters()) golden().load(p, name + p.name.substr(1));  // "0.weight" is layer 0 of a chain
  if (frozen) net.freeze("");
  const Threads threads(1);
  const test::Passed<T> passed(net, x, dy, threads);
  CHECK(relative_to_largest(passed.y, golden().get(name + ".y")) < tolerance<T>);
  if (with_dx) CHECK(relative_to_largest(passed.dx, golden().get(name + ".dx")) < tolerance<T>);
  for (std::size_t i = 0; i < passed.gradients.tensors.size(); ++i) {
    const auto& p = net.parameters()[i];
    const bool statistic = p.role == Role::statistic;
    const std::string key = p.name.substr(2);
    CAPTURE(key);
    Tensor<double> expected = golden().get(name + (statistic ? "." + key + "_after" : ".d" + key));
    if (p.columns.rank() == 3) expected = LayerGolden::to_nhwc(expected, p.columns);
    CHECK(relative_to_largest(passed.gradients.tensors[i], expected) < tolerance<T>);
  }
}

/// Calls f(case name, its settings) for all cases of a kind; fails if there are none.
template <class F>
void for_each_case(const std::string& kind, const F& f) {
  int count = 0;
  for (; golden().has(kind + "." + std::to_string(count) + ".settings"); ++count) {
    const std::string name = kind + "." + std::to_string(count);
    f(name, Settings(name));
  }
  CHECK(count > 0);
}

}  // namespace

TEST_CASE_TEMPLATE("against PyTorch: convolution and dense", T, double, float, bfloat16) {
  for_each_case("conv", [](const std::string& name, const Settings& s) {
    check_case<T>(name, Conv2d{.filters = s[4],
                               .kernel = s.extent(5),
                               .stride = s.extent(7),
                               .padding = {s[9], s[10], s[11], s[12]},
                               .dilation = s.extent(13),
                               .groups = s[15],
                               .bias = s[16] != 0});
  });
  for_each_case("dense", [](const std::string& name, const Settings& s) {
    check_case<T>(name, Dense{s[2], s[3] != 0});
  });
  for_each_case("flatten_dense", [](const std::string& name, const Settings& s) { check_case<T>(name, Dense{s[4]}); });
}

TEST_CASE_TEMPLATE("against PyTorch: pooling", T, double, float, bfloat16) {
  // Rounding to bfloat16 makes ties, whose gradients go elsewhere than those of the unrounded values.
  const bool rounds = sizeof(T) == 2;
  for_each_case("max_pool", [&](const std::string& name, const Settings& s) {
    check_case<T>(
        name, MaxPool2d{.window = s.extent(4), .stride = s.extent(6), .padding = {s[8], s[9]}, .ceil_mode = s[10] != 0},
        false, !rounds);
  });
  for_each_case("average_pool", [](const std::string& name, const Settings& s) {
    check_case<T>(name, AveragePool2d{.window = s.extent(4),
                                      .stride = s.extent(6),
                                      .padding = {s[8], s[9]},
                                      .ceil_mode = s[10] != 0,
                                      .count_padding = s[11] != 0});
  });
  for_each_case("adaptive_pool", [](const std::string& name, const Settings& s) {
    check_case<T>(name, AdaptiveAveragePool2d{s.extent(4)});
  });
}

TEST_CASE_TEMPLATE("against PyTorch: elementwise", T, double, float, bfloat16) {
  check_case<T>("relu.0", Relu{});
  check_case<T>("leaky_relu.0", LeakyRelu{0.1f});
  check_case<T>("sigmoid.0", Sigmoid{});
  check_case<T>("tanh.0", Tanh{});
  // Its logits around 1000 are those of one class when rounded to bfloat16.
  if (sizeof(T) > 2) check_case<T>("softmax.0", Softmax{});
}

TEST_CASE_TEMPLATE("against PyTorch: normalization over several steps", T, double, float, bfloat16) {
  for_each_case("batch_norm", [](const std::string& name, const Settings& s) {
    const BatchNorm2d layer{.epsilon = static_cast<float>(static_cast<double>(s[5]) * 1e-6),
                            .momentum = static_cast<float>(static_cast<double>(s[6]) * 1e-6)};
    check_case<T>(name, layer, s[4] == 0);
  });
}
