// The networks by name: as large as published, and each with a recipe that its optimizer accepts.
#include "fer/networks.hpp"

#include <doctest/doctest.h>

#include <string>

#include "nn_test.hpp"

using namespace mien;
using test::contains;

namespace {

Sequential<float> built(const char* name) {
  auto net = fer::make_network<float>(name);
  const index_t side = fer::recipe_of(name).input;
  net.build({side, side, 1}, 1);
  return net;
}

}  // namespace

TEST_CASE("networks: as many parameters as their sources say") {
  CHECK(built("atulapra").parameter_count() == 2'345'607);
  // Counted by hand from the published layers: convolutions 240,256; dense layers 4,719,616 + 7,175.
  CHECK(built("iexpressionnet").parameter_count() == 4'967'047);
  // 9 x 130,080 weights, 1,920 of normalization, 1,799 of the dense layer; without biases of convolutions.
  CHECK(built("mien-s").parameter_count() == 1'174'439);
  CHECK(built("mien-b").parameter_count() == 4'689'735);
}

TEST_CASE("networks: each reads what its recipe cuts out and gives seven logits") {
  Workspace workspace;
  for (const std::string_view name : fer::network_names) {
    CAPTURE(name);
    const auto net = built(std::string(name).c_str());
    CHECK(net.output_shape() == Shape{fer::class_count});
    const fer::Recipe recipe = fer::recipe_of(name);
    CHECK(recipe.name == name);
    CHECK(net.input_shape() == Shape{recipe.input, recipe.input, 1});
    CHECK(recipe.input <= fer::face_side);
    CHECK(recipe.epochs > 0);
    CHECK(recipe.batch > 0);
    const OptimizerState<float> state(recipe.optimizer, net.parameters());
    CHECK(state.steps() == 0);
    const auto x = test::random_tensor<float>(net.input_shape().with_batch(2), 3);
    for (const float v : net.infer(x.view(), workspace)) CHECK(std::isfinite(v));
    // What transfer freezes and what it trains.
    auto frozen = net;
    frozen.freeze("features");
    index_t trained = 0;
    for (const auto& p : frozen.parameters()) {
      CHECK(p.frozen == covers("features", p.name));
      CHECK(covers(p.frozen ? "features" : "classifier", p.name));
      trained += p.frozen ? 0 : p.value.size();
    }
    CHECK(trained > 0);
  }
}

TEST_CASE("networks: published recipes") {
  const fer::Recipe a = fer::recipe_of("atulapra");
  CHECK(a.optimizer.name() == std::string("adam"));
  CHECK(a.optimizer.learning_rate() == 1e-4f);
  CHECK(a.optimizer.adam().learning_rate_decay == 1e-6f);
  CHECK(a.batch == 64);
  CHECK(a.epochs == 50);
  CHECK(a.mean == 0);
  CHECK(a.deviation == 1);
  const fer::Recipe s = fer::recipe_of("mien-s");
  CHECK(s.optimizer.name() == std::string("sgd"));
  CHECK(s.optimizer.learning_rate() == 0.1f);
  CHECK(s.input == 44);
  CHECK(s.augmentation.shift == 4);
  CHECK(s.augmentation.rotation_probability == 1);
  CHECK(s.augmentation.erasing_probability == 0.5f);
}

TEST_CASE("networks: another name is refused with the ones there are") {
  const std::string message = test::message_of<ArgumentError>([] { (void)fer::make_network<float>("resnet1001"); });
  CHECK(contains(message, "resnet1001"));
  for (const std::string_view name : fer::network_names) CHECK(contains(message, name));
  CHECK_THROWS_AS(fer::augmentation_of("wild", 44), ArgumentError);
  for (const char* name : {"none", "light", "strong"}) CHECK(fer::augmentation_of(name, 44).crop == 44);
}
