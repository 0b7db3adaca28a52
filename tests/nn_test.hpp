// What the tests of layers share: random tensors, a network with everything one training step needs, bit comparison.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "mien/core/random.hpp"
#include "mien/nn/sequential.hpp"

namespace mien::test {

/// Normally distributed values.
template <class T>
Tensor<T> random_tensor(const Shape& shape, std::uint64_t seed) {
  Tensor<T> tensor(shape);
  const Random random(seed, Stream::user);
  for (index_t i = 0; i < tensor.size(); ++i)
    tensor[i] = T(static_cast<parameter_t<T>>(random.normal(static_cast<std::uint64_t>(i))));
  return tensor;
}

template <class Values>
void fill_nan(Values&& values) {
  for (auto& value : values) {
    value = std::remove_reference_t<decltype(value)>(std::numeric_limits<float>::quiet_NaN());
  }
}

/// Equal bit for bit, so that NaN equals NaN and 0 is not -0.
template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}
template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() && same_bits(a.span(), b.span());
}

/// max |a - b| / max(|b|, 1); infinite if sizes differ or anything is not finite.
template <class A, class B>
double largest_difference(const A& a, const B& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  auto q = b.begin();
  for (auto p = a.begin(); p != a.end(); ++p, ++q) {
    const double expected = static_cast<double>(*q);
    const double error = std::abs(static_cast<double>(*p) - expected) / std::max(std::abs(expected), 1.0);
    worst = std::isfinite(error) ? std::max(worst, error) : std::numeric_limits<double>::infinity();
  }
  return worst;
}

/// The message of the E that f throws; fails the test if it throws none.
template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  FAIL("nothing was thrown");
  return {};
}
inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// Gradients for every parameter that is trained or moves (as a training loop asks for them).
template <class T>
struct GradientTensors {
  using P = parameter_t<T>;
  std::vector<Tensor<P>> tensors;
  std::vector<TensorView<P>> views;

  explicit GradientTensors(const Sequential<T>& net, bool of_frozen = false) {
    for (const Parameter<P>& p : net.parameters()) {
      tensors.emplace_back(of_frozen || !p.frozen ? p.value.shape() : Shape{0});
      fill_nan(tensors.back());
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      views.push_back(of_frozen || !net.parameters()[i].frozen ? tensors[i].view() : TensorView<P>{});
    }
  }
};

/// One forward and backward pass of a built network with everything asked for and NaN where results go.
template <class T>
struct Passed {
  Tensor<T> y, dx;
  GradientTensors<T> gradients;

  Passed(const Sequential<T>& net, const Tensor<T>& x, const Tensor<T>& dy, const Threads& threads,
         std::uint64_t seed = 1, std::uint64_t step = 0)
      : y(dy.shape()), dx(x.shape()), gradients(net, true) {
    fill_nan(y);
    fill_nan(dx);
    Workspace workspace(threads);
    net.forward(x.view(), y.view(), workspace, seed, step);
    net.backward(x.view(), y.view(), dy.view(), dx.view(), gradients.views, workspace, seed, step);
  }

  bool same(const Passed& other) const {
    bool equal = same_bits(y, other.y) && same_bits(dx, other.dx);
    for (std::size_t i = 0; i < gradients.tensors.size(); ++i)
      equal = equal && same_bits(gradients.tensors[i], other.gradients.tensors[i]);
    return equal;
  }
};

/// The running statistics after a training step: backward leaves their next value where gradients stand.
template <class T>
void take_statistics(Sequential<T>& net, const std::vector<TensorView<parameter_t<T>>>& gradients) {
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    auto& p = net.parameters()[i];
    if (p.role == Role::statistic && gradients[i]) std::copy(gradients[i].begin(), gradients[i].end(), p.value.begin());
  }
}

}  // namespace mien::test
