// bfloat16: the upper half of a float.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace mien {

/// A float cut to 8 significant bits (same range, largest relative rounding error 2^-8). Conversion from float rounds
/// to nearest, ties to even; NaN stays NaN (made quiet), infinities and signed zeros are kept, and values beyond the
/// largest finite bfloat16 round to infinity. Conversion to float is exact. Arithmetic is done in float.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  explicit constexpr bfloat16(float value) : bits(round(value)) {}
  constexpr operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

  static constexpr bfloat16 from_bits(std::uint16_t raw) {
    bfloat16 value;
    value.bits = raw;
    return value;
  }

 private:
  static constexpr std::uint16_t round(float value) {
    const auto raw = std::bit_cast<std::uint32_t>(value);
    const auto rounded = (raw + 0x7fffU + ((raw >> 16) & 1U)) >> 16;
    const auto quiet = (raw >> 16) | 0x40U;
    return static_cast<std::uint16_t>((raw & 0x7fffffffU) > 0x7f800000U ? quiet : rounded);
  }
};

/// The bits of a scalar, of a type that may alias it: loops that only compare and select values vectorize on these.
template <class T>
struct bits_of;
template <>
struct bits_of<bfloat16> {
  using type __attribute__((may_alias)) = std::uint16_t;
  using signed_type = std::int16_t;
  static constexpr type sign = 0x8000U, infinity = 0x7f80U;
  static constexpr float value(type bits) { return bfloat16::from_bits(bits); }
};
template <>
struct bits_of<float> {
  using type __attribute__((may_alias)) = std::uint32_t;
  using signed_type = std::int32_t;
  static constexpr type sign = 0x80000000U, infinity = 0x7f800000U;
  static constexpr float value(type bits) { return std::bit_cast<float>(bits); }
};
template <>
struct bits_of<double> {
  using type __attribute__((may_alias)) = std::uint64_t;
  using signed_type = std::int64_t;
  static constexpr type sign = 0x8000000000000000U, infinity = 0x7ff0000000000000U;
  static constexpr double value(type bits) { return std::bit_cast<double>(bits); }
};

/// What a network over scalar T keeps its parameters, gradients, statistics and sums in: double for double, else float.
template <class T>
using parameter_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

}  // namespace mien
