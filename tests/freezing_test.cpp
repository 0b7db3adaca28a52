// Freezing: what is frozen does not change by a bit, behaves as in inference, and costs nothing.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/loss.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/shape_layers.hpp"
#include "mien/optim/optimizer.hpp"
#include "nn_test.hpp"

using namespace mien;
using test::contains;
using S = Sequential<float>;

namespace {

/// y = x, counting the passes through copies of it.
struct Probe {
  static constexpr std::string_view kind = "Probe";
  int* backward_calls = nullptr;

  Features setup(const Features& input, Setup&) const { return input; }
  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }
  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>&) const {
    std::copy(x.begin(), x.end(), y.begin());
  }
  template <class T>
  void backward(TensorView<const T>, TensorView<const T>, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>&) const {
    ++*backward_calls;
    if (dx) std::copy(dy.begin(), dy.end(), dx.begin());
  }
  void describe(Describer&) {}
};

/// Trunk "features" (with normalization, dropout, a residual and a concat inside) and head "classifier".
S network(int* probe) {
  S features{Conv2d{.filters = 4, .padding = 1},
             BatchNorm2d{},
             Relu{},
             Dropout{0.3f},
             Probe{probe},
             Residual<float>{S{Conv2d{.filters = 4, .padding = 1}, BatchNorm2d{}}, S{Conv2d{.filters = 4, .kernel = 1}},
                             "downsample"},
             Concat<float>{S{}, S{Dropout{0.2f}, Conv2d{.filters = 2, .kernel = 1}, BatchNorm2d{}}},
             MaxPool2d{2}};
  S classifier{Flatten{}, Dense{8}, Relu{}, Dropout{0.5f}, Dense{3}};
  S net;
  net.add("features", std::move(features));
  net.add("classifier", std::move(classifier));
  net.build({6, 6, 2}, 3);
  return net;
}

struct Trainer {
  Tensor<float> x = test::random_tensor<float>({5, 6, 6, 2}, 1);
  Tensor<float> targets{Shape{5, 3}};
  Tensor<float> y{Shape{5, 3}}, dy{Shape{5, 3}};
  Threads threads{2};

  Trainer() {
    for (index_t i = 0; i < 5; ++i) targets[i * 3 + i % 3] = 1;
  }
  /// AdamW with weight decay, which would move everything that it holds.
  void run(S& net, int steps) {
    OptimizerState<float> state(AdamW{{.learning_rate = 0.01f, .weight_decay = 0.1f}}, net.parameters());
    test::GradientTensors<float> gradients(net);
    Workspace workspace(threads);
    for (int step = 0; step < steps; ++step) {
      const auto s = static_cast<std::uint64_t>(step);
      net.forward(x.view(), y.view(), workspace, 9, s);
      CrossEntropy{}(y.view(), targets.view(), dy.view());
      net.backward(x.view(), y.view(), dy.view(), {}, gradients.views, workspace, 9, s);
      state.step(net.parameters(), gradients.views, 0.01f, threads);
      test::take_statistics(net, gradients.views);
    }
  }
};

std::vector<Tensor<float>> values_of(const S& net) {
  std::vector<Tensor<float>> values;
  for (const auto& p : net.parameters()) values.push_back(p.value);
  return values;
}

/// Output of the first `count` layers in a training pass.
Tensor<float> trunk(const S& net, const Tensor<float>& x, index_t count, std::uint64_t step) {
  Tensor<float> y(net.shape_after(count).with_batch(x.shape()[0]));
  Workspace workspace;
  net.forward(x.view(), y.view(), workspace, 9, step, {0, count});
  return y;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("freezing: ten steps change no frozen bit, and everything else") {
  int calls = 0;
  S net = network(&calls);
  net.freeze("features");
  CHECK(net.frozen_prefix() == 9);  // features, and the Flatten behind it
  const auto before = values_of(net);
  Trainer trainer;
  const Tensor<float> features = trunk(net, trainer.x, 8, 0);
  trainer.run(net, 10);
  for (std::size_t i = 0; i < before.size(); ++i) {
    const auto& p = net.parameters()[i];
    CAPTURE(p.name);
    CHECK(p.frozen == covers("features", p.name));
    CHECK(test::same_bits(before[i], p.value) == p.frozen);
  }
  // The trunk answers as before, in every step alike: dropout is off and normalization uses what is stored.
  CHECK(test::same_bits(features, trunk(net, trainer.x, 8, 77)));
  Tensor<float> inferred(features.shape());
  Workspace workspace;
  net.infer(trainer.x.view(), inferred.view(), workspace, {0, 8});
  CHECK(test::same_bits(features, inferred));
  // Backward never went below the head.
  CHECK(calls == 0);
  // Unfrozen, all of it moves again.
  net.unfreeze("features");
  CHECK(net.frozen_names().empty());
  trainer.run(net, 2);
  CHECK(calls == 2);
  for (std::size_t i = 0; i < before.size(); ++i) {
    CAPTURE(net.parameters()[i].name);
    CHECK_FALSE(test::same_bits(before[i], net.parameters()[i].value));
  }
}

TEST_CASE("freezing: training on cached features is training the whole") {
  int calls = 0;
  S whole = network(&calls);
  whole.freeze("features");
  S cached = whole;
  Trainer trainer;
  const index_t prefix = whole.frozen_prefix();
  const Tensor<float> features = trunk(whole, trainer.x, prefix, 0);
  test::GradientTensors<float> a(whole), b(cached);
  Workspace workspace;
  for (std::uint64_t step = 0; step < 3; ++step) {
    whole.forward(trainer.x.view(), trainer.y.view(), workspace, 9, step);
    CrossEntropy{}(trainer.y.view(), trainer.targets.view(), trainer.dy.view());
    whole.backward(trainer.x.view(), trainer.y.view(), trainer.dy.view(), {}, a.views, workspace, 9, step);
    Tensor<float> y(trainer.y.shape());
    cached.forward(features.view(), y.view(), workspace, 9, step, {prefix, -1});
    CHECK(test::same_bits(y, trainer.y));
    cached.backward(features.view(), y.view(), trainer.dy.view(), {}, b.views, workspace, 9, step, {prefix, -1});
    for (std::size_t i = 0; i < a.tensors.size(); ++i) CHECK(test::same_bits(a.tensors[i], b.tensors[i]));
  }
}

TEST_CASE("freezing: nothing below the boundary is read or written in backward") {
  int calls = 0;
  S net = network(&calls);
  net.freeze("features");
  Trainer trainer;
  Workspace workspace;
  net.forward(trainer.x.view(), trainer.y.view(), workspace, 9, 0);
  CrossEntropy{}(trainer.y.view(), trainer.targets.view(), trainer.dy.view());
  test::GradientTensors<float> expected(net), got(net);
  net.backward(trainer.x.view(), trainer.y.view(), trainer.dy.view(), {}, expected.views, workspace, 9, 0);
  net.forward(trainer.x.view(), trainer.y.view(), workspace, 9, 0);
  for (auto& p : net.parameters())
    if (p.frozen) test::fill_nan(p.value);
  test::fill_nan(trainer.x);
  net.backward(trainer.x.view(), trainer.y.view(), trainer.dy.view(), {}, got.views, workspace, 9, 0);
  for (std::size_t i = 0; i < got.tensors.size(); ++i) {
    CHECK(bool(got.views[i]) == covers("classifier", net.parameters()[i].name));
    CHECK(test::same_bits(got.tensors[i], expected.tensors[i]));
    for (float v : got.tensors[i]) CHECK(std::isfinite(v));
  }
}

TEST_CASE("freezing: a normalization in the middle uses and keeps its stored statistics") {
  S net{Conv2d{.filters = 3}, BatchNorm2d{}, Tanh{}, Dense{2}};
  net.build({4, 4, 1}, 1);
  for (const char* name : {"1.running_mean", "1.running_var"})
    for (float& v : net.parameter(name).value) v = 2;
  net.freeze("1");
  CHECK(net.frozen_prefix() == 0);
  const Tensor<float> x = test::random_tensor<float>({3, 4, 4, 1}, 2);
  Tensor<float> y({3, 2});
  const Tensor<float> dy = test::random_tensor<float>({3, 2}, 3);
  Workspace workspace;
  net.forward(x.view(), y.view(), workspace, 1, 0);
  CHECK(test::same_bits(y, net.infer(x.view(), workspace)));
  net.forward(x.view(), y.view(), workspace, 1, 0);
  test::GradientTensors<float> gradients(net, true);
  net.backward(x.view(), y.view(), dy.view(), {}, gradients.views, workspace, 1, 0);
  for (const auto& g : gradients.tensors)
    for (float v : g) CHECK(std::isfinite(v));
  // Asked for all the same, the next value of its statistics is the one they have.
  CHECK(test::same_bits(gradients.tensors[4], net.parameter("1.running_mean").value));
  CHECK(test::same_bits(gradients.tensors[5], net.parameter("1.running_var").value));
  // The convolution below still learns.
  bool any = false;
  for (float v : gradients.tensors[0]) any = any || v != 0;
  CHECK(any);
}

TEST_CASE("freezing: a normalization whose statistics alone are frozen uses them, and learns its scale") {
  const Tensor<float> x = test::random_tensor<float>({3, 4, 4, 1}, 2), dy = test::random_tensor<float>({3, 2}, 3);
  S whole{Conv2d{.filters = 3}, BatchNorm2d{}, Relu{}, Dense{2}};
  whole.build({4, 4, 1}, 1);
  for (const char* name : {"1.running_mean", "1.running_var"})
    for (float& v : whole.parameter(name).value) v = 2;
  S inside{Residual<float>{whole, S{Dense{2}}}};
  inside.build({4, 4, 1}, 1);
  for (const auto& p : std::as_const(whole).parameters()) inside.parameter("0." + p.name).value = p.value;
  for (const bool nested : {false, true}) {
    S& net = nested ? inside : whole;
    const std::string layer = nested ? "0.1" : "1";
    const auto step = [&](std::vector<Tensor<float>>& gradients) {
      Tensor<float> y({3, 2});
      Workspace workspace;
      net.forward(x.view(), y.view(), workspace, 1, 0);
      CHECK(test::same_bits(y, net.infer(x.view(), workspace)));
      net.forward(x.view(), y.view(), workspace, 1, 0);
      test::GradientTensors<float> all(net, true);
      net.backward(x.view(), y.view(), dy.view(), {}, all.views, workspace, 1, 0);
      gradients = std::move(all.tensors);
    };
    std::vector<Tensor<float>> frozen, statistics, back;
    net.freeze(layer);
    step(frozen);
    net.unfreeze(layer + ".weight");
    net.unfreeze(layer + ".bias");
    step(statistics);
    CHECK(frozen.size() == statistics.size());
    for (std::size_t i = 0; i < frozen.size(); ++i) CHECK(test::same_bits(frozen[i], statistics[i]));
    net.unfreeze(layer);
    net.freeze(layer + ".running_var");
    step(back);
    for (std::size_t i = 0; i < frozen.size(); ++i) CHECK(test::same_bits(frozen[i], back[i]));
    net.unfreeze("");
    Tensor<float> y({3, 2});
    Workspace workspace;
    net.forward(x.view(), y.view(), workspace, 1, 0);
    CHECK_FALSE(test::same_bits(y, net.infer(x.view(), workspace)));
    // Building again starts with nothing frozen.
    net.freeze(layer + ".running_var");
    net.build({4, 4, 1}, 1);
    net.forward(x.view(), y.view(), workspace, 1, 0);
    CHECK_FALSE(test::same_bits(y, net.infer(x.view(), workspace)));
  }
}

TEST_CASE("freezing: names") {
  int calls = 0;
  S net = network(&calls);
  const auto message = test::message_of<ArgumentError>([&] { net.freeze("feature"); });
  CHECK(contains(message, "'feature'"));
  CHECK_THROWS_AS(net.freeze("features.0.weights"), ArgumentError);
  CHECK_THROWS_AS(net.unfreeze("head"), ArgumentError);
  CHECK_THROWS_AS(S{Relu{}}.freeze("0"), ArgumentError);  // not built
  CHECK(net.frozen_names().empty());

  net.freeze("features.3");  // a dropout, without parameters
  CHECK(net.frozen_names() == Names{"features.3"});
  CHECK_THROWS_AS(net.unfreeze("features.3.weight"), ArgumentError);
  CHECK(net.frozen_names() == Names{"features.3"});
  net.freeze("features.5.downsample");
  CHECK(net.frozen_names() == Names{"features.3", "features.5.downsample.0"});
  net.freeze("features.6.1.1.bias");
  CHECK(net.frozen_names() == Names{"features.3", "features.5.downsample.0", "features.6.1.1.bias"});
  net.freeze("classifier");
  const Names names = net.frozen_names();
  S again = network(&calls);
  for (const std::string& name : names) again.freeze(name);
  CHECK(again.frozen_names() == names);
  for (std::size_t i = 0; i < net.parameters().size(); ++i)
    CHECK(again.parameters()[i].frozen == net.parameters()[i].frozen);
  // And back to what it was, through everything frozen.
  again.freeze("");
  CHECK(again.frozen_names().size() == 13);
  again.unfreeze("");
  CHECK(again.frozen_names().empty());
  for (const std::string& name : names) again.freeze(name);
  CHECK(again.frozen_names() == names);
  // A copy is frozen alike; a network built anew is not.
  CHECK(S(again).frozen_names() == names);
  again.build({6, 6, 2});
  CHECK(again.frozen_names().empty());
}

TEST_CASE("freezing: parameters one by one, inside branches too, make their layer frozen") {
  int calls = 0;
  S net = network(&calls);
  for (const char* name : {"weight", "bias", "running_mean", "running_var"})
    net.freeze(std::string("features.6.1.2.") + name);
  CHECK(net.frozen_names() == Names{"features.6.1.2"});
  Trainer trainer;
  const auto before = values_of(net);
  trainer.run(net, 3);
  for (std::size_t i = 0; i < before.size(); ++i) {
    const auto& p = net.parameters()[i];
    CAPTURE(p.name);
    CHECK(test::same_bits(before[i], p.value) == p.frozen);
  }
  net.unfreeze("features.6.1.2.bias");
  CHECK(net.frozen_names().size() == 3);
}

TEST_CASE("freezing: dropout inside a frozen branch is off, and can be turned on again") {
  const auto varies = [](const S& net) {
    const Tensor<float> x = test::random_tensor<float>({4, 3, 3, 2}, 4);
    return !test::same_bits(trunk(net, x, 1, 0), trunk(net, x, 1, 1));
  };
  S net{Residual<float>{S{Conv2d{.filters = 2, .padding = 1}, Dropout{0.5f}}}, Dense{2}};
  net.build({3, 3, 2});
  CHECK(varies(net));
  net.freeze("0");
  CHECK_FALSE(varies(net));
  CHECK(net.frozen_names() == Names{"0"});
  CHECK(net.frozen_prefix() == 1);
  net.unfreeze("0.1");
  CHECK(varies(net));
  CHECK(net.frozen_names() == Names{"0.0"});
  CHECK(net.frozen_prefix() == 0);
  // The convolution stays frozen, although a layer beside it is not.
  CHECK(net.parameter("0.0.weight").frozen);
}

TEST_CASE("freezing: the prefix counts layers that have nothing to learn") {
  S net{Conv2d{},  Relu{},    MaxPool2d{2}, Conv2d{.kernel = 1}, Residual<float>{S{Relu{}}},
        Flatten{}, Dropout{}, Dense{2}};
  net.build({6, 6, 1});
  CHECK(net.frozen_prefix() == 0);
  net.freeze("0");
  CHECK(net.frozen_prefix() == 3);
  net.freeze("3");
  CHECK(net.frozen_prefix() == 6);  // up to the dropout, which draws
  net.freeze("6");
  CHECK(net.frozen_prefix() == 7);
  net.unfreeze("0");
  CHECK(net.frozen_prefix() == 0);
}
