// Optimizers: PyTorch's trajectories, fixed results for any thread count, state that can be moved and saved.
#include "mien/optim/optimizer.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <utility>

#include "mien/core/random.hpp"
#include "optimizer_golden.hpp"

using namespace mien;

namespace {

// The quadratic of make_optimizer_golden.py: four parameters, one flat index through all of them.
constexpr index_t total = 63;
constexpr int steps = 20;

template <class P>
std::vector<Parameter<P>> start() {
  std::vector<Parameter<P>> parameters(4);
  parameters[0] = {"features.0.weight", Role::weight, {}, false, Tensor<P>({37})};
  parameters[1] = {"features.0.bias", Role::bias, {}, false, Tensor<P>({3})};
  parameters[2] = {"features.1.weight", Role::normalization, {}, false, Tensor<P>({5})};
  parameters[3] = {"classifier.weight", Role::weight, {}, false, Tensor<P>({6, 3})};
  index_t i = 0;
  for (auto& parameter : parameters)
    for (P& value : parameter.value) value = static_cast<P>(i++ * 5 % 23 - 11) / 8;
  return parameters;
}

template <class P>
class Quadratic {
 public:
  explicit Quadratic(std::span<const Parameter<P>> parameters) {
    for (const auto& parameter : parameters) {
      tensors_.push_back(parameter.trainable() ? Tensor<P>(parameter.value.shape()) : Tensor<P>());
      views_.push_back(parameter.trainable() ? tensors_.back().view() : TensorView<P>());
    }
  }
  /// Assigns the gradients, returns the loss.
  double operator()(std::span<const Parameter<P>> parameters, int step) {
    double loss = 0;
    index_t i = 0;
    for (std::size_t k = 0; k < parameters.size(); ++k) {
      for (index_t j = 0; j < parameters[k].value.size(); ++j, ++i) {
        const P h = static_cast<P>(i * 7 % 11 + 1) / 8;
        const P distance = parameters[k].value[j] - static_cast<P>(i * 3 % 13 - 6) / 4;
        loss += static_cast<double>(h * distance * distance) / 2;
        if (views_[k]) views_[k][j] = h * distance + static_cast<P>((i * 13 + step * 29) % 17 - 8) / 16;
      }
    }
    return loss;
  }
  std::span<const TensorView<P>> gradients() const { return views_; }

 private:
  std::vector<Tensor<P>> tensors_;
  std::vector<TensorView<P>> views_;
};

template <class P>
std::vector<P> values(std::span<const Parameter<P>> parameters) {
  std::vector<P> all;
  for (const auto& parameter : parameters) all.insert(all.end(), parameter.value.begin(), parameter.value.end());
  return all;
}

Optimizer with(Optimizer optimizer, float clip_value, float clip_norm) {
  optimizer.clip_value = clip_value;
  optimizer.clip_norm = clip_norm;
  return optimizer;
}
Optimizer weights_only(Optimizer optimizer) {
  optimizer.decay_only_weights = true;
  return optimizer;
}

struct Case {
  const char* name;
  Optimizer optimizer;
  std::vector<std::string> frozen = {};
};

std::vector<Case> cases() {
  const Sgd momentum{{.learning_rate = 0.05f, .momentum = 0.9f}};
  const Sgd decay{{.learning_rate = 0.05f, .momentum = 0.9f, .weight_decay = 0.125f}};
  const Sgd nesterov{{.learning_rate = 0.05f, .momentum = 0.9f, .weight_decay = 0.125f, .nesterov = true}};
  const Adam adam{{.learning_rate = 0.05f}};
  const Adam adam_decay{{.learning_rate = 0.05f, .weight_decay = 0.125f}};
  const AdamW adamw{{.learning_rate = 0.05f, .weight_decay = 0.125f}};
  Optimizer groups = Sgd{{.learning_rate = 0.0625f, .momentum = 0.9f, .weight_decay = 0.125f}};
  groups.groups = {{.match = "classifier", .learning_rate_scale = 2},
                   {.match = "features.1", .weight_decay = 0},
                   {.match = "features", .weight_decay = 0.125f}};
  return {
      {"sgd", Sgd{{.learning_rate = 0.05f}}},
      {"sgd_decay", Sgd{{.learning_rate = 0.05f, .weight_decay = 0.125f}}},
      {"sgd_momentum", momentum},
      {"sgd_momentum_decay", decay},
      {"sgd_nesterov", nesterov},
      {"sgd_clip_value", with(momentum, 0.5f, 0)},
      {"sgd_clip_norm", with(momentum, 0, 2)},
      {"sgd_clip_both", with(momentum, 0.5f, 2)},
      {"sgd_groups", groups},
      {"sgd_weights_only", weights_only(nesterov)},
      {"sgd_frozen", with(decay, 0, 2), {"features.0"}},
      {"adam", adam},
      {"adam_settings", Adam{{.learning_rate = 0.03f, .beta1 = 0.8f, .beta2 = 0.99f, .epsilon = 1e-3f}}},
      {"adam_decay", adam_decay},
      {"adam_rate_decay", Adam{{.learning_rate = 0.05f, .learning_rate_decay = 0.1f}}},
      {"adam_clip_norm", with(adam, 0, 2)},
      {"adam_frozen", adam_decay, {"features.0.weight"}},
      {"adamw", adamw},
      {"adamw_weights_only", weights_only(adamw)},
      {"adamw_clip_value", with(adamw, 0.5f, 0)},
  };
}

/// Parameters, gradients and state of a run that can go on.
template <class P>
struct Run {
  std::vector<Parameter<P>> parameters;
  Quadratic<P> quadratic;
  OptimizerState<P> state;

  explicit Run(const Case& c)
      : parameters(frozen(start<P>(), c.frozen)), quadratic(parameters), state(c.optimizer, parameters) {}

  double step(const Threads& threads) {
    const double loss = quadratic(parameters, static_cast<int>(state.steps()));
    state.step(parameters, quadratic.gradients(), state.optimizer().learning_rate(), threads);
    return loss;
  }
  static std::vector<Parameter<P>> frozen(std::vector<Parameter<P>> all, const std::vector<std::string>& prefixes) {
    for (auto& parameter : all)
      for (const std::string& prefix : prefixes) parameter.frozen = parameter.frozen || covers(prefix, parameter.name);
    return all;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("optimizers: PyTorch's losses and parameters over 20 steps", P, float, double) {
  const double tolerance = sizeof(P) == 8 ? 1e-12 : 1e-6;
  const Threads threads(2);
  for (const Case& c : cases()) {
    CAPTURE(std::string(c.name));
    Run<P> run(c);
    const std::vector<P> before = values<P>(run.parameters);
    std::vector<double> losses;
    for (int s = 0; s < steps; ++s) losses.push_back(run.step(threads));
    CHECK(run.state.steps() == steps);
    CHECK(test::largest_error<double>(losses, test::golden(std::string(c.name) + ".losses"), 1) < tolerance);
    const std::vector<P> after = values<P>(run.parameters);
    REQUIRE(after.size() == total);
    CHECK(test::largest_error<P>(after, test::golden(std::string(c.name) + ".values"), 1) < tolerance);

    // What is frozen keeps its bytes and has no state.
    std::size_t tensors = 0;
    run.state.for_each_tensor([&](const std::string& name, auto) {
      ++tensors;
      for (const std::string& prefix : c.frozen) CHECK(!covers(prefix, name.substr(name.find('.') + 1)));
    });
    std::size_t trained = 0;
    std::size_t offset = 0;
    for (const auto& parameter : run.parameters) {
      const auto bytes = static_cast<std::size_t>(parameter.value.size()) * sizeof(P);
      const bool same = std::memcmp(parameter.value.data(), before.data() + offset, bytes) == 0;
      CHECK(same == parameter.frozen);
      trained += parameter.frozen ? 0 : 1;
      offset += static_cast<std::size_t>(parameter.value.size());
    }
    const std::size_t per_parameter = c.optimizer.method() != Optimizer::Method::sgd ? 2
                                      : c.optimizer.sgd().momentum > 0               ? 1
                                                                                     : 0;
    CHECK(tensors == trained * per_parameter);
  }
}

TEST_CASE("optimizers: copying or moving network and state between steps changes nothing") {
  const Threads threads(1);
  for (const Case& c : cases()) {
    CAPTURE(std::string(c.name));
    Run<float> still(c);
    for (int s = 0; s < steps; ++s) still.step(threads);

    auto moved = std::make_unique<Run<float>>(c);
    for (int s = 0; s < steps; ++s) {
      moved->step(threads);
      // Other addresses for parameters, gradients and state.
      auto other = std::make_unique<Run<float>>(c);
      other->parameters = moved->parameters;
      other->state = s % 2 == 0 ? moved->state : std::move(moved->state);
      moved = std::move(other);
    }
    CHECK(values<float>(moved->parameters) == values<float>(still.parameters));
  }
}

TEST_CASE("optimizers: saved and restored in the middle, the run ends bit-identical") {
  const Threads threads(2);
  for (const Case& c : cases()) {
    CAPTURE(std::string(c.name));
    Run<float> whole(c);
    for (int s = 0; s < steps; ++s) whole.step(threads);

    Run<float> first(c);
    for (int s = 0; s < 7; ++s) first.step(threads);
    std::map<std::string, Tensor<float>> saved;
    const OptimizerState<float>& state = first.state;
    state.for_each_tensor([&](const std::string& name, TensorView<const float> tensor) {
      CHECK(saved.emplace(name, Tensor<float>(tensor.shape(), tensor.span())).second);
    });
    const auto find = [&](const std::string& name) {
      const auto at = saved.find(name);
      return at == saved.end() ? TensorView<const float>() : TensorView<const float>(at->second);
    };

    Run<float> second(c);
    second.parameters = first.parameters;
    second.state.restore(first.state.steps(), find);
    while (second.state.steps() < steps) second.step(threads);
    CHECK(values<float>(second.parameters) == values<float>(whole.parameters));

    if (saved.empty()) continue;
    // A tensor short: refused, and nothing has changed.
    saved.erase(std::prev(saved.end()));
    saved.begin()->second = Tensor<float>({999});
    Run<float> third(c);
    third.step(threads);
    CHECK_THROWS_AS(third.state.restore(7, find), FormatError);
    CHECK_THROWS_AS(third.state.restore(-1, find), ArgumentError);
    Run<float> undisturbed(c);
    undisturbed.step(threads);
    third.step(threads);
    undisturbed.step(threads);
    CHECK(values<float>(third.parameters) == values<float>(undisturbed.parameters));
  }
}

TEST_CASE("optimizers: state names are PyTorch's") {
  const auto parameters = start<float>();
  std::vector<std::string> names;
  OptimizerState<float>(Adam{}, parameters).for_each_tensor([&](const std::string& name, auto) {
    names.push_back(name);
  });
  CHECK(names.size() == 8);
  CHECK(names[0] == "exp_avg.features.0.weight");
  CHECK(names[1] == "exp_avg_sq.features.0.weight");
  names.clear();
  OptimizerState<float>(Sgd{{.momentum = 0.9f}}, parameters).for_each_tensor([&](const std::string& name, auto tensor) {
    if (name == "momentum_buffer.classifier.weight") CHECK(tensor.shape() == Shape{6, 3});
    names.push_back(name);
  });
  CHECK(names.back() == "momentum_buffer.classifier.weight");
}

TEST_CASE("optimizers: large parameters, bit-identical for 1, 2, 3 and 8 threads") {
  // Several pieces, with odd ends.
  const index_t sizes[] = {100003, 16384, 7, 40000};
  std::vector<Parameter<float>> parameters;
  std::vector<Tensor<float>> gradients;
  for (index_t size : sizes) {
    const Random random(7, Stream::user, static_cast<std::uint64_t>(size));
    parameters.push_back({"p" + std::to_string(size), Role::weight, {}, false, Tensor<float>({size})});
    gradients.emplace_back(Shape{size});
    for (index_t i = 0; i < size; ++i) {
      const auto index = static_cast<std::uint64_t>(2 * i);
      parameters.back().value[i] = random.normal(index);
      gradients.back()[i] = random.normal(index + 1);
    }
  }
  const std::vector<TensorView<float>> views(gradients.begin(), gradients.end());
  double squares = 0;
  for (const auto& gradient : gradients)
    for (float g : gradient) squares += static_cast<double>(g) * static_cast<double>(g);

  for (Optimizer optimizer : {Optimizer(Sgd{{.momentum = 0.9f, .weight_decay = 1e-4f, .nesterov = true}}),
                              Optimizer(AdamW{}), Optimizer(Sgd{{.learning_rate = 1}})}) {
    optimizer.clip_norm = 1;
    std::vector<float> expected;
    for (int count : {1, 2, 3, 8}) {
      const Threads threads(count);
      auto trained = parameters;
      OptimizerState<float> state(optimizer, trained);
      const int runs = optimizer.learning_rate() == 1 ? 1 : 5;
      for (int s = 0; s < runs; ++s) state.step(trained, views, optimizer.learning_rate(), threads);
      const std::vector<float> result = values<float>(trained);
      if (expected.empty()) expected = result;
      CHECK(std::memcmp(result.data(), expected.data(), result.size() * sizeof(float)) == 0);
    }
    CHECK(expected != values<float>(parameters));
    if (optimizer.learning_rate() < 1) continue;
    // One plain step with rate 1 shows the clipped gradient itself.
    const double factor = 1 / (std::sqrt(squares) + 1e-6);
    double worst = 0;
    std::size_t at = 0;
    for (std::size_t k = 0; k < parameters.size(); ++k) {
      for (index_t i = 0; i < sizes[k]; ++i, ++at) {
        const double wanted =
            static_cast<double>(parameters[k].value[i]) - factor * static_cast<double>(gradients[k][i]);
        worst = std::max(worst, std::abs(static_cast<double>(expected[at]) - wanted));
      }
    }
    CHECK(worst < 1e-6);
  }
}

TEST_CASE("optimizers: what a dead unit leaves behind becomes zero, not subnormal") {
#ifndef __x86_64__
  MESSAGE("skipped: only x86 is slowed down by subnormal numbers");
#else
  std::vector<Parameter<float>> parameters;
  parameters.push_back({"weight", Role::weight, {}, false, Tensor<float>({1000})});
  for (float& value : parameters[0].value) value = 1;
  Tensor<float> gradient(Shape{1000});
  const std::vector<TensorView<float>> views{gradient.view()};
  for (const Optimizer& optimizer : {Optimizer(Sgd{{.momentum = 0.9f}}), Optimizer(Adam{})}) {
    for (const int count : {1, 2}) {
      const Threads threads(count);
      OptimizerState<float> state(optimizer, parameters);
      for (float& g : gradient) g = 1;
      state.step(parameters, views, 1e-3f, threads);
      for (float& g : gradient) g = 0;
      for (int s = 0; s < 5000; ++s) state.step(parameters, views, 1e-3f, threads);
      int subnormal = 0, values = 0;
      const auto look = [&](const std::string&, TensorView<const float> tensor) {
        for (index_t i = 0; i < tensor.size(); ++i, ++values) subnormal += std::fpclassify(tensor[i]) == FP_SUBNORMAL;
      };
      std::as_const(state).for_each_tensor(look);
      CHECK(values > 0);
      CHECK(subnormal == 0);
    }
  }
#endif
}

TEST_CASE("optimizers: gradients of statistics are not taken, and nothing is trained twice") {
  auto parameters = start<float>();
  parameters[2].role = Role::statistic;
  Quadratic<float> quadratic(start<float>());  // gives a "gradient" for the statistic too
  quadratic(parameters, 0);
  OptimizerState<float> state(AdamW{}, parameters);
  const std::vector<float> before(parameters[2].value.begin(), parameters[2].value.end());
  state.step(parameters, quadratic.gradients(), 0.1f, Threads(1));
  CHECK(std::equal(before.begin(), before.end(), parameters[2].value.begin()));
}

TEST_CASE("optimizers: clipping needs finite gradients, and says whose are not") {
  auto parameters = start<float>();
  Quadratic<float> quadratic(parameters);
  quadratic(parameters, 0);
  Optimizer optimizer = Adam{};
  optimizer.clip_norm = 1;
  OptimizerState<float> state(optimizer, parameters);
  const auto before = values<float>(parameters);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    quadratic.gradients()[3][5] = bad;
    CHECK_THROWS_WITH_AS(state.step(parameters, quadratic.gradients(), 0.1f, Threads(1)),
                         doctest::Contains("classifier.weight"), NumericError);
    CHECK(values<float>(parameters) == before);
    CHECK(state.steps() == 0);
  }
}

TEST_CASE("optimizers: what does not fit is named") {
  auto parameters = start<float>();
  Quadratic<float> quadratic(parameters);
  const Threads threads(1);
  OptimizerState<float> state(Sgd{}, parameters);
  const auto gradients = quadratic.gradients();
  const std::span<Parameter<float>> all = parameters;
  CHECK_THROWS_AS(state.step(all.first(3), gradients, 0.1f, threads), ArgumentError);
  CHECK_THROWS_AS(state.step(all, gradients.first(3), 0.1f, threads), ArgumentError);
  CHECK_THROWS_AS(state.step(all, gradients, -0.1f, threads), ArgumentError);
  CHECK_THROWS_AS(state.step(all, gradients, std::nanf(""), threads), ArgumentError);
  std::vector<TensorView<float>> some(gradients.begin(), gradients.end());
  some[1] = {};
  CHECK_THROWS_WITH_AS(state.step(all, some, 0.1f, threads), doctest::Contains("features.0.bias"), ShapeError);
  parameters[1].frozen = true;
  CHECK_THROWS_AS(state.step(all, some, 0.1f, threads), ArgumentError);

  const auto refused = [&](const Optimizer& optimizer) {
    CHECK_THROWS_AS(OptimizerState<float>(optimizer, parameters), ArgumentError);
  };
  refused(Sgd{{.learning_rate = -1}});
  refused(Sgd{{.learning_rate = std::nanf("")}});
  refused(Sgd{{.momentum = 1}});
  refused(Sgd{{.nesterov = true}});
  refused(Sgd{{.weight_decay = -1}});
  refused(Adam{{.beta1 = 1}});
  refused(Adam{{.beta2 = -0.1f}});
  refused(Adam{{.epsilon = 0}});
  refused(AdamW{{.learning_rate_decay = -1}});
  refused(with(Sgd{}, -1, 0));
  refused(with(Sgd{}, 0, std::nanf("")));
  Optimizer typo = Sgd{};
  typo.groups = {{.match = "clasifier"}};
  refused(typo);
  typo.groups = {{.match = "feat"}};  // a prefix ends at a dot
  refused(typo);
}
