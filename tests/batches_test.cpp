#include "mien/data/batches.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>
#include <vector>

#include "mien/data/augmentation.hpp"

using namespace mien;

namespace {

/// Sample i is filled with i; label i % 3.
class Numbered : public Dataset {
 public:
  explicit Numbered(index_t count) : count_(count) {}
  index_t size() const override { return count_; }
  Shape shape() const override { return {2, 2, 1}; }
  int classes() const override { return 3; }
  int label(index_t i) const override { return static_cast<int>(i % 3); }
  void get(index_t i, const SampleKey&, std::span<float> input) const override {
    ++calls;
    if (i == broken) fail<FormatError>("sample " + std::to_string(i) + " is damaged");
    std::fill(input.begin(), input.end(), static_cast<float>(i));
  }
  index_t broken = -1;
  mutable std::atomic<int> calls{0};

 private:
  index_t count_;
};

struct Copy {
  std::vector<float> inputs, targets;
  std::vector<int> labels;
  index_t count;
  bool operator==(const Copy&) const = default;
};

std::vector<Copy> collect(const Dataset& data, const BatchOptions& options) {
  Batches batches(data, options);
  std::vector<Copy> result;
  while (const Batch* batch = batches.next()) {
    REQUIRE(batch->inputs.shape() == data.shape().with_batch(batch->count));
    REQUIRE(batch->targets.shape() == Shape{batch->count, data.classes()});
    result.push_back({{batch->inputs.begin(), batch->inputs.end()},
                      {batch->targets.begin(), batch->targets.end()},
                      batch->labels,
                      batch->count});
  }
  CHECK(batches.next() == nullptr);
  return result;
}

}  // namespace

TEST_CASE("In order, with a short last batch") {
  const Numbered data(7);
  const auto batches = collect(data, {.batch = 3, .shuffle = false});
  REQUIRE(batches.size() == 3);
  CHECK(batches[0].inputs == std::vector<float>{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2});
  CHECK(batches[1].labels == std::vector<int>{0, 1, 2});
  CHECK(batches[2].count == 1);
  CHECK(batches[2].inputs == std::vector<float>(4, 6.0f));
  CHECK(batches[2].targets == std::vector<float>{1, 0, 0});
  CHECK(collect(data, {.batch = 3, .shuffle = false, .drop_last = true}).size() == 2);
  CHECK(collect(data, {.batch = 100}).size() == 1);
  CHECK(collect(data, {.batch = 100, .drop_last = true}).empty());
  CHECK(collect(data, {.batch = index_t{1} << 60}).front().count == 7);
  CHECK(collect(Numbered(0), {}).empty());
}

TEST_CASE("Every sample once per epoch, in an order of seed and epoch alone") {
  const Numbered data(101);
  const auto order = [&](std::uint64_t seed, std::uint64_t epoch) {
    std::vector<float> seen;
    for (const Copy& batch : collect(data, {.batch = 8, .seed = seed, .epoch = epoch})) {
      for (std::size_t i = 0; i < batch.inputs.size(); i += 4) {
        seen.push_back(batch.inputs[i]);
        CHECK(batch.labels[i / 4] == static_cast<int>(batch.inputs[i]) % 3);
      }
    }
    return seen;
  };
  const auto first = order(1, 0);
  CHECK(std::set<float>(first.begin(), first.end()).size() == 101);
  CHECK(first == order(1, 0));
  CHECK(first != order(1, 1));
  CHECK(first != order(2, 0));
  CHECK_FALSE(std::is_sorted(first.begin(), first.end()));
}

TEST_CASE("Threads, prefetching and skipping change nothing") {
  Tensor<float> images(Shape{50, 12, 12, 1});
  const Random random(3, Stream::user);
  for (index_t i = 0; i < images.size(); ++i) images[i] = random.normal(static_cast<std::uint64_t>(i));
  std::vector<int> labels;
  for (int i = 0; i < 50; ++i) labels.push_back(i % 5);
  const TensorDataset data(std::move(images), std::move(labels), 5);
  const Augmented augmented(data, Augmentation::strong(10));

  for (const float alpha : {0.0f, 0.3f}) {
    BatchOptions options{.batch = 8, .seed = 7, .epoch = 3, .mixup_alpha = alpha, .prefetch = 0};
    const auto expected = collect(augmented, options);
    REQUIRE(expected.size() == 7);
    for (const int prefetch : {0, 1, 2, 5, 100}) {
      for (const int threads : {1, 2, 3}) {
        options.prefetch = prefetch;
        options.threads = threads;
        CHECK(collect(augmented, options) == expected);
      }
    }
    options.threads = 1;
    for (const int prefetch : {0, 2}) {
      options.prefetch = prefetch;
      for (index_t first = 0; first <= 8; ++first) {
        options.first_batch = first;
        const auto skipped = static_cast<std::ptrdiff_t>(std::min<index_t>(first, 7));
        CHECK(collect(augmented, options) == std::vector<Copy>(expected.begin() + skipped, expected.end()));
      }
    }
  }
}

TEST_CASE("An exception of the dataset arrives with the batch it belongs to") {
  for (const int prefetch : {0, 1, 3}) {
    for (const int threads : {1, 2}) {
      Numbered data(20);
      data.broken = 13;
      Batches batches(data, {.batch = 5, .shuffle = false, .prefetch = prefetch, .threads = threads});
      CHECK(batches.next()->labels.size() == 5);
      CHECK(batches.next()->inputs[0] == 5.0f);
      CHECK_THROWS_WITH_AS(batches.next(), "sample 13 is damaged", FormatError);
      CHECK_THROWS_AS(batches.next(), FormatError);
      CHECK(batches.position() == 2);
    }
  }
}

TEST_CASE("A label that a dataset should not give is refused") {
  class Wrong : public Numbered {
   public:
    using Numbered::Numbered;
    int label(index_t) const override { return 3; }
  };
  const Wrong data(4);
  Batches batches(data, {.batch = 2});
  CHECK_THROWS_AS(batches.next(), ArgumentError);
}

TEST_CASE("Batches may be left in the middle, and do not run far ahead") {
  const Numbered data(1000);
  {
    Batches batches(data, {.batch = 10, .prefetch = 2});
    const Batch* batch = batches.next();
    const std::vector<float> inputs(batch->inputs.begin(), batch->inputs.end());
    // The thread may prepare two more meanwhile, but leaves this one alone.
    while (data.calls < 30) {
    }
    CHECK(inputs == std::vector<float>(batch->inputs.begin(), batch->inputs.end()));
    CHECK(batches.position() == 1);
    CHECK(batches.size() == 100);
  }
  CHECK(data.calls <= 40);
}

TEST_CASE("Mixup mixes inputs and targets by one lambda") {
  const Numbered data(64);
  std::set<float> lambdas;
  for (std::uint64_t epoch = 0; epoch < 4; ++epoch) {
    Batches batches(data, {.batch = 16, .seed = 5, .epoch = epoch, .mixup_alpha = 0.4f});
    for (index_t number = 0; const Batch* batch = batches.next(); ++number) {
      const Random random = mixup_random(5, epoch, number);
      const float lambda = mixup_lambda(0.4f, random);
      CHECK(lambda >= 0.0f);
      CHECK(lambda <= 1.0f);
      lambdas.insert(lambda);
      std::vector<index_t> partners(16);
      random.permutation(std::span<index_t>(partners));
      const auto order = batches.order().subspan(static_cast<std::size_t>(number) * 16, 16);
      for (std::size_t i = 0; i < 16; ++i) {
        const auto own = order[i], other = order[static_cast<std::size_t>(partners[i])];
        const float expected = lambda * static_cast<float>(own) + (1.0f - lambda) * static_cast<float>(other);
        CHECK(batch->inputs[static_cast<index_t>(i) * 4 + 3] == doctest::Approx(expected));
        float targets[3] = {};
        targets[own % 3] += lambda;
        targets[other % 3] += 1.0f - lambda;
        for (index_t c = 0; c < 3; ++c) {
          CHECK(batch->targets[static_cast<index_t>(i) * 3 + c] == doctest::Approx(targets[c]));
        }
        CHECK(batch->labels[i] == own % 3);
      }
    }
  }
  CHECK(lambdas.size() == 16);
}

TEST_CASE("Lambda follows the Beta distribution") {
  // Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)); for a = 1 uniform.
  for (const float alpha : {0.05f, 0.2f, 1.0f, 4.0f}) {
    CAPTURE(alpha);
    constexpr int rounds = 20000;
    double sum = 0, squares = 0;
    int below_tenth = 0;
    for (index_t i = 0; i < rounds; ++i) {
      const double lambda = static_cast<double>(mixup_lambda(alpha, mixup_random(1, 0, i)));
      REQUIRE(lambda >= 0.0);
      REQUIRE(lambda <= 1.0);
      sum += lambda;
      squares += (lambda - 0.5) * (lambda - 0.5);
      below_tenth += lambda < 0.1;
    }
    // Four standard errors: of the mean at most 0.5 / sqrt(rounds), of the variance (fourth moment below 1/16) less.
    CHECK(sum / rounds == doctest::Approx(0.5).epsilon(0.03));
    CHECK(squares / rounds == doctest::Approx(1.0 / (4.0 * (2.0 * static_cast<double>(alpha) + 1.0))).epsilon(0.03));
    if (alpha == 1.0f) CHECK(below_tenth == doctest::Approx(rounds * 0.1).epsilon(0.1));
  }
  // So small that both Gamma variates are far below the smallest float.
  for (index_t i = 0; i < 100; ++i) {
    const float lambda = mixup_lambda(1e-4f, mixup_random(2, 0, i));
    CHECK((lambda >= 0.0f && lambda <= 1.0f));
  }
}

TEST_CASE("Options out of range are refused") {
  const Numbered data(4);
  CHECK_THROWS_AS(Batches(data, {.batch = 0}), ArgumentError);
  CHECK_THROWS_AS(Batches(data, {.first_batch = -1}), ArgumentError);
  CHECK_THROWS_AS(Batches(data, {.mixup_alpha = -0.1f}), ArgumentError);
  CHECK_THROWS_AS(Batches(data, {.mixup_alpha = std::nanf("")}), ArgumentError);
  CHECK_THROWS_AS(Batches(data, {.prefetch = -1}), ArgumentError);
  CHECK_THROWS_AS(Batches(data, {.threads = -1}), ArgumentError);
}
