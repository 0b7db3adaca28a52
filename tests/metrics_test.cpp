// Metrics: against figures worked out by hand, and at the edges.
#include "mien/train/metrics.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "mien/core/random.hpp"

using namespace mien;

namespace {

/// Logits that give class `c` of k the probability p and share the rest.
Tensor<float> answers(index_t k, const std::vector<std::pair<index_t, double>>& rows) {
  Tensor<float> z({static_cast<index_t>(rows.size()), k});
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto [c, p] = rows[r];
    z[static_cast<index_t>(r) * k + c] = static_cast<float>(std::log(p / ((1 - p) / static_cast<double>(k - 1))));
  }
  return z;
}

}  // namespace

TEST_CASE("evaluation: a small example by hand") {
  // Truth 0 0 0 1 1 3, taken for 0 0 1 1 0 3; class 2 never occurs.
  const Tensor<float> z = answers(4, {{0, 0.9}, {0, 0.7}, {1, 0.6}, {1, 0.8}, {0, 0.5}, {3, 0.4}});
  const std::vector<int> labels{0, 0, 0, 1, 1, 3};
  Evaluation e(4);
  e.add_logits(z.view(), labels);
  CHECK(e.count() == 6);
  CHECK(e.accuracy() == doctest::Approx(4.0 / 6));
  const std::vector<index_t> expected{2, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  CHECK(std::equal(expected.begin(), expected.end(), e.confusion().begin(), e.confusion().end()));
  CHECK(e.confusion(0, 1) == 1);
  CHECK(e.confusion(1, 0) == 1);

  const ClassMetrics zero = e.of_class(0);
  CHECK(zero.support == 3);
  CHECK(zero.predicted == 3);
  CHECK(zero.correct == 2);
  CHECK(zero.precision == doctest::Approx(2.0 / 3));
  CHECK(zero.recall == doctest::Approx(2.0 / 3));
  CHECK(e.of_class(1).f1 == doctest::Approx(0.5));
  CHECK(e.of_class(2).f1 == 0);
  CHECK(e.of_class(2).precision == 0);
  CHECK(e.of_class(2).recall == 0);
  CHECK(e.macro_f1() == doctest::Approx((2.0 / 3 + 0.5 + 1) / 3));

  // -log of .9, .7, .4/3, .8, .5/3, .4
  const double loss = -std::log(0.9 * 0.7 * (0.4 / 3) * 0.8 * (0.5 / 3) * 0.4) / 6;
  CHECK(e.loss() == doctest::Approx(loss).epsilon(1e-6));
  // Each sample is alone in its bin: .9 .7 .6 .8 .5 .4 lie in different fifteenths.
  const double ece = (0.1 + 0.3 + 0.6 + 0.2 + 0.5 + 0.6) / 6;
  CHECK(e.calibration_error() == doctest::Approx(ece).epsilon(1e-6));

  const Metrics m = e.metrics();
  CHECK(m.count == 6);
  CHECK(m.loss == e.loss());
  CHECK(m.accuracy == e.accuracy());
  CHECK(m.macro_f1 == e.macro_f1());
  CHECK(m.calibration_error == e.calibration_error());
}

TEST_CASE("evaluation: samples of one bin are taken together") {
  // Four answers of .75, three of them right: perfectly calibrated.
  const Tensor<float> p({4, 2}, std::vector<float>{0.75f, 0.25f, 0.75f, 0.25f, 0.25f, 0.75f, 0.75f, 0.25f});
  Evaluation e(2);
  e.add_probabilities(p.view(), std::vector<int>{0, 0, 1, 1});
  CHECK(e.calibration_error() == 0);
  CHECK(e.accuracy() == 0.75);
  // One more that is sure and wrong.
  const Tensor<float> sure({1, 2}, std::vector<float>{1, 0});
  e.add_probabilities(sure.view(), std::vector<int>{1});
  CHECK(e.calibration_error() == doctest::Approx(0.2));
  CHECK(std::isfinite(e.loss()));
}

TEST_CASE("evaluation: a bin ends with its upper edge") {
  // .38 and .4 = 6/15 both lie in (5/15, 6/15]; the first is wrong, the second right.
  const Tensor<double> p({2, 4}, std::vector<double>{0.38, 0.3, 0.2, 0.12, 0.4, 0.3, 0.2, 0.1});
  Evaluation e(4);
  e.add_probabilities(p.view(), std::vector<int>{1, 0});
  CHECK(e.calibration_error() == doctest::Approx((1 - 0.78) / 2));
}

TEST_CASE("evaluation: batch by batch, merged and all at once") {
  const index_t n = 300;
  const index_t k = 7;
  const Random random(11, Stream::user);
  Tensor<float> z({n, k});
  std::vector<int> labels;
  for (index_t i = 0; i < z.size(); ++i) z[i] = 2 * random.normal(static_cast<std::uint64_t>(i));
  for (index_t i = 0; i < n; ++i) {
    labels.push_back(static_cast<int>(random.below(static_cast<std::uint64_t>(10000 + i), k)));
  }
  Evaluation whole(k);
  whole.add_logits(z.view(), labels);
  Evaluation batches(k);
  Evaluation front(k);
  Evaluation back(k);
  for (index_t i = 0; i < n; i += 50) {
    const auto some = std::span<const int>(labels).subspan(static_cast<std::size_t>(i), 50);
    batches.add_logits(z.view().slice(i, 50), some);
    (i < 150 ? front : back).add_logits(z.view().slice(i, 50), some);
  }
  CHECK(batches.loss() == whole.loss());
  CHECK(batches.calibration_error() == whole.calibration_error());
  front.merge(back);
  CHECK(std::equal(whole.confusion().begin(), whole.confusion().end(), front.confusion().begin()));
  CHECK(front.loss() == doctest::Approx(whole.loss()).epsilon(1e-12));
  CHECK(front.calibration_error() == doctest::Approx(whole.calibration_error()).epsilon(1e-12));

  // Probabilities instead of logits, and the loss of training.
  Tensor<double> p({n, k});
  softmax(z.view(), p.view());
  Evaluation probable(k);
  probable.add_probabilities(p.view(), labels);
  CHECK(probable.loss() == doctest::Approx(whole.loss()).epsilon(1e-12));
  CHECK(probable.accuracy() == whole.accuracy());
  Tensor<float> targets({n, k});
  for (index_t i = 0; i < n; ++i) targets[i * k + labels[static_cast<std::size_t>(i)]] = 1;
  CHECK(CrossEntropy{}(z.view(), targets.view()) == doctest::Approx(whole.loss()).epsilon(1e-12));
}

TEST_CASE("evaluation: nothing divides by zero") {
  Evaluation none(7);
  CHECK(none.metrics().loss == 0);
  CHECK(none.metrics().accuracy == 0);
  CHECK(none.metrics().macro_f1 == 0);
  CHECK(none.metrics().calibration_error == 0);
  CHECK(none.of_class(3).f1 == 0);
  const Tensor<float> empty({0, 7});
  none.add_logits(empty.view(), {});
  CHECK(none.count() == 0);

  // Certain to the last bit, right and wrong; a probability of 0.
  Evaluation sure(2);
  const Tensor<float> z({2, 2}, std::vector<float>{1e4f, -1e4f, -1e4f, 1e4f});
  sure.add_logits(z.view(), std::vector<int>{0, 0});
  CHECK(sure.loss() == 1e4);
  CHECK(sure.calibration_error() == 0.5);
  CHECK(sure.macro_f1() == doctest::Approx(2.0 / 3));
  Evaluation zero(2);
  const Tensor<float> p({1, 2}, std::vector<float>{0, 1});
  zero.add_probabilities(p.view(), std::vector<int>{0});
  CHECK(zero.loss() == doctest::Approx(126 * std::log(2.0)));
  CHECK(zero.macro_f1() == 0);

  // Equal probabilities: the first class.
  Evaluation equal(3);
  const Tensor<bfloat16> same({1, 3});
  equal.add_logits(same.view(), std::vector<int>{0});
  CHECK(equal.accuracy() == 1);
  Evaluation only(1);
  const Tensor<float> one({1, 1});
  only.add_logits(one.view(), std::vector<int>{0});
  CHECK(only.loss() == 0);
  CHECK(only.macro_f1() == 1);
}

TEST_CASE("evaluation: bad input is refused whole") {
  CHECK_THROWS_AS(Evaluation(0), ArgumentError);
  CHECK_THROWS_AS(Evaluation(1000000), ArgumentError);
  Evaluation e(3);
  Tensor<float> z({2, 3});
  CHECK_THROWS_AS(e.add_logits(z.view(), std::vector<int>{0}), ShapeError);
  CHECK_THROWS_AS(e.add_logits(z.view(), std::vector<int>{0, 3}), ArgumentError);
  CHECK_THROWS_AS(e.add_logits(z.view(), std::vector<int>{0, -1}), ArgumentError);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    z[4] = bad;
    CHECK_THROWS_AS(e.add_logits(z.view(), std::vector<int>{0, 1}), NumericError);
  }
  z[4] = -std::numeric_limits<float>::infinity();  // a masked class is fine
  CHECK(e.count() == 0);
  e.add_logits(z.view(), std::vector<int>{0, 0});
  CHECK(e.count() == 2);
  CHECK_THROWS_AS(e.merge(Evaluation(4)), ArgumentError);
}
