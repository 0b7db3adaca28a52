// For fuzz targets that read PNG: mutations with right checksums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "mien/data/image.hpp"

namespace {

/// Sets the checksum of every whole chunk of a PNG right, as no mutation would.
void repair_png(std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_writable_bytes(std::span(data, size));
  if (!mien::detail::begins_with(bytes, "\x89PNG")) return;
  for (std::size_t at = 8; at <= size && size - at >= 12;) {
    const std::size_t length = static_cast<std::size_t>(data[at]) << 24 | static_cast<std::size_t>(data[at + 1]) << 16 |
                               static_cast<std::size_t>(data[at + 2]) << 8 | data[at + 3];
    if (length > size - at - 12) return;
    const std::uint32_t sum = mien::detail::crc32(bytes.subspan(at + 4, length + 4));
    for (std::size_t i = 0; i < 4; ++i) data[at + 8 + length + i] = static_cast<std::uint8_t>(sum >> (24 - 8 * i));
    at += length + 12;
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size)
    __attribute__((weak));

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  // Now and then a wrong checksum stays.
  if (seed % 16 != 0) repair_png(data, size);
  return size;
}
