// Weight average: formula, what is left alone, swapping, checkpoints.
#include "mien/optim/average.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <vector>

#include "mien/core/random.hpp"

using namespace mien;

namespace {

template <class P>
std::vector<Parameter<P>> network() {
  std::vector<Parameter<P>> parameters(5);
  parameters[0] = {"trunk.0.weight", Role::weight, {}, true, Tensor<P>({50})};
  parameters[1] = {"trunk.1.running_mean", Role::statistic, {}, true, Tensor<P>({5})};
  parameters[2] = {"head.0.weight", Role::weight, {}, false, Tensor<P>({300, 251})};  // several pieces
  parameters[3] = {"head.1.running_mean", Role::statistic, {}, false, Tensor<P>({7})};
  parameters[4] = {"head.1.bias", Role::normalization, {}, false, Tensor<P>({7})};
  return parameters;
}

/// Values that depend on step and index, as if something had been trained.
template <class P>
void train(std::span<Parameter<P>> parameters, int step) {
  for (std::size_t k = 0; k < parameters.size(); ++k) {
    if (parameters[k].frozen) continue;
    const Random random(3, static_cast<std::uint32_t>(k), static_cast<std::uint64_t>(step));
    std::uint64_t i = 0;
    for (P& value : parameters[k].value) value = static_cast<P>(random.uniform(i++, -1, 1));
  }
}

template <class P>
std::vector<P> all_values(std::span<const Parameter<P>> parameters) {
  std::vector<P> all;
  for (const auto& parameter : parameters) all.insert(all.end(), parameter.value.begin(), parameter.value.end());
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("weight average: the formula, element by element", P, float, double) {
  const double tolerance = sizeof(P) == 8 ? 1e-14 : 1e-6;
  for (const float decay : {0.999f, 0.3f, 0.0f}) {
    auto net = network<P>();
    for (P& value : net[0].value) value = P(0.123);
    for (P& value : net[1].value) value = P(0.456);
    train<P>(net, 0);
    WeightAverage<P> average(decay, net);
    // A weight of several pieces, and running statistics.
    std::map<std::size_t, std::vector<double>> expected;
    for (const std::size_t k : {2U, 3U}) expected[k].assign(net[k].value.begin(), net[k].value.end());
    for (int t = 0; t < 40; ++t) {
      train<P>(net, t + 1);
      const double d = std::min(static_cast<double>(decay), (1.0 + t) / (10.0 + t));
      CHECK(average.next_decay() == d);
      average.update(net, Threads(1));
      for (auto& [k, values] : expected)
        for (std::size_t i = 0; i < values.size(); ++i)
          values[i] = d * values[i] + (1 - d) * static_cast<double>(net[k].value[static_cast<index_t>(i)]);
    }
    CHECK(average.updates() == 40);
    const auto trained = net;
    average.swap(net);
    double worst = 0;
    for (const auto& [k, values] : expected)
      for (std::size_t i = 0; i < values.size(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(net[k].value[static_cast<index_t>(i)]) - values[i]));
    CHECK(worst < tolerance);
    // What is frozen keeps its bytes.
    for (const std::size_t k : {0U, 1U}) {
      CHECK(std::memcmp(net[k].value.data(), trained[k].value.data(),
                        static_cast<std::size_t>(net[k].value.size()) * sizeof(P)) == 0);
    }
    const bool follows = std::equal(net[4].value.begin(), net[4].value.end(), trained[4].value.begin());
    CHECK(follows == (decay == 0.0f));
    average.swap(net);
    CHECK(all_values<P>(net) == all_values<P>(trained));
  }
}

TEST_CASE("weight average: constant weights are their own average, to the bit") {
  auto net = network<float>();
  train<float>(net, 1);
  const auto before = all_values<float>(net);
  WeightAverage<float> average(0.99f, net);
  for (int t = 0; t < 100; ++t) average.update(net, Threads(1));
  average.swap(net);
  CHECK(all_values<float>(net) == before);
}

TEST_CASE("weight average: bit-identical for any thread count, and when saved and restored in the middle") {
  std::vector<float> expected;
  for (int count : {1, 2, 3}) {
    const Threads threads(count);
    auto net = network<float>();
    train<float>(net, 0);
    WeightAverage<float> average(0.95f, net);
    for (int t = 0; t < 30; ++t) {
      train<float>(net, t + 1);
      average.update(net, threads);
      if (t != 11 * count) continue;
      std::map<std::string, Tensor<float>> saved;
      const WeightAverage<float>& constant = average;
      constant.for_each_tensor([&](const std::string& name, TensorView<const float> tensor) {
        saved.emplace(name, Tensor<float>(tensor.shape(), tensor.span()));
      });
      CHECK(saved.size() == 3);
      CHECK(saved.count("average.head.0.weight") == 1);
      auto fresh = network<float>();
      WeightAverage<float> restored(0.95f, fresh);
      const auto find = [&](const std::string& name) {
        const auto at = saved.find(name);
        return at == saved.end() ? TensorView<const float>() : TensorView<const float>(at->second);
      };
      restored.restore(average.updates(), find);
      average = restored;
      saved.erase("average.head.1.bias");
      CHECK_THROWS_WITH_AS(restored.restore(1, find), doctest::Contains("average.head.1.bias"), FormatError);
      CHECK(restored.updates() == average.updates());
    }
    average.swap(net);
    const auto result = all_values<float>(net);
    if (expected.empty()) expected = result;
    CHECK(result == expected);
  }
}

TEST_CASE("weight average: misuse is refused") {
  auto net = network<float>();
  CHECK_THROWS_AS(WeightAverage<float>(1.0f, net), ArgumentError);
  CHECK_THROWS_AS(WeightAverage<float>(-0.1f, net), ArgumentError);
  WeightAverage<float> average(0.9f, net);
  average.swap(net);
  CHECK_THROWS_AS(average.update(net, Threads(1)), ArgumentError);
  CHECK_THROWS_AS(average.restore(1, [](const std::string&) { return TensorView<const float>(); }), ArgumentError);
  average.swap(net);
  net[0].frozen = false;
  CHECK_THROWS_WITH_AS(average.update(net, Threads(1)), doctest::Contains("trunk.0.weight"), ArgumentError);
  net.pop_back();
  CHECK_THROWS_AS(average.swap(net), ArgumentError);
}
