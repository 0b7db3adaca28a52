// Layers of random shapes against plain loops in double, and layers that run as one against each by itself.
// Convolutions are in kernels_conv2d_test.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "dice.hpp"
#include "mien/nn/activation.hpp"
#include "mien/nn/batch_norm.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/pooling.hpp"
#include "nn_test.hpp"

using namespace mien;
using test::Dice;

namespace {

#if defined(MIEN_SANITIZED)
constexpr int shapes = 50;
#else
constexpr int shapes = 200;
#endif

/// Unit roundoff.
template <class T>
constexpr double unit = sizeof(T) == 8   ? 1.2e-16
                        : sizeof(T) == 4 ? 6e-8
                                         : 1.0 / 256;

std::string text(const Shape& shape) {
  std::string s;
  for (int a = 0; a < shape.rank(); ++a) s += std::to_string(shape[a]) + " ";
  return s;
}

/// Small enough for the plain loops; one channel, odd numbers of them and more than a row of the kernels holds.
Shape random_images(Dice& dice) {
  const index_t channels = dice(0, 3) == 0 ? dice(100, 300) : dice(1, 70);
  const index_t side = channels > 70 ? 8 : 14;
  return {dice(1, 5), dice(1, side), dice(1, side), channels};
}

/// Whole thousandths, or so few values that many are equal.
template <class T>
Tensor<T> random_values(Dice& dice, const Shape& shape, bool few = false) {
  Tensor<T> tensor(shape);
  for (T& v : tensor) v = T(static_cast<parameter_t<T>>(few ? static_cast<double>(dice(-2, 2)) : 3 * dice.real()));
  return tensor;
}

/// The worst of |got - expected| / allowed; 2 where something is not finite.
class Worst {
 public:
  void see(double got, double expected, double allowed) {
    const double error = std::abs(got - expected);
    const double share = error == 0 ? 0 : error / allowed;
    worst_ = std::isfinite(share) ? std::max(worst_, share) : 2;
  }
  double value() const { return worst_; }

 private:
  double worst_ = 0;
};

template <class L>
Extent2 steps(const L& layer) {
  return {layer.stride.height != 0 ? layer.stride.height : layer.window.height,
          layer.stride.width != 0 ? layer.stride.width : layer.window.width};
}

/// The cells of image n that window (i, j) sees: f(index in x without channels).
template <class L, class F>
void each_cell(const L& layer, const Shape& x, index_t n, index_t i, index_t j, const F& f) {
  const Extent2 step = steps(layer);
  for (index_t r = 0; r < layer.window.height; ++r)
    for (index_t s = 0; s < layer.window.width; ++s) {
      const index_t h = i * step.height + r - layer.padding.top, w = j * step.width + s - layer.padding.left;
      if (h >= 0 && h < x[1] && w >= 0 && w < x[2]) f((n * x[1] + h) * x[2] + w);
    }
}

/// A pooling of random windows and images that it fits, and dy for it.
template <class L, class T>
struct PoolCase {
  L layer;
  Tensor<T> x, dy;

  PoolCase(Dice& dice, int i) {
    for (bool fits = false; !fits;) {
      const bool halves = i % 3 == 0;
      layer.window = halves ? Extent2{2, 2} : Extent2{dice(1, 4), dice(1, 4)};
      layer.stride = halves ? Extent2{0, 0} : Extent2{dice(0, 4), dice(0, 4)};
      layer.padding = {};
      if (!halves) {
        layer.padding.top = dice(0, layer.window.height / 2);
        layer.padding.bottom = dice(0, layer.window.height / 2);
        layer.padding.left = dice(0, layer.window.width / 2);
        layer.padding.right = dice(0, layer.window.width / 2);
      }
      layer.ceil_mode = dice(0, 1) == 1;
      const Shape images = random_images(dice);
      fits = images[1] + layer.padding.top + layer.padding.bottom >= layer.window.height &&
             images[2] + layer.padding.left + layer.padding.right >= layer.window.width;
      if (fits) x = random_values<T>(dice, images, dice(0, 1) == 0);
    }
    Sequential<T> net(layer);
    dy = random_values<T>(dice, net.build(x.shape().without_batch()).with_batch(x.shape()[0]));
  }

  /// With all that a step needs.
  test::Passed<T> passed(int thread_count) const {
    Sequential<T> net(layer);
    net.build(x.shape().without_batch());
    const Threads threads(thread_count);
    return test::Passed<T>(net, x, dy, threads);
  }
  std::string where() const {
    return text(x.shape()) + "-> " + text(dy.shape()) + "window " + std::to_string(layer.window.height) + "x" +
           std::to_string(layer.window.width);
  }
};

/// The same bits, or NaN on both sides.
template <class T>
bool alike(const Tensor<T>& a, const Tensor<T>& b) {
  if (a.shape() != b.shape()) return false;
  for (index_t i = 0; i < a.size(); ++i) {
    const auto p = static_cast<double>(a[i]), q = static_cast<double>(b[i]);
    if (std::isnan(p) != std::isnan(q)) return false;
    if (!std::isnan(p) && (p != q || std::signbit(p) != std::signbit(q))) return false;
  }
  return true;
}

/// `layers` as a whole, and each by itself, of the same parameters: the same bits (but of NaN, which has
/// many), and in inference too.
template <class T>
void check_parts(Sequential<T> net, const Tensor<T>& x, Dice& dice, int thread_count) {
  net.build(x.shape().without_batch(), 3);
  for (auto& p : net.parameters()) {
    if (p.role == Role::statistic) continue;
    for (auto& v : p.value) v = static_cast<parameter_t<T>>(dice.real());
  }
  const index_t batch = x.shape()[0], layers = net.layer_count();
  const Tensor<T> dy = random_values<T>(dice, net.output_shape().with_batch(batch));
  const Threads threads(thread_count);
  const test::Passed<T> whole(net, x, dy, threads);

  const Sequential<T>& parts = net;
  std::vector<Tensor<T>> values{x};
  std::vector<Workspace> workspaces;
  for (index_t i = 0; i < layers; ++i) {
    values.emplace_back(parts.shape_after(i + 1).with_batch(batch));
    workspaces.emplace_back(threads);
    parts.forward(values[static_cast<std::size_t>(i)].view(), values.back().view(), workspaces.back(), 1, 0,
                  {i, i + 1});
  }
  test::GradientTensors<T> gradients(net, true);
  Tensor<T> up = dy;
  for (index_t i = layers; i-- > 0;) {
    const auto at = static_cast<std::size_t>(i);
    Tensor<T> down(values[at].shape());
    parts.backward(values[at].view(), values[at + 1].view(), up.view(), down.view(), gradients.views, workspaces[at], 1,
                   0, {i, i + 1});
    up = std::move(down);
  }
  CHECK(alike(whole.y, values.back()));
  CHECK(alike(whole.dx, up));
  for (std::size_t i = 0; i < gradients.tensors.size(); ++i)
    CHECK(alike(whole.gradients.tensors[i], gradients.tensors[i]));

  Workspace workspace(threads);
  const Tensor<T> inferred = net.infer(x.view(), workspace);
  Tensor<T> value = x;
  for (index_t i = 0; i < layers; ++i) {
    Tensor<T> next(parts.shape_after(i + 1).with_batch(batch));
    net.infer(value.view(), next.view(), workspace, {i, i + 1});
    value = std::move(next);
  }
  CHECK(alike(inferred, value));
}

}  // namespace

TEST_CASE_TEMPLATE("random shapes: max pooling", T, float, double, bfloat16) {
  Dice dice{11};
  for (int i = 0; i < shapes; ++i) {
    const PoolCase<MaxPool2d, T> c(dice, i);
    CAPTURE(c.where());
    const test::Passed<T> passed = c.passed(1 + i % 3);
    const Shape in = c.x.shape(), out = c.dy.shape();
    std::vector<double> dx(static_cast<std::size_t>(c.x.size())), size(dx.size()), windows(dx.size());
    bool right = true;
    for (index_t o = 0; o < c.dy.size(); ++o) {
      const index_t k = o % in[3], j = o / in[3] % out[2], row = o / in[3] / out[2];
      index_t best = -1;
      each_cell(c.layer, in, row / out[1], row % out[1], j, [&](index_t cell) {
        const index_t at = cell * in[3] + k;
        if (best < 0 || static_cast<double>(c.x[at]) > static_cast<double>(c.x[best])) best = at;
      });
      right = right && static_cast<double>(passed.y[o]) == static_cast<double>(c.x[best]);
      const auto at = static_cast<std::size_t>(best);
      dx[at] += static_cast<double>(c.dy[o]);
      size[at] += std::abs(static_cast<double>(c.dy[o]));
      windows[at] += 1;
    }
    CHECK(right);
    Worst worst;  // a sum of one is exact
    for (std::size_t k = 0; k < dx.size(); ++k)
      worst.see(static_cast<double>(passed.dx[static_cast<index_t>(k)]), dx[k], (windows[k] - 1) * unit<T> * size[k]);
    CHECK(worst.value() <= 1);
  }
}

TEST_CASE_TEMPLATE("random shapes: average pooling", T, float, double, bfloat16) {
  Dice dice{12};
  for (int i = 0; i < shapes; ++i) {
    PoolCase<AveragePool2d, T> c(dice, i);
    c.layer.count_padding = dice(0, 1) == 0;
    CAPTURE(c.where());
    const test::Passed<T> passed = c.passed(1 + i % 3);
    const Shape in = c.x.shape(), out = c.dy.shape();
    const Padding& pad = c.layer.padding;
    const Extent2 step = steps(c.layer);
    std::vector<double> dx(static_cast<std::size_t>(c.x.size())), size(dx.size()), windows(dx.size());
    Worst forward, backward;
    for (index_t o = 0; o < c.dy.size(); ++o) {
      const index_t k = o % in[3], j = o / in[3] % out[2], row = o / in[3] / out[2];
      double sum = 0, magnitude = 0, cells = 0;
      each_cell(c.layer, in, row / out[1], row % out[1], j, [&](index_t cell) {
        sum += static_cast<double>(c.x[cell * in[3] + k]);
        magnitude += std::abs(static_cast<double>(c.x[cell * in[3] + k]));
        cells += 1;
      });
      double divisor = cells;
      if (c.layer.count_padding) {
        const index_t top = row % out[1] * step.height - pad.top, left = j * step.width - pad.left;
        divisor = static_cast<double>(std::min(c.layer.window.height, in[1] + pad.bottom - top) *
                                      std::min(c.layer.window.width, in[2] + pad.right - left));
      }
      const double mean = sum / divisor;
      forward.see(static_cast<double>(passed.y[o]), mean,
                  unit<T> * std::abs(mean) + (cells + 2) * unit<parameter_t<T>> * magnitude / divisor);
      const double share = static_cast<double>(c.dy[o]) / divisor;
      each_cell(c.layer, in, row / out[1], row % out[1], j, [&](index_t cell) {
        const auto at = static_cast<std::size_t>(cell * in[3] + k);
        dx[at] += share;
        size[at] += std::abs(share);
        windows[at] += 1;
      });
    }
    CHECK(forward.value() <= 1);
    for (std::size_t k = 0; k < dx.size(); ++k)
      backward.see(static_cast<double>(passed.dx[static_cast<index_t>(k)]), dx[k],
                   (windows[k] + 2) * unit<T> * size[k]);
    CHECK(backward.value() <= 1);
  }
}

TEST_CASE_TEMPLATE("random shapes: batch normalization in training", T, float, double, bfloat16) {
  using P = parameter_t<T>;
  Dice dice{13};
  for (int i = 0; i < shapes; ++i) {
    Shape shape = random_images(dice);
    if (i % 5 == 0) shape = {dice(2, 200), dice(1, 300)};  // behind a dense layer
    const index_t channels = shape.back(), rows = shape.size() / channels;
    if (rows < 2) continue;
    CAPTURE(text(shape));
    Sequential<T> net{BatchNorm2d{.epsilon = 1e-3f}};
    net.build(shape.without_batch());
    for (auto& p : net.parameters())
      for (P& v : p.value) v = static_cast<P>(dice.real() + (p.role == Role::statistic ? 2 : 0));
    Tensor<T> x = random_values<T>(dice, shape);
    for (index_t k = 0; k < x.size(); ++k) x[k] = T(static_cast<P>(x[k]) + static_cast<P>(k % channels % 7));
    const Tensor<T> dy = random_values<T>(dice, shape);
    const Threads threads(1 + i % 3);
    const test::Passed<T> passed(net, x, dy, threads);
    const auto& p = net.parameters();
    const auto at = [&](const auto& tensor, index_t k) { return static_cast<double>(tensor[k]); };
    const double n = static_cast<double>(rows), terms = n + 16;
    Worst y, dx, dw, db, statistics;
    for (index_t c = 0; c < channels; ++c) {
      double mean = 0, variance = 0, sum = 0, products = 0, sizes = 0, product_sizes = 0, largest = 0;
      for (index_t k = c; k < x.size(); k += channels) mean += at(x, k) / n;
      for (index_t k = c; k < x.size(); k += channels) variance += (at(x, k) - mean) * (at(x, k) - mean) / n;
      const double inverse = 1 / std::sqrt(variance + static_cast<double>(1e-3f));
      const double weight = at(p[0].value, c), bias = at(p[1].value, c);
      for (index_t k = c; k < x.size(); k += channels) {
        sum += at(dy, k);
        products += at(dy, k) * (at(x, k) - mean) * inverse;
        sizes += std::abs(at(dy, k));
        largest = std::max(largest, std::abs(at(x, k)));
      }
      // What rounding of x, of its mean and of the variance (which are of some n terms each) may leave.
      const double blur =
          unit<P> * terms * (largest + std::abs(mean) + 1) * inverse * (1 + variance * inverse * inverse);
      product_sizes = sizes * (1 + (largest + std::abs(mean)) * inverse);
      for (index_t k = c; k < x.size(); k += channels) {
        const double normal = (at(x, k) - mean) * inverse;
        const double value = weight * normal + bias;
        y.see(at(passed.y, k), value,
              unit<T> * std::abs(value) + std::abs(weight) * blur + unit<P> * 4 * (std::abs(value) + std::abs(bias)));
        const double down = weight * inverse * (at(dy, k) - sum / n - normal * products / n);
        const double parts =
            std::abs(weight) * inverse * (std::abs(at(dy, k)) + sizes / n + (std::abs(normal) + 1) * product_sizes / n);
        dx.see(at(passed.dx, k), down, unit<T> * std::abs(down) + parts * (blur + unit<P> * terms));
      }
      const auto& g = passed.gradients.tensors;
      dw.see(at(g[0], c), products, product_sizes * (blur + unit<P> * terms));
      db.see(at(g[1], c), sum, sizes * unit<P> * terms);
      const double momentum = static_cast<double>(0.1f);
      const double next_mean = (1 - momentum) * at(p[2].value, c) + momentum * mean;
      const double next_variance = (1 - momentum) * at(p[3].value, c) + momentum * variance * n / (n - 1);
      statistics.see(at(g[2], c), next_mean, unit<P> * terms * (std::abs(at(p[2].value, c)) + largest));
      statistics.see(at(g[3], c), next_variance,
                     unit<P> * terms * (std::abs(at(p[3].value, c)) + 4 * largest * largest));
    }
    CHECK(y.value() <= 1);
    CHECK(dx.value() <= 1);
    CHECK(dw.value() <= 1);
    CHECK(db.value() <= 1);
    CHECK(statistics.value() <= 1);
  }
}

TEST_CASE_TEMPLATE("random shapes: activations", T, float, double, bfloat16) {
  Dice dice{14};
  const auto check = [&](const auto& layer, const auto& value, const auto& slope) {
    for (int i = 0; i < shapes; ++i) {
      const Shape shape = i % 2 == 0 ? random_images(dice) : Shape{dice(1, 3), dice(1, 20000)};
      CAPTURE(text(shape));
      const Tensor<T> x = random_values<T>(dice, shape, dice(0, 3) == 0), dy = random_values<T>(dice, shape);
      Sequential<T> net(layer);
      net.build(shape.without_batch());
      const Threads threads(1 + i % 3);
      const test::Passed<T> passed(net, x, dy, threads);
      Worst y, dx;
      for (index_t k = 0; k < x.size(); ++k) {
        const auto v = static_cast<double>(x[k]), up = static_cast<double>(dy[k]);
        y.see(static_cast<double>(passed.y[k]), value(v), 4 * unit<T> * std::abs(value(v)));
        dx.see(static_cast<double>(passed.dx[k]), up * slope(v), 8 * unit<T> * std::abs(up));
      }
      CHECK(y.value() <= 1);
      CHECK(dx.value() <= 1);
    }
  };
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  check(
      Relu{}, [](double v) { return v > 0 ? v : 0.0; }, [](double v) { return v > 0 ? 1.0 : 0.0; });
  check(
      LeakyRelu{0.25f}, [](double v) { return v > 0 ? v : v / 4; }, [](double v) { return v > 0 ? 1.0 : 0.25; });
  check(Sigmoid{}, sigmoid, [&](double v) { return sigmoid(v) * (1 - sigmoid(v)); });
  check(
      Tanh{}, [](double v) { return std::tanh(v); }, [](double v) { return 1 - std::tanh(v) * std::tanh(v); });
}

TEST_CASE_TEMPLATE("random shapes: layers that run as one are each by itself", T, float, double, bfloat16) {
  Dice dice{15};
  for (int i = 0; i < shapes; ++i) {
    Shape shape = random_images(dice);
    if (i % 4 != 0) {  // of even sides, which are halved
      shape = {shape[0] + 1, shape[1] + shape[1] % 2, shape[2] + shape[2] % 2, shape[3]};
    }
    CAPTURE(text(shape));
    const Tensor<T> x = random_values<T>(dice, shape, i % 3 == 0);
    const int threads = 1 + i % 3;
    const bool pools = shape[1] >= 2 && shape[2] >= 2;
    if (shape.size() > shape.back()) check_parts<T>({BatchNorm2d{}, Relu{}}, x, dice, threads);
    if (pools) check_parts<T>({BatchNorm2d{}, Relu{}, MaxPool2d{2}}, x, dice, threads);
    if (pools) check_parts<T>({Relu{}, MaxPool2d{2}}, x, dice, threads);
    if (!pools) continue;
    // What a convolution does of them in inference.
    shape = {shape[0], shape[1] + dice(0, 2), shape[2] + dice(0, 2), dice(0, 1) == 0 ? 16 : dice(1, 40)};
    const Conv2d convolution{.filters = dice(0, 1) == 0 ? 16 * dice(1, 3) : dice(1, 40), .padding = 1};
    const Tensor<T> images = random_values<T>(dice, shape);
    switch (i % 4) {
      case 0:
        check_parts<T>({convolution, Relu{}}, images, dice, threads);
        break;
      case 1:
        check_parts<T>({convolution, BatchNorm2d{}}, images, dice, threads);
        break;
      case 2:
        check_parts<T>({convolution, Relu{}, MaxPool2d{2}}, images, dice, threads);
        break;
      default:
        check_parts<T>({convolution, BatchNorm2d{}, Relu{}, MaxPool2d{2}}, images, dice, threads);
        break;
    }
  }
}

TEST_CASE_TEMPLATE("random shapes: layers that run as one pass NaN and infinity on as each by itself", T, float, double,
                   bfloat16) {
  using P = parameter_t<T>;
  constexpr P infinity = std::numeric_limits<P>::infinity();
  Dice dice{16};
  for (int i = 0; i < shapes / 2; ++i) {
    Shape shape = random_images(dice);
    shape = {shape[0] + 1, 2 * shape[1], 2 * shape[2], i % 2 == 0 ? 16 * dice(1, 3) : shape[3]};
    CAPTURE(text(shape));
    Tensor<T> x = random_values<T>(dice, shape);
    for (index_t count = dice(1, 4); count-- > 0;) {
      const P values[] = {std::numeric_limits<P>::quiet_NaN(), infinity, -infinity, std::numeric_limits<P>::max()};
      x[dice(0, x.size() - 1)] = T(values[dice(0, 3)]);
    }
    const int threads = 1 + i % 3;
    check_parts<T>({BatchNorm2d{}, Relu{}}, x, dice, threads);
    check_parts<T>({BatchNorm2d{}, Relu{}, MaxPool2d{2}}, x, dice, threads);
    check_parts<T>({Relu{}, MaxPool2d{2}}, x, dice, threads);
    if (shape.back() > 64 || shape.size() > 20'000) continue;
    const Conv2d convolution{.filters = 16 * dice(1, 2), .padding = 1};
    check_parts<T>({convolution, Relu{}, MaxPool2d{2}}, x, dice, threads);
    check_parts<T>({convolution, BatchNorm2d{}, Relu{}, MaxPool2d{2}}, x, dice, threads);
  }
}
