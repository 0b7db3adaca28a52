// Dtype: the element types of a safetensors file, and their conversion to what mien computes with.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "mien/core/bfloat16.hpp"
#include "mien/core/error.hpp"

namespace mien {

static_assert(std::endian::native == std::endian::little, "model files are read and written as little-endian memory");

/// Element types of the format, in the order in which its writers sort them (the widest last).
enum class Dtype : unsigned char {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64
};

namespace detail {

struct DtypeFacts {
  std::string_view name;
  int bits;
};

inline constexpr std::array<DtypeFacts, 22> dtype_facts{
    {{"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
     {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
     {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
     {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}}};
static_assert(dtype_facts[static_cast<std::size_t>(Dtype::u64)].name == "U64");

}  // namespace detail

/// Its name in files: "F32".
constexpr std::string_view dtype_name(Dtype dtype) { return detail::dtype_facts[static_cast<std::size_t>(dtype)].name; }

/// Bits per element: 4 to 64.
constexpr int dtype_bits(Dtype dtype) { return detail::dtype_facts[static_cast<std::size_t>(dtype)].bits; }

/// The Dtype as which elements of type T are stored. Defined for float, double, bfloat16 and std::int64_t.
template <class T>
constexpr Dtype dtype_of() {
  if constexpr (std::is_same_v<T, float>) {
    return Dtype::f32;
  } else if constexpr (std::is_same_v<T, double>) {
    return Dtype::f64;
  } else if constexpr (std::is_same_v<T, bfloat16>) {
    return Dtype::bf16;
  } else {
    static_assert(std::is_same_v<T, std::int64_t>, "stored are float, double, bfloat16 and std::int64_t");
    return Dtype::i64;
  }
}

namespace detail {

/// IEEE 754 binary16 to float: exact, subnormals, infinities and NaN included.
constexpr float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fU;
  const std::uint32_t fraction = half & 0x3ffU;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

/// Reads elements of type `Stored` (of any alignment) and assigns `convert` of each.
template <class Stored, class T, class Convert>
void convert_elements(std::span<const std::byte> bytes, std::span<T> out, Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    out[i] = convert(value);
  }
}

/// Fills `out` from as many stored elements; false if elements of this Dtype are not readable as T.
template <class T>
bool read_elements(Dtype dtype, std::span<const std::byte> bytes, std::span<T> out) {
  if (dtype == dtype_of<T>()) {
    if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size_bytes());
    return true;
  }
  const auto as = [&]<class Stored>(Stored) {
    convert_elements<Stored>(bytes, out, [](Stored value) { return static_cast<T>(value); });
    return true;
  };
  if constexpr (std::is_same_v<T, std::int64_t>) {
    if (dtype == Dtype::boolean || dtype == Dtype::u8) return as(std::uint8_t{});
    if (dtype == Dtype::i8) return as(std::int8_t{});
    if (dtype == Dtype::i16) return as(std::int16_t{});
    if (dtype == Dtype::u16) return as(std::uint16_t{});
    if (dtype == Dtype::i32) return as(std::int32_t{});
    if (dtype == Dtype::u32) return as(std::uint32_t{});
  } else {
    // By way of float where T is bfloat16: the only type that double does not convert to directly.
    using Near = std::conditional_t<std::is_same_v<T, double>, double, float>;
    const auto near = [&]<class Stored>(Stored, auto to_near) {
      convert_elements<Stored>(bytes, out,
                               [&](Stored value) { return static_cast<T>(static_cast<Near>(to_near(value))); });
      return true;
    };
    if (dtype == Dtype::f16) return near(std::uint16_t{}, half_to_float);
    if (dtype == Dtype::bf16)
      return near(std::uint16_t{}, [](std::uint16_t bits) { return float{bfloat16::from_bits(bits)}; });
    if (dtype == Dtype::f32) return near(float{}, [](float value) { return value; });
    if (dtype == Dtype::f64) return near(double{}, [](double value) { return value; });
  }
  return false;
}

}  // namespace detail
}  // namespace mien
