// The chain: names, shapes, building, copying and moving, ranges, what is refused.
#include "mien/nn/sequential.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/prepared.hpp"
#include "mien/nn/shape_layers.hpp"
#include "nn_test.hpp"

using namespace mien;
using test::contains;
using S = Sequential<float>;
using Names = std::vector<std::string>;

namespace {

/// One layer of every kind.
S everything() {
  return {Conv2d{.filters = 4, .padding = 1},
          BatchNorm2d{},
          Relu{},
          MaxPool2d{2},
          Residual<float>{S{Conv2d{.filters = 4, .padding = 1, .groups = 2}, Tanh{}}},
          Concat<float>{S{}, S{AveragePool2d{.window = 3, .stride = 1, .padding = 1}, LeakyRelu{}}},
          AdaptiveAveragePool2d{{3, 2}},
          Dropout{0.25f},
          Flatten{},
          Dense{5},
          Sigmoid{},
          Softmax{}};
}

Names parameter_names(const S& net) {
  Names names;
  for (const auto& p : net.parameters()) names.push_back(p.name);
  return names;
}

template <class T>
struct RecorderOf : Observer<T> {
  Names names;
  void output(std::string_view layer, std::string_view kind, TensorView<const T> y) override {
    names.push_back(std::string(layer) + " " + std::string(kind) + " " + y.shape().to_string());
  }
};
using Recorder = RecorderOf<float>;

}  // namespace

TEST_CASE("sequential: names and shapes") {
  S net;
  net.add("features", S{Conv2d{.filters = 4}, Relu{}});
  net.add("block",
          Residual<float>{S{Conv2d{.filters = 4, .padding = 1}}, S{Conv2d{.filters = 4, .kernel = 1}}, "down"});
  net.add(Concat<float>{S{Conv2d{.filters = 1}}, S{Conv2d{.filters = 2}}});
  net.add("head", Dense{7, false});
  CHECK(net.build({8, 7, 1}) == Shape{7});
  CHECK(parameter_names(net) == Names{"features.0.weight", "features.0.bias", "block.0.weight", "block.0.bias",
                                      "block.down.0.weight", "block.down.0.bias", "2.0.0.weight", "2.0.0.bias",
                                      "2.1.0.weight", "2.1.0.bias", "head.weight"});
  CHECK(net.layer_count() == 5);
  CHECK(net.layer_name(1) == "features.1");
  CHECK(net.layer_kind(2) == "Residual");
  CHECK(net.shape_after(0) == Shape{8, 7, 1});
  CHECK(net.shape_after(2) == Shape{6, 5, 4});
  CHECK(net.shape_after(4) == Shape{4, 3, 3});
  CHECK(net.input_shape() == Shape{8, 7, 1});
  CHECK(net.parameter("head.weight").value.shape() == Shape{7, 36});
  CHECK(net.parameter("head.weight").columns == Shape{4, 3, 3});
  CHECK_THROWS_AS(net.parameter("head.bias"), ArgumentError);
  // Statistics are not counted.
  S norm{BatchNorm2d{}};
  norm.build({5});
  CHECK(norm.parameter_count() == 10);
}

TEST_CASE("sequential: errors name the layer, what it got and what it expects") {
  S net;
  net.add("features", S{Conv2d{.filters = 4, .kernel = 5}, MaxPool2d{2}, Conv2d{.filters = 4, .kernel = 5}});
  const auto message = test::message_of<ShapeError>([&] { net.build({10, 10, 1}); });
  CHECK(contains(message, "'features.2'"));
  CHECK(contains(message, "Conv2d"));
  CHECK(contains(message, "(3, 3, 4)"));
  CHECK(contains(message, "kernel"));
  CHECK_FALSE(net.built());
  S inner{Residual<float>{S{Conv2d{.filters = 3, .padding = 1}}}};
  CHECK(contains(test::message_of<ShapeError>([&] { inner.build({4, 4, 2}); }), "'0' (Residual)"));
  S deep{Concat<float>{S{}, S{Relu{}, Dropout{1.f}}}};
  CHECK(contains(test::message_of<ArgumentError>([&] { deep.build({3}); }), "'0.1.1' (Dropout)"));
  S flat{Conv2d{}};
  CHECK_THROWS_AS(flat.build({5}), ShapeError);
  CHECK_THROWS_AS(flat.build({}), ShapeError);
  CHECK_THROWS_AS(flat.build({1, 2, 3, 4, 5}), ShapeError);
  CHECK_THROWS_AS(flat.build({5, 0, 1}), ShapeError);
  CHECK_THROWS_AS(S{}.build({5}), ArgumentError);
}

TEST_CASE("sequential: a chain can be appended to itself") {
  S net{Conv2d{.filters = 4, .padding = 1}, Relu{}};
  net.add("again", net);
  CHECK(net.layer_count() == 4);
  CHECK(net.layer_name(2) == "again.0");
  net.build({5, 5, 1});
  CHECK(net.parameters().size() == 4);
}

TEST_CASE("sequential: names that clash are refused") {
  S net;
  net.add("a", Relu{});
  CHECK_THROWS_AS(net.add("a", Relu{}), ArgumentError);
  CHECK_THROWS_AS(net.add("a.b", Relu{}), ArgumentError);
  CHECK_THROWS_AS(net.add("", Relu{}), ArgumentError);
  net.build({2});
  CHECK_THROWS_AS(net.add(Relu{}), ArgumentError);
  // A layer of main that is called like the shortcut.
  S main;
  main.add("shortcut", S{Conv2d{.filters = 2, .padding = 1}});
  S twice{Residual<float>{main, S{Conv2d{.filters = 2, .kernel = 1}}}};
  CHECK(contains(test::message_of<ArgumentError>([&] { twice.build({3, 3, 2}); }), "'0.shortcut.0.bias'"));
}

TEST_CASE("sequential: a build that fails leaves the network as it was; another starts anew") {
  S net = everything();
  net.build({12, 10, 2}, 4);
  const Tensor<float> x = test::random_tensor<float>({2, 12, 10, 2}, 1);
  Workspace workspace;
  const Tensor<float> y = net.infer(x.view(), workspace);
  CHECK_THROWS_AS(net.build({0, 1, 2}), ShapeError);
  CHECK_THROWS_AS(net.build({1, 12, 2}), ShapeError);
  CHECK(test::same_bits(y, net.infer(x.view(), workspace)));
  net.freeze("");
  net.build({14, 9, 3}, 4);
  CHECK(net.input_shape() == Shape{14, 9, 3});
  CHECK(net.frozen_names().empty());
  CHECK(net.build({12, 10, 2}, 4) == Shape{5});
  CHECK(test::same_bits(y, net.infer(x.view(), workspace)));
  net.build({12, 10, 2}, 5);
  CHECK_FALSE(test::same_bits(y, net.infer(x.view(), workspace)));
}

TEST_CASE("sequential: copies and moves carry everything and share nothing") {
  S net = everything();
  net.build({12, 10, 2}, 4);
  const Tensor<float> x = test::random_tensor<float>({2, 12, 10, 2}, 1), dy = test::random_tensor<float>({2, 5}, 2);
  const Threads threads(1);
  const test::Passed<float> expected(net, x, dy, threads);

  S copy = net;
  for (auto& p : net.parameters()) test::fill_nan(p.value);
  CHECK(test::Passed<float>(copy, x, dy, threads).same(expected));
  CHECK_FALSE(test::Passed<float>(net, x, dy, threads).same(expected));
  S moved = std::move(copy);
  CHECK(test::Passed<float>(moved, x, dy, threads).same(expected));
  // What was moved from is an empty network that says so.
  Workspace workspace;
  CHECK_FALSE(copy.built());  // NOLINT
  CHECK_THROWS_AS(copy.infer(x.view(), workspace), ArgumentError);
  net = moved;
  CHECK(test::Passed<float>(net, x, dy, threads).same(expected));
  S& self = net;
  net = self;
  CHECK(test::Passed<float>(net, x, dy, threads).same(expected));
  net = std::move(moved);
  CHECK(test::Passed<float>(net, x, dy, threads).same(expected));
  std::vector<S> several(3, net);
  several.erase(several.begin());
  CHECK(test::Passed<float>(several[1], x, dy, threads).same(expected));
  // Layers as values: each copied out of one network into another.
  S again;
  for (index_t i = 0; i < net.layer_count(); ++i) again.add(AnyLayer<float>(net.layer(i)));
  again.build({12, 10, 2}, 4);
  CHECK(test::Passed<float>(again, x, dy, threads).same(expected));
}

TEST_CASE("sequential: parameters may be assigned, of the same shape") {
  S net{Dense{2}};
  net.build({3});
  Workspace workspace;
  const Tensor<float> x({1, 3}, std::vector<float>{1, 2, 3});
  net.infer(x.view(), workspace);
  // The old tensors' memory is gone.
  net.parameter("0.weight").value = Tensor<float>({2, 3}, std::vector<float>{1, 0, 0, 0, 0, 2});
  net.parameter("0.bias").value = Tensor<float>({2}, std::vector<float>{10, 20});
  const Tensor<float> y = net.infer(x.view(), workspace);
  CHECK(y[0] == 11);
  CHECK(y[1] == 26);
  net.parameter("0.bias").value = Tensor<float>({1});
  CHECK(contains(test::message_of<ShapeError>([&] { net.infer(x.view(), workspace); }), "'0.bias'"));
  net.parameter("0.bias").value = {};
  CHECK_THROWS_AS(net.infer(x.view(), workspace), ShapeError);
}

TEST_CASE("sequential: arguments that do not fit are refused") {
  S net{Dense{3}, Relu{}};
  Workspace workspace;
  Tensor<float> x({2, 4}), y({2, 3}), wrong({2, 5});
  CHECK_THROWS_AS(net.infer(x.view(), workspace), ArgumentError);
  net.build({4});
  CHECK_THROWS_AS(net.infer(wrong.view(), workspace), ShapeError);
  CHECK_THROWS_AS(net.infer(TensorView<const float>(), workspace), ShapeError);
  CHECK_THROWS_AS(net.infer(x.view(), wrong.view(), workspace), ShapeError);
  CHECK_THROWS_AS(net.infer(x.view(), y.view(), workspace, {1, 5}), ArgumentError);
  CHECK_THROWS_AS(net.infer(x.view(), y.view(), workspace, {-1, 1}), ArgumentError);
  CHECK_THROWS_AS(net.infer(x.view(), y.view(), workspace, {2, 1}), ArgumentError);

  test::GradientTensors<float> gradients(net);
  const auto backward = [&](const Tensor<float>& dy, TensorView<float> dx, Gradients<float> g, Workspace& w) {
    net.backward(x.view(), y.view(), dy.view(), dx, g, w, 1, 0);
  };
  Workspace fresh;
  CHECK_THROWS_AS(backward(y, {}, gradients.views, fresh), ArgumentError);
  net.forward(x.view(), y.view(), workspace, 1, 0);
  CHECK_THROWS_AS(backward(wrong, {}, gradients.views, workspace), ShapeError);
  CHECK_THROWS_AS(backward(y, wrong.view(), gradients.views, workspace), ShapeError);
  CHECK_THROWS_AS(backward(y, {}, Gradients<float>(gradients.views).first(1), workspace), ArgumentError);
  gradients.views[0] = wrong.view();
  CHECK(contains(test::message_of<ShapeError>([&] { backward(y, {}, gradients.views, workspace); }), "'0.weight'"));
}

TEST_CASE("sequential: ranges compose, and the observer sees every layer by its full name") {
  S net = everything();
  net.build({12, 10, 2}, 4);
  const Tensor<float> x = test::random_tensor<float>({3, 12, 10, 2}, 1);
  Workspace workspace;
  const Tensor<float> y = net.infer(x.view(), workspace);
  for (index_t cut = 0; cut <= net.layer_count(); ++cut) {
    Tensor<float> middle(net.shape_after(cut).with_batch(3)), end(y.shape());
    net.infer(x.view(), middle.view(), workspace, {0, cut});
    net.infer(middle.view(), end.view(), workspace, {cut, -1});
    CHECK(test::same_bits(end, y));
  }
  Recorder recorder;
  Tensor<float> again(y.shape());
  net.infer(x.view(), again.view(), workspace, {}, &recorder);
  CHECK(test::same_bits(again, y));
  CHECK(recorder.names == Names{"0 Conv2d (3, 12, 10, 4)", "1 BatchNorm2d (3, 12, 10, 4)", "2 Relu (3, 12, 10, 4)",
                                "3 MaxPool2d (3, 6, 5, 4)", "4.0 Conv2d (3, 6, 5, 4)", "4.1 Tanh (3, 6, 5, 4)",
                                "4 Residual (3, 6, 5, 4)", "5.1.0 AveragePool2d (3, 6, 5, 4)",
                                "5.1.1 LeakyRelu (3, 6, 5, 4)", "5 Concat (3, 6, 5, 8)",
                                "6 AdaptiveAveragePool2d (3, 3, 2, 8)", "7 Dropout (3, 3, 2, 8)", "8 Flatten (3, 48)",
                                "9 Dense (3, 5)", "10 Sigmoid (3, 5)", "11 Softmax (3, 5)"});
  // Names tell branches apart at any depth.
  S nested{Residual<float>{S{Relu{}, Residual<float>{S{Relu{}}, S{Tanh{}}, "side"}}}};
  nested.build({2});
  recorder.names.clear();
  Tensor<float> in({1, 2}), out({1, 2});
  nested.infer(in.view(), out.view(), workspace, {}, &recorder);
  CHECK(recorder.names == Names{"0.0 Relu (1, 2)", "0.1.0 Relu (1, 2)", "0.1.side.0 Tanh (1, 2)", "0.1 Residual (1, 2)",
                                "0 Residual (1, 2)"});
}

TEST_CASE("sequential: a sample's answer does not depend on its batch") {
  S net = everything();
  net.build({12, 10, 2}, 4);
  const Tensor<float> x = test::random_tensor<float>({5, 12, 10, 2}, 1);
  Workspace workspace;
  const Tensor<float> y = net.infer(x.view(), workspace);
  for (index_t n = 0; n < 5; ++n) {
    Tensor<float> one({1, 5});
    net.infer(x.view().slice(n, 1), one.view(), workspace);
    CHECK(test::largest_difference(one, y.view().slice(n, 1)) < 1e-6);
  }
  // No sample at all is no error, in inference.
  CHECK(net.infer(x.view().slice(0, 0), workspace).shape() == Shape{0, 5});
  Tensor<float> none({0, 5});
  CHECK_THROWS_AS(net.forward(x.view().slice(0, 0), none.view(), workspace, 1, 0), ShapeError);
}

TEST_CASE("sequential: what a workspace held before does not matter") {
  S net = everything();
  net.build({12, 10, 2}, 4);
  const Tensor<float> x = test::random_tensor<float>({4, 12, 10, 2}, 1);
  Workspace workspace;
  const Tensor<float> y = net.infer(x.view(), workspace);
  Tensor<float> trained(y.shape());
  net.forward(x.view(), trained.view(), workspace, 1, 0);
  for (std::span<std::byte> bytes : {workspace.saved(), workspace.scratch()})
    std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
  CHECK(test::same_bits(net.infer(x.view(), workspace), y));
  Tensor<float> again(y.shape());
  net.forward(x.view(), again.view(), workspace, 1, 0);
  CHECK(test::same_bits(again, trained));
}

namespace {

/// Passes through `net` from (6, 8, 6, 2) to (6, 5), whole and cut at `cuts`, where layers that would be run as one are
/// kept apart: the same bits. `held`: bytes that the whole pass keeps beside those of the parts.
template <class T>
void check_cut(Sequential<T> net, const std::vector<index_t>& cuts, index_t held) {
  using P = parameter_t<T>;
  net.build({8, 6, 2}, 4);
  for (auto& p : net.parameters())
    if (p.role == Role::normalization) p.value = test::random_tensor<P>(p.value.shape(), 9);
  const Tensor<T> x = test::random_tensor<T>({6, 8, 6, 2}, 1);
  const Tensor<T> dy = test::random_tensor<T>({6, 5}, 2);
  for (const bool frozen : {false, true}) {
    CAPTURE(frozen);
    if (frozen) net.freeze("1");
    test::GradientTensors<T> gradients(net), parts(net);
    const auto check_gradients = [&] {
      for (std::size_t i = 0; i < gradients.tensors.size(); ++i) {
        CAPTURE(net.parameters()[i].name);
        CHECK(test::same_bits(gradients.tensors[i], parts.tensors[i]));
      }
    };
    Tensor<T> y(dy.shape()), dx(x.shape());
    Workspace workspace;
    net.forward(x.view(), y.view(), workspace, 1, 0);
    net.backward(x.view(), y.view(), dy.view(), dx.view(), gradients.views, workspace, 1, 0);

    std::vector<Tensor<T>> values{x};
    std::vector<Workspace> workspaces(cuts.size() + 1);
    std::size_t saved = 0;
    for (std::size_t k = 0; k <= cuts.size(); ++k) {
      const Sequential<T>& chain = net;
      const Range range{k == 0 ? 0 : cuts[k - 1], k < cuts.size() ? cuts[k] : net.layer_count()};
      Tensor<T> out(chain.shape_after(range.last).with_batch(6));
      chain.forward(values.back().view(), out.view(), workspaces[k], 1, 0, range);
      values.push_back(std::move(out));
      saved += workspaces[k].saved().size();
    }
    Tensor<T> up = dy;
    for (std::size_t k = cuts.size() + 1; k-- > 0;) {
      const Range range{k == 0 ? 0 : cuts[k - 1], k < cuts.size() ? cuts[k] : net.layer_count()};
      Tensor<T> down(values[k].shape());
      net.backward(values[k].view(), values[k + 1].view(), up.view(), down.view(), parts.views, workspaces[k], 1, 0,
                   range);
      up = std::move(down);
    }
    CHECK(test::same_bits(y, values.back()));
    CHECK(test::same_bits(dx, up));
    check_gradients();
    // What lies between takes no memory.
    CHECK(static_cast<index_t>(workspace.saved().size()) <= static_cast<index_t>(saved) + held + 6 * 64);

    // An observer sees it all the same.
    RecorderOf<T> recorder;
    Tensor<T> observed(y.shape()), observed_dx(x.shape());
    net.forward(x.view(), observed.view(), workspace, 1, 0, {}, &recorder);
    for (auto& g : parts.tensors) std::fill(g.begin(), g.end(), P{0});
    net.backward(x.view(), observed.view(), dy.view(), observed_dx.view(), parts.views, workspace, 1, 0);
    CHECK(test::same_bits(y, observed));
    CHECK(test::same_bits(dx, observed_dx));
    check_gradients();

    // Without keeping anything, too.
    Tensor<T> inferred(y.shape()), watched(y.shape());
    net.infer(x.view(), inferred.view(), workspace);
    RecorderOf<T> inference;
    net.infer(x.view(), watched.view(), workspace, {}, &inference);
    CHECK(test::same_bits(inferred, watched));
    CHECK(static_cast<index_t>(recorder.names.size()) >= net.layer_count());
    CHECK(recorder.names == inference.names);
  }
}

/// Inference of `net` does several layers at once; watched, or a layer at a time, it does each by itself. The same
/// comes out, with statistics as training leaves them, of one image and of some; also where a NaN or an overflow on the
/// way makes Winograd's filtering give up.
template <class T>
void check_inference(Sequential<T> net, const Shape& input) {
  using P = parameter_t<T>;
  net.build(input, 1);
  for (auto& p : net.parameters()) {
    const Tensor<P> noise = test::random_tensor<P>(p.value.shape(), 3);
    for (index_t k = 0; k < noise.size(); ++k)
      p.value[k] = p.role == Role::statistic ? P(0.5) + noise[k] * noise[k] : p.value[k] + noise[k] * P(0.1);
  }
  const Threads threads(2);
  const auto same = [](const Tensor<T>& a, const Tensor<T>& b, bool finite) {
    if (finite) return test::same_bits(a, b);
    for (index_t k = 0; k < a.size(); ++k) {
      const auto p = static_cast<double>(a[k]), q = static_cast<double>(b[k]);
      if (p != q && !(std::isnan(p) && std::isnan(q))) return false;
    }
    return true;
  };
  for (const int kind : {0, 1, 2, 3, 4, 5}) {
    const index_t batch = kind % 2 == 0 ? 1 : 5;
    const bool finite = kind < 2;
    CAPTURE(kind);
    Tensor<T> x = test::random_tensor<T>(input.with_batch(batch), 7);
    if (kind / 2 == 1) x[x.size() / 3] = T(std::numeric_limits<P>::quiet_NaN());
    for (index_t k = 0; kind / 2 == 2 && k < x.size(); ++k) x[k] = T(static_cast<P>(x[k]) * P(1e38));
    Tensor<T> y(net.output_shape().with_batch(batch)), watched(y.shape()), prepared(y.shape());
    Workspace workspace(threads), other;
    net.infer(x.view(), y.view(), workspace);
    RecorderOf<T> recorder;
    net.infer(x.view(), watched.view(), other, {}, &recorder);
    CHECK(static_cast<index_t>(recorder.names.size()) >= net.layer_count());
    CHECK(same(y, watched, finite));
    Prepared<T>(net, batch).infer(x.view(), prepared.view(), workspace);
    CHECK(same(y, prepared, finite));
    Tensor<T> value = x;
    for (index_t i = 0; i < net.layer_count(); ++i) {
      Tensor<T> next(std::as_const(net).shape_after(i + 1).with_batch(batch));
      net.infer(value.view(), next.view(), workspace, {i, i + 1});
      value = std::move(next);
    }
    CHECK(same(y, value, finite));
    index_t varied = finite ? 0 : 1;
    for (index_t k = 1; k < y.size(); ++k) varied += static_cast<double>(y[k]) != static_cast<double>(y[0]);
    for (index_t k = 0; finite && k < y.size(); ++k) CHECK(std::isfinite(static_cast<double>(y[k])));
    CHECK(varied > 0);
  }
}

/// Layers with a forward of their own, over one whose work others may do or which others may do the work of.
struct Negative : Conv2d {
  static constexpr std::string_view kind = "Negative";
  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    Conv2d::forward(x, y, pass);
    for (T& value : y) value = T(-static_cast<parameter_t<T>>(value));
  }
};
struct Twice : Dropout {
  static constexpr std::string_view kind = "Twice";
  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>&) const {
    for (index_t k = 0; k < x.size(); ++k) y[k] = T(2 * static_cast<parameter_t<T>>(x[k]));
  }
};

struct Relu6 : Relu {  // without a kind of its own
  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>&) const {
    using P = parameter_t<T>;
    for (index_t k = 0; k < x.size(); ++k) y[k] = T(std::min(std::max(static_cast<P>(x[k]), P{0}), P{0.25}));
  }
};
struct FirstOfFour : MaxPool2d {
  static constexpr std::string_view kind = "FirstOfFour";
  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    MaxPool2d::forward(x, y, pass);  // keeps what backward reads
    const index_t channels = y.shape()[3], width = y.shape()[2];
    for (index_t k = 0; k < y.size(); ++k) {
      const index_t pixel = k / channels, row = pixel / width, column = pixel % width;
      y[k] = x[((2 * row) * 2 * width + 2 * column) * channels + k % channels];
    }
  }
};
struct Plain : BatchNorm2d {  // heeds no more than it is asked to
  static constexpr std::string_view kind = "Plain";
  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, Pass<T> pass) const {
    pass.relu = pass.pool = false;
    BatchNorm2d::forward(x, y, pass);
  }
  template <class T>
  void backward(TensorView<const T> x, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, Pass<T> pass) const {
    pass.relu = pass.pool = false;
    BatchNorm2d::backward(x, y, dy, dx, gradients, pass);
  }
};

/// A layer whose backward reads its output, over one whose does not.
struct Exponential : Dropout {
  static constexpr std::string_view kind = "Exponential";
  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>&) const {
    for (index_t k = 0; k < x.size(); ++k) y[k] = T(std::exp(static_cast<parameter_t<T>>(x[k])));
  }
  template <class T>
  void backward(TensorView<const T>, TensorView<const T> y, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>&) const {
    for (index_t k = 0; dx && k < y.size(); ++k)
      dx[k] = T(static_cast<parameter_t<T>>(dy[k]) * static_cast<parameter_t<T>>(y[k]));
  }
};

/// `net` from (4, 4, 1) to (2, 2, 3): a NaN in the last pixel wins where it is seen, and stays.
template <class T>
void check_nan(Sequential<T> net) {
  net.build({4, 4, 1}, 1);
  Tensor<T> x = test::random_tensor<T>({1, 4, 4, 1}, 1), y({1, 2, 2, 3});
  x[15] = T(std::numeric_limits<parameter_t<T>>::quiet_NaN());
  Workspace workspace;
  net.infer(x.view(), y.view(), workspace);
  for (index_t k = 0; k < y.size(); ++k) CHECK(std::isnan(static_cast<double>(y[k])) == (k >= 9));
}

}  // namespace

TEST_CASE_TEMPLATE("sequential: normalization and Relu in one pass are the two one after the other", T, float, double,
                   bfloat16) {
  const Sequential<T> net{Conv2d{.filters = 21, .padding = 1}, BatchNorm2d{}, Relu{}, Dense{5}};
  check_cut<T>(net, {2}, 0);
}

TEST_CASE_TEMPLATE("sequential: normalization, Relu and pooling in one pass are the three one after the other", T,
                   float, double, bfloat16) {
  const Sequential<T> net{Conv2d{.filters = 21, .padding = 1}, BatchNorm2d{}, Relu{}, MaxPool2d{2}, Dense{5}};
  check_cut<T>(net, {2, 3}, 0);
  // More channels than are held at once, and windows that are not halving ones.
  check_cut<T>({Conv2d{.filters = 300, .padding = 1}, BatchNorm2d{}, Relu{}, MaxPool2d{2}, Dense{5}}, {2, 3}, 0);
  check_cut<T>({Conv2d{.filters = 5}, BatchNorm2d{}, Relu{}, MaxPool2d{.window = 2, .stride = 1}, Dense{5}}, {3},
               1 << 20);
  check_cut<T>({Conv2d{.filters = 5, .kernel = 2}, BatchNorm2d{}, Relu{}, MaxPool2d{2}, Dense{5}}, {3}, 1 << 20);
  // A NaN wins and stays.
  check_nan(Sequential<T>{Conv2d{.filters = 3, .padding = 1}, BatchNorm2d{}, Relu{}, MaxPool2d{2}});
}

TEST_CASE_TEMPLATE("sequential: gradients written over what is saved are those of each layer by itself", T, float,
                   double, bfloat16) {
  const Conv2d conv{.filters = 7, .padding = 1};
  const Sequential<T> net{Conv2d{.filters = 21, .padding = 1},
                          BatchNorm2d{},
                          Relu{},
                          conv,
                          BatchNorm2d{},
                          Relu{},
                          MaxPool2d{2},
                          Dropout{},
                          conv,
                          Relu{},
                          MaxPool2d{.window = 2, .stride = 1},
                          Residual<T>{Sequential<T>{conv, BatchNorm2d{}, Relu{}, conv, Dropout{}}},
                          AveragePool2d{.window = 2, .stride = 1},
                          conv,
                          Tanh{},
                          Flatten{},
                          Dense{9},
                          Exponential{},
                          Dense{8},
                          Relu{},
                          Dropout{},
                          Dense{5}};
  std::vector<index_t> cuts;
  for (index_t i = 1; i < net.layer_count(); ++i) cuts.push_back(i);
  check_cut<T>(net, cuts, 1 << 20);
}

TEST_CASE("sequential: gradients between layers take no memory where they can lie in what is saved") {
  S net;
  const auto block = [&](index_t filters) {
    for (int k = 0; k < 2; ++k) {
      net.add(Conv2d{.filters = filters, .padding = 1});
      net.add(BatchNorm2d{});
      net.add(Relu{});
    }
    net.add(MaxPool2d{2});
  };
  block(16);
  block(32);
  net.add(Dense{5});
  net.build({16, 16, 1});
  const index_t batch = 16;
  const auto largest_scratch = [](const S& chain) {
    std::size_t largest = 0;
    for (index_t i = 0; i < chain.layer_count(); ++i) {
      const Shape x = chain.shape_after(i).with_batch(batch);
      largest = std::max(largest, chain.memory_of(x, 1, true, {i, i + 1}).scratch);
    }
    return largest;
  };
  CHECK(net.memory_of(net.input_shape().with_batch(batch), 1, true).scratch == largest_scratch(net));
  // A Relu by itself looks at its output, which stays: one gradient in two lies elsewhere.
  S plain{Conv2d{.filters = 16, .padding = 1}, Relu{}, Conv2d{.filters = 16, .padding = 1}, Relu{}, Dense{5}};
  plain.build({16, 16, 16});
  const Shape x = plain.input_shape().with_batch(batch);
  const std::size_t scratch = plain.memory_of(x, 1, true).scratch, image = bytes_of<float>(x.size());
  CHECK(scratch > largest_scratch(plain));
  CHECK(scratch <= largest_scratch(plain) + image);
}

TEST_CASE("sequential: a second backward needs a second forward where the first wrote over what was saved") {
  const Tensor<float> x = test::random_tensor<float>({3, 6, 6, 2}, 1), dy = test::random_tensor<float>({3, 4}, 2);
  Tensor<float> y(dy.shape()), dx(x.shape()), again(x.shape());
  S net{Conv2d{.filters = 4}, BatchNorm2d{}, Relu{}, Dense{4}};
  net.build({6, 6, 2}, 1);
  test::GradientTensors<float> gradients(net), second(net);
  Workspace workspace;
  const auto backward = [&](TensorView<float> down, Gradients<float> g) {
    net.backward(x.view(), y.view(), dy.view(), down, g, workspace, 1, 0);
  };
  net.forward(x.view(), y.view(), workspace, 1, 0);
  backward(dx.view(), gradients.views);
  CHECK(contains(test::message_of<ArgumentError>([&] { backward(again.view(), second.views); }),
                 "call forward before every backward"));
  net.forward(x.view(), y.view(), workspace, 1, 0);
  backward(again.view(), second.views);
  CHECK(test::same_bits(dx, again));
  for (std::size_t i = 0; i < gradients.tensors.size(); ++i)
    CHECK(test::same_bits(gradients.tensors[i], second.tensors[i]));
  // A pass that does not come to its end leaves nothing to go on with.
  auto& weight = net.parameter("0.weight");
  const Tensor<float> right = std::exchange(weight.value, Tensor<float>({1}));
  CHECK_THROWS_AS(net.forward(x.view(), y.view(), workspace, 1, 0), ShapeError);
  weight.value = right;
  CHECK_THROWS_AS(backward(again.view(), second.views), ArgumentError);
  // The forward pass must be of this network, batch and range, and what it saved must still be there.
  const S other = net;
  const Tensor<float> half = test::random_tensor<float>({1, 6, 6, 2}, 1);
  Tensor<float> half_y({1, 4});
  other.forward(x.view(), y.view(), workspace, 1, 0);
  CHECK_THROWS_AS(backward(again.view(), second.views), ArgumentError);
  net.forward(x.view(), y.view(), workspace, 1, 0);
  CHECK_THROWS_AS(net.backward(half.view(), half_y.view(), half_y.view(), {}, second.views, workspace, 1, 0),
                  ArgumentError);
  const Tensor<float> middle = test::random_tensor<float>({3, 4, 4, 4}, 3);
  CHECK_THROWS_AS(net.backward(middle.view(), y.view(), dy.view(), {}, second.views, workspace, 1, 0, {1, 4}),
                  ArgumentError);
  net.forward(x.view(), y.view(), workspace, 1, 0);
  S assigned = net;
  Workspace small;
  assigned.forward(x.view(), y.view(), small, 1, 0);
  S larger{Conv2d{.filters = 40}, BatchNorm2d{}, Relu{}, Dense{4}};
  larger.build({6, 6, 2}, 1);
  assigned = larger;
  test::GradientTensors<float> of_larger(assigned);
  CHECK_THROWS_AS(assigned.backward(x.view(), y.view(), dy.view(), {}, of_larger.views, small, 1, 0), ArgumentError);
  workspace.reserve({workspace.saved().size() + 1, 0});
  CHECK_THROWS_AS(backward(again.view(), second.views), ArgumentError);
  // With everything below frozen nothing is written over.
  net.freeze("0");
  net.freeze("1");
  for (std::size_t i = 0; i + 2 < second.views.size(); ++i) second.views[i] = {};
  net.forward(x.view(), y.view(), workspace, 1, 0);
  for (int k = 0; k < 2; ++k) CHECK_NOTHROW(backward({}, second.views));
}

TEST_CASE_TEMPLATE("sequential: inference of several layers at once is that of each by itself", T, float, double,
                   bfloat16) {
  const Conv2d same{.filters = 32, .padding = 1};
  // The pooling of 24x24 comes with tiles of 4, that of 11x11 not; layers that pass values on stand first and last too.
  check_inference<T>({Dropout{},    same,          BatchNorm2d{}, Relu{},    same,     BatchNorm2d{}, Relu{},
                      MaxPool2d{2}, Dropout{},     same,          Relu{},    same,     BatchNorm2d{}, Flatten{},
                      Dense{40},    BatchNorm2d{}, Relu{},        Dropout{}, Dense{9}, Relu{},        Dropout{}},
                     {24, 24, 1});
  check_inference<T>({same, Relu{}, Conv2d{.filters = 48, .padding = 1}, Relu{}, MaxPool2d{2}, BatchNorm2d{}, same,
                      MaxPool2d{2}, Relu{}, Flatten{}, Dropout{}, Dense{9}},
                     {22, 26, 3});
  check_inference<T>({same, Residual<T>{{same, BatchNorm2d{}, Relu{}, Dropout{}, same, BatchNorm2d{}}}, Relu{},
                      MaxPool2d{2}, Concat<T>(Sequential<T>{same, Relu{}, Dropout{}}, Sequential<T>{}), Dense{9}},
                     {16, 16, 2});
  check_inference<T>({Flatten{}, Dropout{}}, {3, 3, 2});
  Negative negative;
  negative.filters = 8;
  check_inference<T>({negative, Relu{}, Twice{}, negative, BatchNorm2d{}, Twice{}, Dense{5}}, {9, 9, 2});
  FirstOfFour first;
  first.window = 2;
  check_inference<T>({same, Relu{}, first, same, Relu6{}, MaxPool2d{2}, Relu{}, first, Dense{5}}, {24, 24, 2});
  check_nan(Sequential<T>{Conv2d{.filters = 3, .padding = 1}, Relu{}, MaxPool2d{2}, Dropout{}});
}

TEST_CASE_TEMPLATE("sequential: a layer with a forward of its own is not taken for the one it is derived from", T,
                   float, double, bfloat16) {
  FirstOfFour first;
  first.window = 2;
  const Conv2d conv{.filters = 7, .padding = 1};
  check_cut<T>({conv, BatchNorm2d{}, Relu{}, first, Dense{5}}, {3}, 1 << 20);
  check_cut<T>({conv, Relu{}, first, Dense{5}}, {2}, 1 << 20);
  check_cut<T>({conv, BatchNorm2d{}, Relu6{}, MaxPool2d{2}, Dense{5}}, {2, 3}, 1 << 20);
  check_cut<T>({conv, Relu6{}, MaxPool2d{2}, Dense{5}}, {2}, 1 << 20);
  check_cut<T>({conv, Plain{}, Relu{}, Dense{5}}, {2}, 1 << 20);
  check_cut<T>({conv, Plain{}, Relu{}, MaxPool2d{2}, Dense{5}}, {2, 3}, 1 << 20);
}

TEST_CASE_TEMPLATE("sequential: Relu and pooling in one pass are the two one after the other", T, float, double,
                   bfloat16) {
  check_cut<T>({Conv2d{.filters = 21, .padding = 1}, Relu{}, MaxPool2d{2}, Dense{5}}, {2}, 0);
  check_cut<T>({Conv2d{.filters = 300, .padding = 1}, Relu{}, MaxPool2d{2}, Dense{5}}, {2}, 0);
  check_cut<T>({Relu{}, MaxPool2d{2}, Dense{5}}, {1}, 0);
  // Among others, and what is no Relu, no halving pooling, or done by the normalization in front of it.
  check_cut<T>({Conv2d{.filters = 4, .padding = 1}, Relu{}, Relu{}, MaxPool2d{2}, Relu{}, Conv2d{4}, Dense{5}}, {3}, 0);
  check_cut<T>({Conv2d{.filters = 7, .padding = 1}, LeakyRelu{}, MaxPool2d{2}, Dense{5}}, {2}, 1 << 20);
  check_cut<T>({Conv2d{.filters = 7, .kernel = 2}, Relu{}, MaxPool2d{2}, Dense{5}}, {2}, 1 << 20);
  check_cut<T>({Conv2d{.filters = 7, .padding = 1}, BatchNorm2d{}, Relu{}, MaxPool2d{2}, Dense{5}}, {2}, 1 << 20);
  check_nan(Sequential<T>{Conv2d{.filters = 3, .padding = 1}, Relu{}, MaxPool2d{2}});
}
