// Rows rounded to bfloat16 by the processor's own instruction, against the conversion of single values.
#include "mien/kernels/round_row.hpp"

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "mien/core/random.hpp"

using namespace mien;

namespace {

/// Random bits: all exponents, both signs, NaN of every kind among them; then cases of their own.
std::array<float, kernels::row_values> numbers(std::uint64_t seed) {
  std::array<float, kernels::row_values> values{};
  const Random random(seed, Stream::user, 0);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::bit_cast<float>(random.bits(i));
  constexpr std::array<std::uint32_t, 12> special = {0x00000000, 0x80000000, 0x7f800000, 0xff800000,
                                                     0x7f800001, 0xffffffff, 0x7f7fffff, 0xff7f8000,
                                                     0x3f808000, 0x3f818000, 0x3f808001, 0x00800000};
  for (std::size_t i = 0; i < special.size(); ++i) values[7 * i] = std::bit_cast<float>(special[i]);
  return values;
}

}  // namespace

TEST_CASE("write_row: as single conversions, for every length, and nothing behind it") {
  for (index_t n = 0; n <= kernels::row_values; ++n) {
    const auto values = numbers(static_cast<std::uint64_t>(n));
    std::array<bfloat16, kernels::row_values + 1> row{};
    row.fill(bfloat16::from_bits(0x1234));
    kernels::write_row<float>(n, row.data(), kernels::rounds_rows(),
                              [&](index_t i) MIEN_INLINE { return values[static_cast<std::size_t>(i)]; });
    bool equal = true;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::uint16_t expected = i < static_cast<std::size_t>(n) ? bfloat16(values[i]).bits : 0x1234;
      // The instruction takes subnormal values as zero.
      const bool subnormal = kernels::rounds_rows() && i < static_cast<std::size_t>(n) && values[i] != 0 &&
                             std::abs(values[i]) < std::numeric_limits<float>::min();
      equal = equal && row[i].bits == (subnormal ? expected & 0x8000 : expected);
    }
    CHECK_MESSAGE(equal, n);
  }
}

TEST_CASE("write_row: other types are converted as they are") {
  std::array<float, 5> row{};
  kernels::write_row<float>(4, row.data(), true, [](index_t i) MIEN_INLINE { return 1.0F + static_cast<float>(i); });
  CHECK(row == std::array<float, 5>{1, 2, 3, 4, 0});
}
