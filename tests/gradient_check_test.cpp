// The gradient check itself, and through it every layer and combinator.
#include "mien/nn/gradient_check.hpp"

#include <doctest/doctest.h>

#include <string>

#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/combinators.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/dropout.hpp"
#include "mien/nn/pooling.hpp"
#include "mien/nn/shape_layers.hpp"
#include "nn_test.hpp"

using namespace mien;
using test::contains;

namespace {

template <class Net>
void check_right(const char* what, const Net& net, const Shape& input, GradientCheckOptions options = {}) {
  for (const bool frozen : {false, true}) {
    CAPTURE(std::string(what));
    CAPTURE(frozen);
    options.frozen = frozen;
    const GradientCheck result = check_gradients(net, input, 7, options);
    CHECK_MESSAGE(result, result.message());
  }
}

/// y = weight * x + bias of one number each, with a fault to be found.
enum class Fault { none, wrong_dx, wrong_weight, unwritten_bias, accumulates, unwritten_y, reads_scratch, shared };
struct Faulty {
  static constexpr std::string_view kind = "Faulty";
  Fault fault = Fault::none;

  Features setup(const Features& input, Setup& setup) const {
    setup.parameter({"weight", {1}, Role::weight, Initializer::constant(1), 1, 1, {}});
    setup.parameter({"bias", {1}, Role::bias, Initializer::constant(0), 1, 1, {}});
    return input;
  }
  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {64, 64};
  }
  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    for (index_t i = 0; i < x.size(); ++i) y[i] = pass.parameters[0][0] * x[i] + pass.parameters[1][0];
    if (fault == Fault::unwritten_y) y[0] = y[0] - y[0] + std::numeric_limits<T>::quiet_NaN();
  }
  template <class T>
  void backward(TensorView<const T> x, TensorView<const T>, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, const Pass<T>& pass) const {
    const T w = pass.parameters[0][0];
    const T scratch = *reinterpret_cast<const T*>(pass.scratch.data());
    for (index_t i = 0; dx && i < x.size(); ++i) {
      const bool wrong = fault == Fault::wrong_dx && i == 3;
      const T before = fault == Fault::accumulates ? dx[i] : fault == Fault::reads_scratch ? 0 * scratch : T{0};
      dx[i] = before + dy[i] * w * (wrong ? T(1.00001) : T{1});
    }
    T dw = 0, db = 0;
    for (index_t i = 0; i < x.size(); ++i) {
      dw += dy[i] * x[i];
      db += dy[i];
    }
    if (gradients[0]) gradients[0][0] = fault == Fault::wrong_weight ? -dw : dw;
    if (gradients[0] && fault == Fault::shared && !gradients[1]) gradients[0][0] = 2 * dw;
    if (gradients[1] && fault != Fault::unwritten_bias) gradients[1][0] = db;
  }
  void describe(Describer&) {}
};

/// Reads x when it has written dx, which is no fault unless it says that they may lie in one place.
struct ReadsInput : Faulty {
  static constexpr std::string_view kind = "ReadsInput";
  using OverwritesInput = ReadsInput;
};
/// Reads y, and says that it does not.
struct ReadsOutput : Tanh {
  static constexpr std::string_view kind = "ReadsOutput";
  using IgnoresOutput = ReadsOutput;
};

/// y = x + sqrt(root): below zero there is no y, and so no derivative at zero.
struct Root {
  static constexpr std::string_view kind = "Root";
  Features setup(const Features& input, Setup& setup) const {
    setup.parameter({"root", {1}, Role::weight, Initializer::constant(0), 1, 1, {}});
    return input;
  }
  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }
  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    for (index_t i = 0; i < x.size(); ++i) y[i] = x[i] + std::sqrt(pass.parameters[0][0]);
  }
  template <class T>
  void backward(TensorView<const T>, TensorView<const T>, TensorView<const T> dy, TensorView<T> dx,
                Gradients<T> gradients, const Pass<T>&) const {
    if (dx) std::copy(dy.begin(), dy.end(), dx.begin());
    if (gradients[0]) gradients[0][0] = 1;
  }
  void describe(Describer&) {}
};

/// Gives the same whatever it is given.
struct Constant : detail::Elementwise<Constant> {
  static constexpr std::string_view kind = "Constant";
  template <class P>
  struct Function {
    P value(P) const { return P{1}; }
    P slope(P) const { return P{0}; }
  };
  template <class P>
  Function<P> function() const {
    return {};
  }
};

}  // namespace

TEST_CASE("gradient check: finds each kind of fault and says where") {
  const Shape input{5};
  CHECK(check_gradients(Faulty{}, input));
  Sequential<double> root{Root{}};
  root.build(input);
  CHECK_FALSE(check_gradients(root, input));
  const GradientCheck dx = check_gradients(Faulty{Fault::wrong_dx}, input);
  CHECK_FALSE(dx);
  CHECK(dx.worst_name == "x");
  CHECK(dx.worst_index == 3);
  CHECK(dx.worst_error == doctest::Approx(1e-5).epsilon(0.01));
  CHECK(contains(dx.message(), "x[3]"));
  const GradientCheck weight = check_gradients(Faulty{Fault::wrong_weight}, input);
  CHECK_FALSE(weight);
  CHECK(weight.worst_name == "0.weight");
  CHECK(weight.actual == doctest::Approx(-weight.expected));
  for (const Fault fault :
       {Fault::unwritten_bias, Fault::accumulates, Fault::unwritten_y, Fault::reads_scratch, Fault::shared}) {
    CAPTURE(static_cast<int>(fault));
    const GradientCheck result = check_gradients(Faulty{fault}, input);
    CHECK_FALSE(result);
    CHECK_FALSE(result.problems.empty());
  }
}

TEST_CASE("gradient check: finds out what a layer wrongly says of its input or output") {
  const GradientCheck input = check_gradients(ReadsInput{}, {5}), output = check_gradients(ReadsOutput{}, {5});
  CHECK_FALSE(input);
  CHECK(contains(input.message(), "the gradient of 0.weight changes where dx is written over x"));
  CHECK_FALSE(output);
  CHECK(contains(output.message(), "dx changes where"));
  CHECK(check_gradients(Tanh{}, {5}));
}

TEST_CASE("gradient check: a gradient of nothing but zeros proves nothing") {
  const GradientCheck result = check_gradients(Constant{}, {4});
  CHECK(result.worst_error == 0);
  CHECK(result.nonzero == 0);
  CHECK_FALSE(result);
}

TEST_CASE("gradient check: kinks are skipped, and too many of them are a failure") {
  // Two equal values under one window, and a relu at zero: moved there by a bias that cancels the input.
  GradientCheckOptions options;
  options.batch = 1;
  Sequential<double> ties{Dense{4, false}, Relu{}};
  ties.build({1}, 1);
  for (double& w : ties.parameters()[0].value) w = 0;
  const GradientCheck result = check_gradients(ties, {1}, 3, options);
  CHECK(result.skipped > 0);
  CHECK_FALSE(result);
}

TEST_CASE("gradient check: a built network is taken as it is and left alone") {
  Sequential<double> net{Dense{3}, Tanh{}};
  net.build({4}, 5);
  const Tensor<double> before = net.parameters()[0].value;
  CHECK(check_gradients(net, {4}));
  CHECK(test::same_bits(before, net.parameters()[0].value));
  CHECK_FALSE(net.parameters()[0].frozen);
  CHECK_THROWS_AS(check_gradients(Sequential<double>{Conv2d{.kernel = 5}}, {3, 3, 1}), ShapeError);
}

TEST_CASE("gradients: convolution") {
  check_right("3x3", Conv2d{.filters = 4, .kernel = 3, .padding = 1}, {5, 4, 3});
  check_right("1x1", Conv2d{.filters = 5, .kernel = 1}, {3, 4, 6});
  check_right("uneven", Conv2d{.filters = 3, .kernel = {2, 3}, .stride = {2, 1}, .padding = {0, 1, 2, 3}}, {5, 4, 2});
  check_right("dilated", Conv2d{.filters = 2, .kernel = 3, .padding = 2, .dilation = {2, 1}}, {5, 5, 3});
  check_right("groups", Conv2d{.filters = 6, .kernel = 3, .stride = 2, .padding = 1, .groups = 2}, {6, 5, 4});
  check_right("depthwise", Conv2d{.filters = 8, .kernel = 3, .padding = 1, .groups = 4, .bias = false}, {4, 4, 4});
  check_right("stride above kernel", Conv2d{.filters = 2, .kernel = 2, .stride = 3}, {8, 9, 2});
}

TEST_CASE("gradients: dense") {
  check_right("dense", Dense{5}, {7});
  check_right("image", Dense{3, false}, {3, 2, 4});
}

TEST_CASE("gradients: pooling") {
  check_right("max", MaxPool2d{2}, {6, 5, 3});
  check_right("max overlapping", MaxPool2d{.window = {3, 2}, .stride = {2, 1}, .padding = 1, .ceil_mode = true},
              {6, 5, 3});
  check_right("average", AveragePool2d{2}, {5, 4, 3});
  check_right("average overlapping",
              AveragePool2d{.window = 3, .stride = 2, .padding = {1, 0, 0, 1}, .ceil_mode = true}, {6, 7, 2});
  check_right("average without padding", AveragePool2d{.window = 3, .stride = 2, .padding = 1, .count_padding = false},
              {6, 7, 2});
  check_right("adaptive", AdaptiveAveragePool2d{{3, 2}}, {7, 5, 2});
  check_right("adaptive, larger than the image", AdaptiveAveragePool2d{5}, {3, 2, 2});
  check_right("global", GlobalAveragePool{}, {4, 3, 5});
}

TEST_CASE("gradients: elementwise and the rest") {
  check_right("relu", Relu{}, {4, 3, 2});
  check_right("leaky relu", LeakyRelu{0.2f}, {4, 3, 2});
  check_right("sigmoid", Sigmoid{}, {17});
  check_right("tanh", Tanh{}, {17});
  check_right("softmax", Softmax{}, {3, 5});
  check_right("flatten", Flatten{}, {2, 3, 2});
  for (const float rate : {0.f, 0.1f, 0.5f, 0.9f}) check_right("dropout", Dropout{rate}, {4, 3, 5});
  check_right("batch norm", BatchNorm2d{}, {3, 4, 3});
  check_right("batch norm of features", BatchNorm2d{.epsilon = 0.1f, .momentum = 0.3f}, {5});
}

TEST_CASE("gradients: chains and combinators") {
  using S = Sequential<double>;
  check_right("empty shortcut", Residual<double>{S{Conv2d{.filters = 3, .padding = 1}, BatchNorm2d{}}}, {4, 4, 3});
  check_right("both branches",
              S{Residual<double>{S{Conv2d{.filters = 4, .stride = 2, .padding = 1}, BatchNorm2d{}, Relu{},
                                   Conv2d{.filters = 4, .padding = 1}},
                                 S{Conv2d{.filters = 4, .kernel = 1, .stride = 2}, BatchNorm2d{}}, "downsample"},
                Relu{}, GlobalAveragePool{}, Dense{3}},
              {6, 6, 2});
  check_right("concat", Concat<double>{S{}, S{Conv2d{.filters = 2, .padding = 1}, Tanh{}}, S{Conv2d{.kernel = 1}}},
              {4, 3, 3});
  check_right("concat in residual in concat",
              S{Concat<double>{S{Residual<double>{S{Concat<double>{S{Conv2d{.filters = 1, .kernel = 1}},
                                                                   S{Conv2d{.filters = 2, .padding = 1}}},
                                                    BatchNorm2d{}}}},
                               S{Dropout{0.25f}, Conv2d{.filters = 2, .kernel = 1}}},
                MaxPool2d{2}, Flatten{}, Dense{4}, Softmax{}},
              {4, 4, 3});
  const Threads threads(3);
  GradientCheckOptions options;
  options.threads = &threads;
  check_right("three threads", S{Conv2d{.filters = 3, .padding = 1}, BatchNorm2d{}, LeakyRelu{}, Dropout{}, Dense{2}},
              {4, 4, 2}, options);
}
