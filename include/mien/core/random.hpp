// Counter-based random numbers: a value depends on (seed, stream, step, index) alone.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <span>

#include "mien/core/shape.hpp"

namespace mien {

inline constexpr std::array<std::uint32_t, 2> philox_multipliers = {0xD2511F53U, 0xCD9E8D57U};

/// The key of the next round.
constexpr std::array<std::uint32_t, 2> philox_next_key(std::array<std::uint32_t, 2> key) {
  return {key[0] + 0x9E3779B9U, key[1] + 0xBB67AE85U};
}

/// Philox4x32-10: ten rounds over a 128-bit counter with a 64-bit key (Salmon, Moraes, Dror and Shaw, "Parallel random
/// numbers: as easy as 1, 2, 3", SC 2011). About 3 ns per four values.
inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{philox_multipliers[0]} * counter[0];
    const std::uint64_t b = std::uint64_t{philox_multipliers[1]} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key = philox_next_key(key);
  }
  return counter;
}

/// Streams of one seed that mien itself draws from. A layer's stream is `layers` plus its number in the network.
enum class Stream : std::uint32_t { initialize = 1, shuffle = 2, augment = 3, mixup = 4, user = 5, layers = 1000 };

/// Random access to the values of one (seed, stream, step). Holds no state: `uniform(7)` is the same whenever and on
/// whichever thread it is asked for. Streams hold 2^34 values per step; steps are 64 bits of which 62 enter.
class Random {
 public:
  Random(std::uint64_t seed, Stream stream, std::uint64_t step = 0)
      : Random(seed, static_cast<std::uint32_t>(stream), step) {}
  Random(std::uint64_t seed, std::uint32_t stream, std::uint64_t step)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}, stream_(stream), step_(step) {}

  /// Four 32-bit values: those of indices 4*block to 4*block+3.
  std::array<std::uint32_t, 4> block(std::uint64_t block) const { return philox(counter(block), key_); }
  /// What block() gives to philox(), for loops that compute many blocks side by side.
  std::array<std::uint32_t, 4> counter(std::uint64_t block) const {
    return {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(step_),
            static_cast<std::uint32_t>(step_ >> 32) ^ (static_cast<std::uint32_t>(block >> 32) << 30), stream_};
  }
  std::array<std::uint32_t, 2> key() const { return key_; }
  std::uint32_t bits(std::uint64_t index) const { return block(index / 4)[index % 4]; }

  /// Uniform in [0, 1), a multiple of 2^-24.
  float uniform(std::uint64_t index) const { return to_unit(bits(index)); }
  /// Uniform in [low, high].
  float uniform(std::uint64_t index, float low, float high) const { return low + (high - low) * uniform(index); }
  /// Uniform integer in [0, bound), bound >= 1: multiply-shift, bias below bound / 2^32.
  std::uint32_t below(std::uint64_t index, std::uint32_t bound) const {
    return static_cast<std::uint32_t>((std::uint64_t{bits(index)} * bound) >> 32);
  }
  /// Standard normal by Box and Muller's method from the two uniforms of the pair that `index` belongs to. Magnitude at
  /// most 5.8, as the logarithm's argument is at least 2^-24.
  float normal(std::uint64_t index) const {
    const auto words = block(index / 4);
    const std::size_t pair = (index % 4) & 2U;
    const float radius = std::sqrt(-2.0f * std::log(1.0f - to_unit(words[pair])));
    const float angle = 6.283185307179586f * to_unit(words[pair + 1]);
    return radius * ((index & 1U) ? std::sin(angle) : std::cos(angle));
  }
  /// Fills `order` with a permutation of 0..n-1 (Fisher and Yates), n below 2^32.
  template <class Integer>
  void permutation(std::span<Integer> order) const {
    for (std::size_t i = 0; i < order.size(); ++i) {
      const auto j = below(i, static_cast<std::uint32_t>(i + 1));
      order[i] = order[j];
      order[j] = static_cast<Integer>(i);
    }
  }

  static constexpr float to_unit(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint32_t stream_;
  std::uint64_t step_;
};

}  // namespace mien
