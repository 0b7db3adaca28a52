// Dropout: random zeros in training.
#pragma once

#include <cmath>
#include <cstring>

#include "mien/kernels/parallel.hpp"
#include "mien/kernels/random_bits.hpp"
#include "mien/nn/layer.hpp"

namespace mien {

/// In training each element is set to zero with probability `rate`, 0 <= rate < 1, and multiplied by 1 / (1 - rate)
/// otherwise, so that the mean is kept; in inference and when frozen y = x. Srivastava et al., "Dropout" (2014). Which
/// elements fall depends on (seed, layer, step, element) alone; backward draws them again, so nothing is saved. The
/// rate is kept to 2^-17.
struct Dropout {
  static constexpr std::string_view kind = "Dropout";
  using Inference = Dropout;
  using IgnoresOutput = Dropout;
  using OverwritesInput = Dropout;
  static constexpr bool is_random = true;
  static constexpr bool infers_identity = true;

  float rate = 0.5f;

  MIEN_COLD Features setup(const Features& input, Setup& setup) const {
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
    // Dropped when the element's 16 bits, read as a fraction of 2^16, are below the rate. A block has eight elements.
    const auto threshold = static_cast<std::uint32_t>(std::lround(static_cast<double>(rate) * 65536.0));
    constexpr index_t drawn = 8 * kernels::philox_lanes;
    const T* x = from.data();
    T* y = to.data();
    const auto draw = [=](index_t first, index_t last) MIEN_INLINE {
      for (index_t p = first; p < last; ++p) {
        std::uint32_t words[drawn / 2];
        kernels::philox_blocks(random, static_cast<std::uint64_t>(p * (drawn / 8)), words);
        std::uint16_t bits[drawn];
        std::memcpy(bits, words, sizeof(bits));
        const index_t start = p * drawn;
        if (n - start >= drawn) {
          select(x + start, bits, threshold, scale, y + start, drawn);  // a count that the compiler knows
        } else {
          select(x + start, bits, threshold, scale, y + start, n - start);
        }
      }
    };
    kernels::parallel_pieces(pass.threads(), (n + drawn - 1) / drawn, kernels::elementwise_piece / drawn, draw);
  }

  /// y = x * scale where the drawn bits are at least `threshold`, else 0.
  template <class T, class P>
  MIEN_INLINE static void select(const T* __restrict x, const std::uint16_t* __restrict bits, std::uint32_t threshold,
                                 P scale, T* __restrict y, index_t n) {
    using Word = typename bits_of<T>::type;
    auto* to = reinterpret_cast<Word*>(y);
    for (index_t k = 0; k < n; ++k) {
      const T kept = T(P(x[k]) * scale);
      to[k] = bits[k] >= threshold ? reinterpret_cast<const Word&>(kept) : Word{0};
    }
  }
};

}  // namespace mien
