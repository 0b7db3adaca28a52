// A PNG writer for small pictures: "stored" deflate blocks, so nothing but a header, two checksums and the pixels.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"

namespace mien::fer {

namespace detail {

inline std::uint32_t png_crc(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

inline void put_big_endian(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 0xFFU);
}

inline void put_chunk(std::string& out, std::string_view type, std::string_view body) {
  put_big_endian(out, static_cast<std::uint32_t>(body.size()));
  std::string checked(type);
  checked += body;
  out += checked;
  put_big_endian(out, png_crc(checked));
}

}  // namespace detail

/// The bytes of an 8-bit PNG file of `pixels` (height x width, row by row; gray, or 3 channels of RGB), uncompressed:
/// about the size of the pixels. Throws ArgumentError for an empty picture, a side above 16384, other channels, or too
/// few pixels. (W3C, "PNG specification", 3rd edition; RFC 1950 and 1951 for the stream inside.)
inline std::string encode_png(std::span<const std::uint8_t> pixels, index_t width, index_t height,
                              index_t channels = 1) {
  if (width < 1 || height < 1 || width > 16384 || height > 16384 || (channels != 1 && channels != 3) ||
      static_cast<index_t>(pixels.size()) < width * height * channels) {
    fail<ArgumentError>("encode_png: " + std::to_string(pixels.size()) + " values for a picture of " +
                        std::to_string(width) + "x" + std::to_string(height) + " in " + std::to_string(channels) +
                        " channels");
  }
  std::string raw;  // each row behind its filter number, here always 0: none
  std::uint32_t low = 1, high = 0;
  for (index_t y = 0; y < height; ++y) {
    raw += '\0';
    raw.append(reinterpret_cast<const char*>(pixels.data()) + y * width * channels,
               static_cast<std::size_t>(width * channels));
  }
  for (const char byte : raw) {
    low = (low + static_cast<unsigned char>(byte)) % 65521U;
    high = (high + low) % 65521U;
  }
  std::string stream = "\x78\x01";
  for (std::size_t at = 0; at < raw.size(); at += 65535) {
    const std::size_t length = std::min<std::size_t>(65535, raw.size() - at);
    stream += at + length == raw.size() ? '\1' : '\0';
    for (const std::size_t word : {length, ~length}) {
      stream += static_cast<char>(word & 0xFFU);
      stream += static_cast<char>((word >> 8) & 0xFFU);
    }
    stream.append(raw, at, length);
  }
  detail::put_big_endian(stream, (high << 16) | low);

  std::string header;
  detail::put_big_endian(header, static_cast<std::uint32_t>(width));
  detail::put_big_endian(header, static_cast<std::uint32_t>(height));
  header += '\x08';                               // bits
  header += channels == 3 ? '\x02' : '\x00';      // RGB or gray
  header += std::string_view("\x00\x00\x00", 3);  // deflate, filters, not interlaced
  std::string out = "\x89PNG\r\n\x1a\n";
  detail::put_chunk(out, "IHDR", header);
  detail::put_chunk(out, "IDAT", stream);
  detail::put_chunk(out, "IEND", "");
  return out;
}

/// RFC 4648 base64 of `bytes`.
inline std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      word = (word << 8) | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : digits[(word >> (18 - 6 * k)) & 63U];
  }
  return out;
}

}  // namespace mien::fer
