// Elementwise updates of the optimizers: what runs over every parameter in every step.
#pragma once

#include <cmath>
#include <type_traits>

#include "mien/kernels/parallel.hpp"

namespace mien::detail {

// Each update is written as a block of a count known to the compiler, over pointers that do not overlap: this is what
// GCC's -O2 vectorizes, and what can be inlined into a function with a target attribute.
inline constexpr int update_block = 16;

/// What happens to a gradient before it is used: cut to [-limit, limit], then multiplied by scale.
template <class P>
struct Clip {
  P limit;
  P scale;

  MIEN_INLINE P operator()(P g) const {
    const P low = g < -limit ? -limit : g;
    return (low > limit ? limit : low) * scale;
  }
};

/// Stochastic gradient descent: g' = clip(g) + decay p; with momentum b = momentum b + g' and
/// p -= rate (of_gradient g' + of_buffer b), without p -= rate g'.
template <class P>
struct SgdUpdate {
  Clip<P> clip;
  P rate, decay, momentum, of_gradient, of_buffer;

  template <int count>
  MIEN_INLINE void with_momentum(P* __restrict p, const P* __restrict g, P* __restrict b) const {
    for (int i = 0; i < count; ++i) {
      const P gradient = clip(g[i]) + decay * p[i];
      const P buffer = momentum * b[i] + gradient;
      b[i] = buffer;
      p[i] -= rate * (of_gradient * gradient + of_buffer * buffer);
    }
  }
  template <int count>
  MIEN_INLINE void plain(P* __restrict p, const P* __restrict g) const {
    for (int i = 0; i < count; ++i) p[i] -= rate * (clip(g[i]) + decay * p[i]);
  }
};

/// Adam and AdamW: g' = clip(g) + decay p; m += (1 - beta1) (g' - m); v = beta2 v + (1 - beta2) g'^2;
/// p = keep p - rate m / (sqrt(v) / correction + epsilon), where rate and correction contain the bias corrections.
template <class P>
struct AdamUpdate {
  Clip<P> clip;
  P rate, decay, keep, one_minus_beta1, beta2, one_minus_beta2, correction, epsilon;

  template <int count>
  MIEN_INLINE void block(P* __restrict p, const P* __restrict g, P* __restrict m, P* __restrict v) const {
    for (int i = 0; i < count; ++i) {
      const P gradient = clip(g[i]) + decay * p[i];
      const P mean = m[i] + one_minus_beta1 * (gradient - m[i]);
      const P square = beta2 * v[i] + one_minus_beta2 * gradient * gradient;
      m[i] = mean;
      v[i] = square;
      p[i] = keep * p[i] - rate * mean / (std::sqrt(square) / correction + epsilon);
    }
  }
};

template <class P>
void apply(const SgdUpdate<P> update, index_t count, P* p, const P* g, P* b) {
  kernels::run_vectorized(0, count, [=](index_t i, index_t n) MIEN_INLINE {
    if (b == nullptr) {
      for (; i + update_block <= n; i += update_block) update.template plain<update_block>(p + i, g + i);
      for (; i < n; ++i) update.template plain<1>(p + i, g + i);
    } else {
      for (; i + update_block <= n; i += update_block) update.template with_momentum<update_block>(p + i, g + i, b + i);
      for (; i < n; ++i) update.template with_momentum<1>(p + i, g + i, b + i);
    }
  });
}

template <class P>
void apply(const AdamUpdate<P> update, index_t count, P* p, const P* g, P* m, P* v) {
  kernels::run_vectorized(0, count, [=](index_t i, index_t n) MIEN_INLINE {
    for (; i + update_block <= n; i += update_block) update.template block<update_block>(p + i, g + i, m + i, v + i);
    for (; i < n; ++i) update.template block<1>(p + i, g + i, m + i, v + i);
  });
}

/// Sum of the squares of n gradients, each cut to [-limit, limit] first. Eight sums side by side, added in order: the
/// same whatever the vector length.
template <class P>
double sum_of_squares(index_t n, const P* g, P limit) {
  constexpr int lanes = 8;
  const Clip<P> clip{limit, P{1}};
  double sums[lanes] = {};
  index_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (int lane = 0; lane < lanes; ++lane) {
      const auto value = static_cast<double>(clip(g[i + lane]));
      sums[lane] += value * value;
    }
  }
  for (int lane = 0; i < n; ++i, ++lane) {
    const auto value = static_cast<double>(clip(g[i]));
    sums[lane] += value * value;
  }
  double sum = 0;
  for (double part : sums) sum += part;
  return sum;
}

/// average += share (value - average).
template <class P>
void move_towards(index_t count, P* average, const P* value, P share) {
  kernels::run_vectorized(0, count, [=](index_t i, index_t n) MIEN_INLINE {
    P* __restrict a = average;
    const P* __restrict x = value;
    for (; i < n; ++i) a[i] += share * (x[i] - a[i]);
  });
}

}  // namespace mien::detail
