// Pooling: shapes, ties, NaN, padding that never wins, refused settings. Values stand against PyTorch in layer_golden.
#include "mien/nn/pooling.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <span>
#include <string>

#include "nn_test.hpp"

using namespace mien;
using test::contains;
using S = Sequential<float>;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

template <class L>
Shape shape_of(const L& layer, const Shape& input) {
  S net(layer);
  return net.build(input);
}

template <class L>
test::Passed<float> passed(const L& layer, const Shape& image, std::vector<float> values) {
  S net(layer);
  const Shape out = net.build(image);
  Tensor<float> dy(out.with_batch(1));
  for (index_t i = 0; i < dy.size(); ++i) dy[i] = static_cast<float>(i + 1);
  const Threads threads(1);
  const Tensor<float> x(image.with_batch(1), values);
  test::Passed<float> result(net, x, dy, threads);
  // Inference, which keeps no positions, gives the same.
  Workspace workspace;
  CHECK(test::same_bits(net.infer(x.view(), workspace), result.y));
  return result;
}

std::vector<float> list(const Tensor<float>& t) { return {t.begin(), t.end()}; }

}  // namespace

TEST_CASE("pooling: output shapes, rounded down and up") {
  CHECK(shape_of(MaxPool2d{2}, {5, 6, 3}) == Shape{2, 3, 3});
  CHECK(shape_of(MaxPool2d{.window = 2, .ceil_mode = true}, {5, 6, 3}) == Shape{3, 3, 3});
  CHECK(shape_of(MaxPool2d{.window = 3, .stride = 2, .padding = 1}, {48, 47, 3}) == Shape{24, 24, 3});
  CHECK(shape_of(MaxPool2d{.window = 2, .stride = 1}, {2, 5, 1}) == Shape{1, 4, 1});
  CHECK(shape_of(AveragePool2d{.window = {1, 4}}, {3, 9, 1}) == Shape{3, 2, 1});
  // No window may start beyond the image and its leading padding.
  CHECK(shape_of(MaxPool2d{.window = 2, .stride = 3, .padding = 1, .ceil_mode = true}, {4, 5, 1}) == Shape{2, 2, 1});
  CHECK(shape_of(AdaptiveAveragePool2d{{3, 9}}, {5, 5, 2}) == Shape{3, 9, 2});
  CHECK(shape_of(GlobalAveragePool{}, {5, 5, 2}) == Shape{2});
}

TEST_CASE("MaxPool2d: the first of equal values gets the gradient") {
  const auto same = passed(MaxPool2d{2}, {2, 4, 1}, {1, 1, 0, 5, 1, 1, 5, 5});
  CHECK(list(same.y) == std::vector<float>{1, 5});
  CHECK(list(same.dx) == std::vector<float>{1, 0, 0, 2, 0, 0, 0, 0});
  // Overlapping windows add what they send to one cell.
  const auto shared = passed(MaxPool2d{.window = {1, 2}, .stride = 1}, {1, 4, 1}, {1, 9, 2, 3});
  CHECK(list(shared.y) == std::vector<float>{9, 9, 3});
  CHECK(list(shared.dx) == std::vector<float>{0, 3, 0, 3});
  // Cells that no window sees.
  const auto apart = passed(MaxPool2d{.window = 1, .stride = 2}, {1, 4, 1}, {4, 3, 2, 1});
  CHECK(list(apart.dx) == std::vector<float>{1, 0, 2, 0});
}

TEST_CASE("MaxPool2d: padding never wins, NaN always does") {
  const auto negative = passed(MaxPool2d{.window = 2, .stride = 2, .padding = 1}, {2, 2, 1}, {-5, -6, -7, -8});
  CHECK(list(negative.y) == std::vector<float>{-5, -6, -7, -8});
  CHECK(list(negative.dx) == std::vector<float>{1, 2, 3, 4});
  const auto lowest = passed(MaxPool2d{.window = 2, .padding = 1}, {1, 1, 1}, {-infinity});
  CHECK(lowest.y[0] == -infinity);
  CHECK(lowest.dx[0] == 1);
  for (std::size_t at = 0; at < 4; ++at) {
    std::vector<float> values{1, infinity, -infinity, 2};
    values[at] = not_a_number;
    const auto bad = passed(MaxPool2d{2}, {2, 2, 1}, values);
    CHECK(std::isnan(bad.y[0]));
    CHECK(bad.dx[static_cast<index_t>(at)] == 1);
  }
}

TEST_CASE_TEMPLATE("windows of 2x2: the largest of rectified values as cell by cell", T, bfloat16, float, double) {
  using Bits = typename bits_of<T>::type;
  using P = parameter_t<T>;
  constexpr index_t channels = 37;
  struct Result {
    std::vector<T> best = std::vector<T>(channels);
    std::vector<kernels::PoolIndex> at = std::vector<kernels::PoolIndex>(channels);
    Bits* bits() { return reinterpret_cast<Bits*>(best.data()); }
    bool operator==(const Result& other) const {
      return at == other.at && test::same_bits(std::span<const T>(best), std::span<const T>(other.best));
    }
  };
  // Few values, so that many are equal; NaN of both signs.
  const P kinds[] = {
      0, 1, P(1.5), 2, P(infinity), P(not_a_number), P(1e-40), -P(0), -P(1), -P(infinity), -P(not_a_number)};
  const Random random(5, Stream::user, 0);
  for (std::uint64_t turn = 0; turn < 50; ++turn) {
    std::vector<T> cells(4 * channels);
    // Often none of a window is positive.
    const std::uint64_t least = turn % 2 == 0 ? 0 : 5;
    for (std::size_t i = 0; i < cells.size(); ++i)
      cells[i] = T(kinds[least + random.bits(turn * cells.size() + i) % (std::size(kinds) - least)]);
    const auto* bits = reinterpret_cast<const Bits*>(cells.data());
    Result expected, got;
    for (int cell = 0; cell < 4; ++cell) {
      Result rectified;
      for (index_t k = 0; k < channels; ++k) rectified.bits()[k] = kernels::rectified<T>(bits[cell * channels + k]);
      kernels::take_larger<T>(rectified.bits(), expected.bits(), expected.at.data(),
                              static_cast<kernels::PoolIndex>(cell), cell == 0, channels);
    }
    kernels::take_largest<T>(bits, bits + channels, bits + 2 * channels, bits + 3 * channels, got.bits(), got.at.data(),
                             channels);
    CHECK(got == expected);
  }
}

TEST_CASE("AveragePool2d: what is counted") {
  const AveragePool2d counted{.window = 2, .stride = 2, .padding = 1};
  CHECK(list(passed(counted, {2, 2, 1}, {4, 8, 12, 16}).y) == std::vector<float>{1, 2, 3, 4});
  AveragePool2d uncounted = counted;
  uncounted.count_padding = false;
  CHECK(list(passed(uncounted, {2, 2, 1}, {4, 8, 12, 16}).y) == std::vector<float>{4, 8, 12, 16});
  // What ceil mode adds beyond the image is not counted in any case.
  const AveragePool2d ceil{.window = {1, 2}, .ceil_mode = true};
  CHECK(list(passed(ceil, {1, 3, 1}, {1, 3, 7}).y) == std::vector<float>{2, 7});
  CHECK(list(passed(ceil, {1, 3, 1}, {1, 3, 7}).dx) == std::vector<float>{0.5f, 0.5f, 2});
}

TEST_CASE("GlobalAveragePool: the mean, of many channels too") {
  std::vector<float> values;
  for (int i = 0; i < 3 * 150; ++i) values.push_back(static_cast<float>(i));
  const auto mean = passed(GlobalAveragePool{}, {3, 1, 150}, values);
  for (index_t c = 0; c < 150; ++c) CHECK(mean.y[c] == doctest::Approx(static_cast<double>(150 + c)));
}

TEST_CASE("pooling: refused with the reason") {
  const auto refused = [](const auto& layer, const Shape& input, const char* reason) {
    const auto message = test::message_of<Error>([&] { shape_of(layer, input); });
    CAPTURE(message);
    CHECK(contains(message, "layer '0' ("));
    CHECK(contains(message, reason));
  };
  const index_t huge = std::numeric_limits<index_t>::max();
  refused(MaxPool2d{2}, {4}, "(height, width, channels)");
  refused(MaxPool2d{0}, {4, 4, 1}, "positive");
  refused(MaxPool2d{.window = 2, .stride = {1, -1}}, {4, 4, 1}, "positive");
  refused(MaxPool2d{5}, {4, 9, 1}, "at least as large as the window");
  refused(MaxPool2d{.window = 3, .padding = 2}, {4, 4, 1}, "half the window");
  refused(MaxPool2d{.window = 2, .padding = {0, 0, -1, 0}}, {4, 4, 1}, "half the window");
  refused(MaxPool2d{300}, {400, 400, 1}, "65,536");
  refused(MaxPool2d{huge}, {4, 4, 1}, "at most");
  refused(AveragePool2d{.window = 2, .stride = huge}, {4, 4, 1}, "at most");
  refused(AveragePool2d{6}, {4, 4, 1}, "at least as large as the window");
  refused(AdaptiveAveragePool2d{0}, {4, 4, 1}, "positive");
  refused(AdaptiveAveragePool2d{2}, {4}, "(height, width, channels)");
  refused(GlobalAveragePool{}, {4}, "(height, width, channels)");
}
