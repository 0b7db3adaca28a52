#include "mien/core/bfloat16.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <type_traits>

using namespace mien;

namespace {

/// Nearest of the two neighbours, ties to the even one, by comparing distances in double.
std::uint16_t nearest(float value) {
  const auto low = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);  // towards zero
  const auto high = static_cast<std::uint16_t>(low + 1);
  const auto real = [](std::uint16_t bits) {
    // The step beyond the largest finite value counts as 2^128 here.
    if ((bits & 0x7fff) == 0x7f80) return (bits >> 15 ? -1 : 1) * 0x1p128;
    return static_cast<double>(static_cast<float>(bfloat16::from_bits(bits)));
  };
  const double below = std::abs(static_cast<double>(value) - real(low));
  const double above = std::abs(static_cast<double>(value) - real(high));
  if (below != above) return below < above ? low : high;
  return low % 2 == 0 ? low : high;
}

}  // namespace

TEST_CASE("bfloat16: all 65,536 values come back") {
  int nans = 0;
  for (std::uint32_t raw = 0; raw < 65536; ++raw) {
    const auto bits = static_cast<std::uint16_t>(raw);
    const float value = bfloat16::from_bits(bits);
    if (std::isnan(value)) {
      ++nans;
      CHECK(std::isnan(static_cast<float>(bfloat16(value))));
    } else if (bfloat16(value).bits != bits) {
      FAIL_CHECK("bits " << raw);
    }
  }
  CHECK(nans == 254);
}

TEST_CASE("bfloat16: rounds to nearest, ties to even") {
  int wrong = 0;
  // Every 2^8 + 1st float of either sign, and the neighbourhood of every tie of some exponents.
  for (std::uint64_t raw = 0; raw < 0x7f800000U; raw += 257 * 64) {
    for (const std::uint32_t sign : {0U, 0x80000000U}) {
      const float value = std::bit_cast<float>(static_cast<std::uint32_t>(raw) | sign);
      wrong += bfloat16(value).bits != nearest(value);
    }
  }
  for (std::uint32_t high : {0x0000U, 0x0001U, 0x3f7fU, 0x3f80U, 0x3f81U, 0x7f7fU, 0x8000U, 0xc2feU}) {
    for (std::uint32_t low : {0U, 1U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
      const float value = std::bit_cast<float>(high << 16 | low);
      CAPTURE(value);
      CHECK(bfloat16(value).bits == nearest(value));
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("bfloat16: the ends of the range") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(static_cast<float>(bfloat16(infinity)) == infinity);
  CHECK(static_cast<float>(bfloat16(-infinity)) == -infinity);
  CHECK(static_cast<float>(bfloat16(std::numeric_limits<float>::max())) == infinity);
  CHECK(bfloat16(-0.f).bits == 0x8000);
  // NaN whose payload lies in the lower half only must not become infinity; a signalling one becomes quiet.
  for (std::uint32_t raw : {0x7f800001U, 0xff800001U, 0x7fffffffU, 0x7fc00000U}) {
    const bfloat16 value(std::bit_cast<float>(raw));
    CHECK(std::isnan(static_cast<float>(value)));
    CHECK((value.bits & 0x40) != 0);
    CHECK((value.bits >> 15) == static_cast<int>(raw >> 31));
  }
}

TEST_CASE("bfloat16: parameters of a bfloat16 network are floats") {
  static_assert(std::is_same_v<parameter_t<bfloat16>, float> && std::is_same_v<parameter_t<float>, float> &&
                std::is_same_v<parameter_t<double>, double>);
  static_assert(sizeof(bfloat16) == 2 && std::is_trivially_copyable_v<bfloat16>);
}
