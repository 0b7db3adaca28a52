// Initializers: moments and bounds of each recipe; what layers ask for.
#include "mien/nn/initializer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace mien;

namespace {

struct Drawn {
  double mean = 0, deviation = 0, largest = 0;
};
Drawn draw(const Initializer& initializer, index_t fan_in, index_t fan_out) {
  Tensor<double> values({40000});
  initializer.fill(values.view(), fan_in, fan_out, {1, Stream::initialize, 2});
  Drawn drawn;
  for (double v : values) {
    drawn.mean += v / 40000;
    drawn.largest = std::max(drawn.largest, std::abs(v));
  }
  for (double v : values) drawn.deviation += (v - drawn.mean) * (v - drawn.mean) / 40000;
  drawn.deviation = std::sqrt(drawn.deviation);
  return drawn;
}

void check_normal(const Initializer& initializer, double deviation) {
  const Drawn drawn = draw(initializer, 50, 200);
  CHECK(std::abs(drawn.mean) < 5 * deviation / 200);
  CHECK(std::abs(drawn.deviation / deviation - 1) < 5 / std::sqrt(2 * 40000.0));
  CHECK(drawn.largest > 3.5 * deviation);
}
void check_uniform(const Initializer& initializer, double bound) {
  const Drawn drawn = draw(initializer, 50, 200);
  CHECK(std::abs(drawn.mean) < 5 * bound / std::sqrt(3 * 40000.0));
  CHECK(std::abs(drawn.deviation / bound * std::sqrt(3) - 1) < 0.02);
  CHECK(drawn.largest <= bound * (1 + 1e-6));
  CHECK(drawn.largest > 0.999 * bound);
}

}  // namespace

TEST_CASE("initializers: the recipes of their papers") {
  check_normal(Initializer::he_normal(), std::sqrt(2.0 / 50));
  check_normal(Initializer::he_normal(Initializer::Scale::fan_out), std::sqrt(2.0 / 200));
  check_normal(Initializer::glorot_normal(), std::sqrt(2.0 / 250));
  check_normal(Initializer::normal(0.02f), 0.02);
  check_uniform(Initializer::he_uniform(), std::sqrt(6.0 / 50));
  check_uniform(Initializer::glorot_uniform(), std::sqrt(6.0 / 250));
  check_uniform(Initializer::pytorch(), 1 / std::sqrt(50.0));
  check_uniform(Initializer::uniform(0.3f), 0.3);
  const Drawn constant = draw(Initializer::constant(-2.5f), 50, 200);
  CHECK(constant.mean == doctest::Approx(-2.5));
  CHECK(constant.deviation < 1e-9);
}

TEST_CASE("initializers: the same values for every precision, from seed and parameter alone") {
  Tensor<float> a({100}), b({100});
  Tensor<double> c({100});
  const Initializer recipe = Initializer::he_normal();
  recipe.fill(a.view(), 9, 9, {7, Stream::initialize, 3});
  recipe.fill(b.view(), 9, 9, {7, Stream::initialize, 4});
  recipe.fill(c.view(), 9, 9, {7, Stream::initialize, 3});
  int equal = 0;
  for (index_t i = 0; i < 100; ++i) {
    CHECK(static_cast<double>(a[i]) == c[i]);
    equal += a[i] == b[i];
  }
  CHECK(equal == 0);
  // A fan of nothing divides by nothing.
  recipe.fill(a.view(), 0, 0, {7, Stream::initialize, 3});
  for (float v : a) CHECK(std::isfinite(v));
}
