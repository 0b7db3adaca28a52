// The personal head: it reaches the minimum of what it says it minimizes, and keeps what it is asked to keep.
#include "fer/personal_head.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "mien/core/random.hpp"

namespace {

using namespace mien;
using namespace mien::fer;

constexpr index_t classes = 5, width = 19;

Tensor<float> normal_features(index_t n, std::uint64_t seed, float shift = 0) {
  Tensor<float> result(Shape{n, width});
  const Random random(seed, Stream::user);
  for (index_t i = 0; i < result.size(); ++i) result[i] = random.normal(static_cast<std::uint64_t>(i)) + shift;
  return result;
}

Head general_head() {
  Head head(classes, width);
  const Random random(1, Stream::user);
  for (std::size_t i = 0; i < head.values.size(); ++i) head.values[i] = 0.5 * static_cast<double>(random.normal(i));
  return head;
}

std::vector<int> some_labels(index_t n) {
  std::vector<int> labels;
  for (index_t i = 0; i < n; ++i) labels.push_back(static_cast<int>(i * i % 4));  // class 4 is never shown
  return labels;
}

double norm(const std::vector<double>& v) { return std::sqrt(fer::detail::dot(v, v)); }

double distance(const Head& a, const Head& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) sum += (a.values[i] - b.values[i]) * (a.values[i] - b.values[i]);
  return std::sqrt(sum);
}

double largest_change(const Head& a, const Head& b, const Tensor<float>& features) {
  const auto p = predict(a, features.view()), q = predict(b, features.view());
  double largest = 0;
  for (std::size_t i = 0; i < p.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(p[i] - q[i])));
  return largest;
}

int right(const Head& head, const Tensor<float>& features, const std::vector<int>& labels) {
  const auto p = predict(head, features.view());
  int count = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto row = p.begin() + static_cast<std::ptrdiff_t>(i) * classes;
    count += std::max_element(row, row + classes) - row == labels[i];
  }
  return count;
}

const Threads& one() {
  static const Threads threads(1);
  return threads;
}

}  // namespace

TEST_CASE("personal head: the gradient is that of the value") {
  const Head general = general_head();
  const Tensor<float> features = normal_features(9, 2), bank = normal_features(300, 3);
  const std::vector<int> labels = some_labels(9);
  const fer::detail::HeadObjective objective(general, features.view(), labels, bank.view(),
                                             {.anchor = 0.01, .replay = 0.7}, one());
  Head at = general;
  for (std::size_t i = 0; i < at.values.size(); ++i) at.values[i] += 0.1 * std::sin(static_cast<double>(i));
  std::vector<double> gradient, unused;
  objective(at, gradient);
  CHECK(norm(gradient) > 0.01);
  for (std::size_t i = 0; i < at.values.size(); ++i) {
    const double kept = at.values[i], step = 1e-5;
    at.values[i] = kept + step;
    const double above = objective(at, unused);
    at.values[i] = kept - step;
    const double below = objective(at, unused);
    at.values[i] = kept;
    CHECK(std::abs((above - below) / (2 * step) - gradient[i]) < 1e-8);
  }
}

TEST_CASE("personal head: L-BFGS reaches the minimum") {
  const Head general = general_head();
  for (const index_t n : {1, 12, 200}) {
    for (const double replay : {0.0, 1.0}) {
      CAPTURE(n);
      CAPTURE(replay);
      const Tensor<float> features = normal_features(n, 4, 0.3f), bank = normal_features(260, 5);
      const std::vector<int> labels = some_labels(n);
      const HeadOptions options{.anchor = 1e-2, .replay = replay, .steps = 500};
      const Head head = personalize_head(general, features.view(), labels, bank.view(), options, one());
      const fer::detail::HeadObjective objective(general, features.view(), labels, bank.view(), options, one());
      std::vector<double> first, last;
      const double before = objective(general, first), after = objective(head, last);
      CHECK(after < before);
      CHECK(norm(last) < 1e-3 * norm(first));
      // The objective is strongly convex: the minimum is at most |gradient| / (2 anchor) away. Plain gradient descent
      // from there finds nothing below.
      Head other = head;
      double value = after;
      for (int i = 0; i < 300; ++i) {
        for (std::size_t k = 0; k < last.size(); ++k) other.values[k] -= 0.05 * last[k];
        value = objective(other, last);
      }
      CHECK(value > after - 1e-6);
      CHECK(distance(other, head) < 1e-2);
    }
  }
  // The steps that programs take by default come close.
  const Tensor<float> features = normal_features(21, 4, 0.3f), bank = normal_features(400, 5);
  const std::vector<int> labels = some_labels(21);
  const Head quick = personalize_head(general, features.view(), labels, bank.view(), {}, one());
  const HeadOptions exact_options{.steps = 5000};
  const Head exact = personalize_head(general, features.view(), labels, bank.view(), exact_options, one());
  const fer::detail::HeadObjective objective(general, features.view(), labels, bank.view(), {}, one());
  std::vector<double> unused;
  CHECK(objective(quick, unused) < objective(exact, unused) + 1e-3);
  CHECK(right(quick, features, labels) > right(general, features, labels));
}

TEST_CASE("personal head: an anchor without limit holds it where it was") {
  const Head general = general_head();
  const Tensor<float> features = normal_features(12, 6, 0.3f), bank = normal_features(100, 7);
  const std::vector<int> labels = some_labels(12);
  double last = 1e300;
  for (const double anchor : {1e-4, 1e-2, 1.0, 100.0, 1e6, 1e12}) {
    const HeadOptions options{.anchor = anchor, .replay = 1, .steps = 500};
    const double moved =
        distance(general, personalize_head(general, features.view(), labels, bank.view(), options, one()));
    CAPTURE(anchor);
    CHECK(moved < last);
    last = moved + 1e-12;
  }
  CHECK(last < 1e-5);
}

TEST_CASE("personal head: replay keeps the general answers") {
  const Head general = general_head();
  const Tensor<float> features = normal_features(12, 8, 0.5f), bank = normal_features(500, 9),
                      others = normal_features(200, 10);
  const std::vector<int> labels = some_labels(12);
  const auto adapted = [&](double replay) {
    const HeadOptions options{.anchor = 1e-4, .replay = replay, .steps = 500};
    return personalize_head(general, features.view(), labels, bank.view(), options, one());
  };
  const Head none = adapted(0), some = adapted(1), much = adapted(1000);
  // On the bank, and on faces that are not in it.
  for (const Tensor<float>* faces : {&bank, &others}) {
    CHECK(largest_change(general, none, *faces) > largest_change(general, some, *faces));
    CHECK(largest_change(general, some, *faces) > largest_change(general, much, *faces));
    CHECK(largest_change(general, much, *faces) < 0.05);
  }
  CHECK(right(none, features, labels) == 12);
  CHECK(right(some, features, labels) > right(general, features, labels));
  // No bank is no replay.
  const HeadOptions options{.anchor = 1e-4, .replay = 1, .steps = 500};
  CHECK(personalize_head(general, features.view(), labels, {}, options, one()).values == none.values);
}

TEST_CASE("personal head: the same bits every time and for any number of threads") {
  const Head general = general_head();
  const Tensor<float> features = normal_features(300, 11, 0.3f), bank = normal_features(1000, 12);
  const std::vector<int> labels = some_labels(300);
  const Head expected = personalize_head(general, features.view(), labels, bank.view(), {}, one());
  for (const int count : {1, 2, 3}) {
    const Threads threads(count);
    CHECK(personalize_head(general, features.view(), labels, bank.view(), {}, threads).values == expected.values);
  }
}

TEST_CASE("personal head: what does not fit is refused") {
  const Head general = general_head();
  const Tensor<float> features = normal_features(3, 2), none(Shape{0, width}), narrow(Shape{3, width - 1});
  const std::vector<int> labels = {0, 1, 2}, wrong = {0, 1, 5}, negative = {0, -1, 2}, few = {0, 1};
  const auto run = [&](const Head& head, const Tensor<float>& x, const std::vector<int>& y, const Tensor<float>& bank) {
    (void)personalize_head(head, x.view(), y, bank.view(), {}, one());
  };
  run(general, features, labels, none);
  CHECK_THROWS_AS(run(general, none, {}, none), ShapeError);
  CHECK_THROWS_AS(run(general, narrow, labels, none), ShapeError);
  CHECK_THROWS_AS(run(general, features, few, none), ShapeError);
  CHECK_THROWS_AS(run(general, features, labels, narrow), ShapeError);
  CHECK_THROWS_AS(run(general, features, wrong, none), ArgumentError);
  CHECK_THROWS_AS(run(general, features, negative, none), ArgumentError);
  CHECK_THROWS_AS(run(Head(17, width), features, labels, none), ArgumentError);
}
