// CRC-32C: the checksum of a model file's bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace mien {

namespace detail {

using Crc32cTables = std::array<std::array<std::uint32_t, 256>, 8>;

/// Table k: the remainder of a byte followed by k zero bytes.
inline Crc32cTables make_crc32c_tables() {
  Crc32cTables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t remainder = byte;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder >> 1) ^ ((remainder & 1U) != 0 ? 0x82f63b78U : 0U);
    tables[0][byte] = remainder;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t shorter = tables[k - 1][byte];
      tables[k][byte] = (shorter >> 8) ^ tables[0][shorter & 0xffU];
    }
  }
  return tables;
}

}  // namespace detail

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `bytes`; `crc32c(b, crc32c(a))` is that of a followed by b. Takes
/// eight bytes per step from eight tables (Kounavis and Berry, "A systematic approach to building high performance
/// software-based CRC generators", 2005).
inline std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0) {
  static const detail::Crc32cTables tables = detail::make_crc32c_tables();
  std::uint32_t crc = ~before;
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(at[i]); };
  for (; left >= 8; left -= 8, at += 8) {
    crc ^= byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
    crc = tables[7][crc & 0xffU] ^ tables[6][(crc >> 8) & 0xffU] ^ tables[5][(crc >> 16) & 0xffU] ^
          tables[4][crc >> 24] ^ tables[3][byte(4)] ^ tables[2][byte(5)] ^ tables[1][byte(6)] ^ tables[0][byte(7)];
  }
  for (; left > 0; --left, ++at) crc = (crc >> 8) ^ tables[0][(crc ^ byte(0)) & 0xffU];
  return ~crc;
}

}  // namespace mien
