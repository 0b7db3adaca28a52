// Dtype: the element types of a safetensors file, and their conversion to what mien computes with.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "mien/core/bfloat16.hpp"

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

/// Whether it is a signed or unsigned integer (BOOL is not).
constexpr bool dtype_is_integer(Dtype dtype) {
  switch (dtype) {
    case Dtype::u8:
    case Dtype::i8:
    case Dtype::i16:
    case Dtype::u16:
    case Dtype::i32:
    case Dtype::u32:
    case Dtype::i64:
    case Dtype::u64:
      return true;
    default:
      return false;
  }
}

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

template <class Stored>
Stored load(const std::byte* from) {  // of any alignment
  Stored value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// Reads `count` stored floating-point numbers as doubles (exact); false for other dtypes.
[[gnu::noinline]] inline bool widen_numbers(Dtype dtype, const std::byte* from, double* to, std::size_t count) {
  if (dtype == Dtype::f16) {
    for (std::size_t i = 0; i < count; ++i)
      to[i] = static_cast<double>(half_to_float(load<std::uint16_t>(from + 2 * i)));
  } else if (dtype == Dtype::bf16) {
    for (std::size_t i = 0; i < count; ++i) {
      to[i] = static_cast<double>(float{bfloat16::from_bits(load<std::uint16_t>(from + 2 * i))});
    }
  } else if (dtype == Dtype::f32) {
    for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<double>(load<float>(from + 4 * i));
  } else if (dtype == Dtype::f64) {
    for (std::size_t i = 0; i < count; ++i) to[i] = load<double>(from + 8 * i);
  } else {
    return false;
  }
  return true;
}

/// Reads `count` stored integers; false for other dtypes and for U64, which does not fit.
[[gnu::noinline]] inline bool widen_integers(Dtype dtype, const std::byte* from, std::int64_t* to, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (dtype == Dtype::boolean || dtype == Dtype::u8) {
      to[i] = load<std::uint8_t>(from + i);
    } else if (dtype == Dtype::i8) {
      to[i] = load<std::int8_t>(from + i);  // NOLINT(bugprone-signed-char-misuse): a number, not a character
    } else if (dtype == Dtype::i16) {
      to[i] = load<std::int16_t>(from + 2 * i);
    } else if (dtype == Dtype::u16) {
      to[i] = load<std::uint16_t>(from + 2 * i);
    } else if (dtype == Dtype::i32) {
      to[i] = load<std::int32_t>(from + 4 * i);
    } else if (dtype == Dtype::u32) {
      to[i] = load<std::uint32_t>(from + 4 * i);
    } else if (dtype == Dtype::i64) {
      to[i] = load<std::int64_t>(from + 8 * i);
    }
  }
  return dtype == Dtype::boolean || (dtype != Dtype::u64 && dtype_is_integer(dtype));
}

/// Fills `out` from as many stored elements; false if elements of this Dtype are not readable as T.
template <class T>
bool read_elements(Dtype dtype, const std::byte* from, std::span<T> out) {
  if constexpr (std::is_same_v<T, std::int64_t>) {
    return widen_integers(dtype, from, out.data(), out.size());
  } else {
    if (dtype == dtype_of<T>()) {
      if (!out.empty()) std::memcpy(out.data(), from, out.size_bytes());
      return true;
    }
    // By way of doubles, a block at a time: one conversion from each stored type instead of one for each pair.
    double block[256];
    const std::size_t stored_bytes = static_cast<std::size_t>(dtype_bits(dtype)) / 8;
    std::size_t at = 0;
    do {
      const std::size_t count = out.size() - at < 256 ? out.size() - at : 256;
      if (!widen_numbers(dtype, from + at * stored_bytes, block, count)) return false;
      for (std::size_t i = 0; i < count; ++i) {
        if constexpr (std::is_same_v<T, bfloat16>) {
          out[at + i] = bfloat16(static_cast<float>(block[i]));
        } else {
          out[at + i] = static_cast<T>(block[i]);
        }
      }
      at += count;
    } while (at < out.size());
    return true;
  }
}

}  // namespace detail
}  // namespace mien
