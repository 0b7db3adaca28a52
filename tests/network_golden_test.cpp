// Whole networks against PyTorch: first gradients, the losses of 20 steps of SGD and Adam, and the trained logits.
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "layer_golden.hpp"
#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/loss.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/shape_layers.hpp"
#include "mien/optim/optimizer.hpp"

using namespace mien;
using test::LayerGolden;

namespace {

const LayerGolden& golden() {
  static const LayerGolden file("networks.safetensors");
  return file;
}

template <class T>
Sequential<T> plain() {
  return {Conv2d{.filters = 6, .padding = 1},
          Relu{},
          MaxPool2d{2},
          Conv2d{.filters = 8, .bias = false},
          BatchNorm2d{},
          LeakyRelu{0.125f},
          AveragePool2d{2},
          Flatten{},
          Dense{10},
          Tanh{},
          Dense{7}};
}

template <class T>
Residual<T> block(index_t filters, index_t stride, bool identity) {
  Residual<T> result{Sequential<T>{Conv2d{.filters = filters, .stride = stride, .padding = 1, .bias = false},
                                   BatchNorm2d{}, Relu{}, Conv2d{.filters = filters, .padding = 1, .bias = false},
                                   BatchNorm2d{}}};
  if (!identity) {
    result.shortcut =
        Sequential<T>{Conv2d{.filters = filters, .kernel = 1, .stride = stride, .bias = false}, BatchNorm2d{}};
  }
  return result;
}
template <class T>
Sequential<T> resnet() {
  return {Conv2d{.filters = 6, .padding = 1, .bias = false},
          BatchNorm2d{},
          Relu{},
          block<T>(6, 1, true),
          Relu{},
          block<T>(8, 2, false),
          Relu{},
          AdaptiveAveragePool2d{1},
          Flatten{},
          Dense{7}};
}

template <class T>
Sequential<T> densenet() {
  using S = Sequential<T>;
  const auto grow = [] {
    return Concat<T>{S{}, S{BatchNorm2d{}, Relu{}, Conv2d{.filters = 3, .padding = 1, .bias = false}}};
  };
  return {Conv2d{.filters = 4, .padding = 1, .bias = false},
          grow(),
          grow(),
          BatchNorm2d{},
          Relu{},
          Conv2d{.filters = 5, .kernel = 1},
          AveragePool2d{2},
          grow(),
          AdaptiveAveragePool2d{1},
          Flatten{},
          Sigmoid{},
          Dense{7}};
}

template <class T>
void train(const std::string& name, Sequential<T> net, const std::string& method) {
  using P = parameter_t<T>;
  CAPTURE(name);
  CAPTURE(method);
  const double tolerance = sizeof(T) == 8 ? 1e-11 : sizeof(T) == 4 ? 1e-5 : 0.03;
  const Tensor<float> images = golden().get<float>(name + ".x");
  const Tensor<float> targets = golden().get<float>(name + ".targets");
  net.build(images.shape().without_batch());
  for (auto& p : net.parameters()) golden().load(p, name + ".start." + p.name);

  const Optimizer optimizer = method == "sgd"
                                  ? Optimizer(Sgd{{.learning_rate = 0.05f, .momentum = 0.9f, .weight_decay = 1e-3f}})
                                  : Optimizer(Adam{{.learning_rate = 0.01f}});
  OptimizerState<P> state(optimizer, net.parameters());
  test::GradientTensors<T> gradients(net);
  const Tensor<double> losses = golden().get(name + "." + method + ".losses");
  const Threads threads(1);
  Tensor<T> x(images.shape()), y(targets.shape()), dy(targets.shape());
  for (index_t step = 0; step < losses.size(); ++step) {
    CAPTURE(step);
    // The network lives at another address in every step: nothing may hang on where it is.
    Sequential<T> moved = step % 2 ? Sequential<T>(net) : std::move(net);
    Workspace workspace(threads);
    for (index_t i = 0; i < x.size(); ++i) x[i] = T(static_cast<P>(images[i]) * static_cast<P>(1 + step % 3));
    moved.forward(x.view(), y.view(), workspace, 1, static_cast<std::uint64_t>(step));
    const double loss = CrossEntropy{0.1f}(y.view(), targets.view(), dy.view());
    CHECK(std::abs(loss - losses[step]) < tolerance * losses[step]);
    moved.backward(x.view(), y.view(), dy.view(), {}, gradients.views, workspace, 1, static_cast<std::uint64_t>(step));
    for (std::size_t i = 0; step == 0 && method == "sgd" && i < gradients.tensors.size(); ++i) {
      const auto& p = moved.parameters()[i];
      if (p.role == Role::statistic) continue;
      CAPTURE(p.name);
      Tensor<double> expected = golden().get(name + ".gradient." + p.name);
      if (p.columns.rank() == 3) expected = LayerGolden::to_nhwc(expected, p.columns);
      // The file has these rounded to float.
      CHECK(test::largest_difference(gradients.tensors[i], expected) < (sizeof(T) == 2 ? 0.1 : 1e-5));
    }
    state.step(moved.parameters(), gradients.views, optimizer.learning_rate(), threads);
    test::take_statistics(moved, gradients.views);
    net = std::move(moved);
  }
  for (index_t i = 0; i < x.size(); ++i) x[i] = T(static_cast<P>(images[i]));
  Workspace workspace(threads);
  const double error =
      test::largest_difference(net.infer(x.view(), workspace), golden().get(name + "." + method + ".logits"));
  CHECK(error < (sizeof(T) == 8 ? 1e-10 : sizeof(T) == 4 ? 1e-4 : 0.5));
}

}  // namespace

TEST_CASE_TEMPLATE("20 training steps follow PyTorch's", T, double, float, bfloat16) {
  for (const char* method : {"sgd", "adam"}) {
    train<T>("plain", plain<T>(), method);
    train<T>("resnet", resnet<T>(), method);
    train<T>("densenet", densenet<T>(), method);
  }
}
