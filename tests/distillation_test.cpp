// Distillation: targets are what the formula says; a student learns its teachers' answers, in the same way for any
// number of threads and over an interruption.
#include "mien/train/distillation.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "nn_test.hpp"

using namespace mien;
using test::contains;
using test::message_of;

namespace {

constexpr index_t features = 8;
constexpr int classes = 3;
const Shape sample{1, features, 1};

template <class T>
Sequential<T> network(std::uint64_t seed) {
  Sequential<T> net{Flatten{}, Dense{classes}};
  net.build(sample, seed);
  return net;
}

template <class T>
std::vector<Sequential<T>> teachers(std::initializer_list<std::uint64_t> seeds) {
  std::vector<Sequential<T>> list;
  for (const std::uint64_t seed : seeds) list.push_back(network<T>(seed));
  return list;
}

/// Points of a normal distribution, all of class 0 if one believes the labels.
const TensorDataset& points() {
  static const TensorDataset data = [] {
    constexpr index_t n = 200;
    Tensor<float> values(sample.with_batch(n));
    const Random random(3, Stream::user);
    for (index_t i = 0; i < values.size(); ++i) values[i] = 3 * random.normal(static_cast<std::uint64_t>(i));
    return TensorDataset(std::move(values), std::vector<int>(n, 0), classes);
  }();
  return data;
}

/// The first n points.
Tensor<float> inputs(index_t n) {
  Tensor<float> x(sample.with_batch(n));
  for (index_t i = 0; i < n; ++i) points().get(i, {}, {x.data() + i * features, static_cast<std::size_t>(features)});
  return x;
}

template <class T>
Tensor<float> probabilities(const Sequential<T>& net, const Tensor<float>& x) {
  Tensor<T> converted(x.shape()), y(Shape{x.shape()[0], classes});
  for (index_t i = 0; i < x.size(); ++i) converted[i] = T(x[i]);
  Workspace workspace;
  net.infer(converted.view(), y.view(), workspace);
  Tensor<float> p(y.shape());
  softmax(std::as_const(y).view(), p.view());
  return p;
}

index_t largest(const Tensor<float>& p, index_t row) {
  const float* at = p.data() + row * classes;
  return std::max_element(at, at + classes) - at;
}

struct Interrupted {};
struct Interrupter : TrainingObserver {
  int left = 7;
  void batch(const BatchReport&) override {
    if (--left < 0) throw Interrupted{};
  }
};

}  // namespace

TEST_CASE_TEMPLATE("Distillation: labels and the mean of the teachers' answers in their shares", T, float, bfloat16) {
  const Threads threads(2);
  constexpr float weight = 0.75F;
  const auto list = teachers<T>({1, 2});
  Distillation<T> distillation(list, weight, 5, threads);
  for (const index_t n : {index_t{5}, index_t{2}, index_t{9}}) {
    const Tensor<float> x = inputs(n);
    Tensor<float> targets(Shape{n, classes});
    for (index_t i = 0; i < n; ++i) targets[i * classes + i % classes] = 1;
    const Tensor<float> labels = targets, first = probabilities(list[0], x), second = probabilities(list[1], x);
    distillation.retarget(x.view(), targets.view());
    for (index_t i = 0; i < targets.size(); ++i) {
      CHECK(targets[i] ==
            doctest::Approx((1 - weight) * labels[i] + weight * (first[i] + second[i]) / 2).epsilon(1e-6));
    }
  }
}

TEST_CASE_TEMPLATE("Distillation: what the labels do not say is learnt from the teacher", T, float, bfloat16) {
  const Threads threads(1);
  const auto list = teachers<T>({1});
  Distillation<T> distillation(list, 1, 20, threads);
  auto net = network<T>(7);
  fit(net, Adam{{.learning_rate = 0.05F}}, points(), {.epochs = 40, .batch = 20, .targets = &distillation});
  const Tensor<float> x = inputs(200), taught = probabilities(list[0], x), learnt = probabilities(net, x);
  int same = 0, not_first = 0;
  for (index_t i = 0; i < 200; ++i) {
    same += largest(taught, i) == largest(learnt, i) ? 1 : 0;
    not_first += largest(taught, i) != 0 ? 1 : 0;
  }
  CHECK(same >= 190);
  CHECK(not_first >= 60);  // so that the labels alone would have failed
}

TEST_CASE("Distillation: the same bits for any number of threads, and over an interruption") {
  const std::string path = "distillation.checkpoint";
  const auto run = [&](int count, FitOptions options) {
    const Threads threads(count);
    Distillation<float> distillation(teachers<float>({1, 2}), 0.5F, 16, threads);
    auto net = network<float>(7);
    options.epochs = 2;
    options.batch = 16;
    options.threads = &threads;
    options.targets = &distillation;
    fit(net, Sgd{{.learning_rate = 0.1F}}, points(), options);
    return net;
  };
  const auto once = run(1, {});
  const auto equal = [&](const Sequential<float>& net) {
    for (std::size_t i = 0; i < net.parameters().size(); ++i)
      if (!test::same_bits(net.parameters()[i].value, once.parameters()[i].value)) return false;
    return true;
  };
  CHECK(equal(run(2, {})));
  CHECK(equal(run(3, {})));

  std::remove(path.c_str());
  Interrupter interrupter;
  CHECK_THROWS_AS(run(1, {.checkpoint = path, .checkpoint_batches = 3, .observer = &interrupter}), Interrupted);
  CHECK(equal(run(2, {.checkpoint = path, .resume = true})));
  // Without the teachers it would be another run.
  auto alone = network<float>(7);
  CHECK(contains(message_of<ArgumentError>([&] {
                   fit(alone, Sgd{{.learning_rate = 0.1F}}, points(),
                       {.epochs = 2, .batch = 16, .checkpoint = path, .resume = true});
                 }),
                 "targets"));
  std::remove(path.c_str());
}

TEST_CASE("Distillation: what does not fit is refused") {
  const Threads threads(1);
  using D = Distillation<float>;
  CHECK_THROWS_AS(D({}, 0.5F, 4, threads), ArgumentError);
  for (const float weight : {-0.1F, 1.1F, std::numeric_limits<float>::quiet_NaN()})
    CHECK_THROWS_AS(D(teachers<float>({1}), weight, 4, threads), ArgumentError);
  CHECK_THROWS_AS(D({Sequential<float>{Dense{classes}}}, 0.5F, 4, threads), ArgumentError);
  auto other = teachers<float>({1, 2});
  other[1] = Sequential<float>{Flatten{}, Dense{classes}};
  other[1].build({1, features + 1, 1});
  CHECK(contains(message_of<ShapeError>([&] { D(other, 0.5F, 4, threads); }), "another takes (1, 9, 1)"));

  D fine(teachers<float>({1}), 0.5F, 4, threads);
  const Tensor<float> x = inputs(4);
  Tensor<float> wide(Shape{4, classes + 1}), narrow(Shape{4, classes});
  CHECK_THROWS_AS(fine.retarget(x.view(), wide.view()), ShapeError);
  const Tensor<float> wrong(Shape{4, 1, features + 1, 1});
  CHECK_THROWS_AS(fine.retarget(wrong.view(), narrow.view()), ShapeError);

  auto broken = teachers<float>({1});
  broken[0].parameters()[0].value[0] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(D(broken, 0.5F, 4, threads).retarget(x.view(), narrow.view()), NumericError);
}
