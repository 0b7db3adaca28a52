// Dropout: random zeros in training.
#pragma once

#include "mien/kernels/parallel.hpp"
#include "mien/nn/layer.hpp"

namespace mien {

/// In training each element is set to zero with probability `rate`, 0 <= rate < 1, and multiplied by 1 / (1 - rate)
/// otherwise, so that the mean is kept; in inference and when frozen y = x. Srivastava et al., "Dropout" (2014). Which
/// elements fall depends on (seed, layer, step, element) alone; backward draws them again, so nothing is saved.
struct Dropout {
  static constexpr std::string_view kind = "Dropout";
  static constexpr bool is_random = true;

  float rate = 0.5f;

  Features setup(const Features& input, Setup& setup) const {
    setup.require(rate >= 0 && rate < 1, kind, "the rate must lie in [0, 1), got " + std::to_string(rate));
    return input;
  }

  template <class T>
  Memory memory(const Shape&, const Shape&, int, bool) const {
    return {};
  }

  template <class T>
  void forward(TensorView<const T> x, TensorView<T> y, const Pass<T>& pass) const {
    apply(x, y, pass);
  }

  template <class T>
  void backward(TensorView<const T>, TensorView<const T>, TensorView<const T> dy, TensorView<T> dx, Gradients<T>,
                const Pass<T>& pass) const {
    if (dx) apply(dy, dx, pass);
  }

  void describe(Describer& d) { d.value("rate", rate); }

 private:
  template <class T>
  void apply(TensorView<const T> from, TensorView<T> to, const Pass<T>& pass) const {
    using P = parameter_t<T>;
    const index_t n = from.size();
    if (!pass.training || rate == 0) {
      std::copy_n(from.data(), n, to.data());
      return;
    }
    const P scale = P{1} / (P{1} - P(rate));
    const Random random = pass.random();
    // Dropped when the element's 32 bits, read as a fraction of 2^32, are below the rate.
    const auto threshold = static_cast<std::uint64_t>(static_cast<double>(rate) * 4294967296.0);
    constexpr index_t piece = 4096;
    pass.threads().parallel_for((n + piece - 1) / piece, [&](index_t p) {
      const index_t last = std::min(n, (p + 1) * piece);
      for (index_t i = p * piece; i < last; i += 4) {
        const auto words = random.block(static_cast<std::uint64_t>(i / 4));
        for (index_t k = 0; k < 4 && i + k < last; ++k) {
          const bool keep = words[static_cast<std::size_t>(k)] >= threshold;
          to[i + k] = keep ? T(P(from[i + k]) * scale) : T(P{0});
        }
      }
    });
  }
};

}  // namespace mien
