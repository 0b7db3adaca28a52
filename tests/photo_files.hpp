// Picture files for tests, written byte by byte as the specifications have them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace photo_files {

using Bytes = std::vector<std::uint8_t>;

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
inline Bytes bytes_of(const std::string& text) { return Bytes(text.begin(), text.end()); }
inline Bytes big_endian(std::uint32_t value, int count = 4) {
  Bytes bytes;
  for (int shift = 8 * (count - 1); shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(value >> shift));
  return bytes;
}

// PNG
// ------------------------------------------------------------------------------------------------------------------

inline Bytes chunk(const std::string& type, const Bytes& data) {
  const Bytes body = bytes_of(type) + data;
  std::uint32_t crc = ~0U;
  for (const std::uint8_t byte : body) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? (crc >> 1) ^ 0xedb88320U : crc >> 1;
  }
  return big_endian(static_cast<std::uint32_t>(data.size())) + body + big_endian(~crc);
}

/// Zlib data without compression.
inline Bytes stored(const Bytes& raw) {
  Bytes result{0x78, 0x01};
  for (std::size_t at = 0;; at += 65535) {
    const std::size_t length = std::min<std::size_t>(65535, raw.size() - at);
    const bool last = at + length == raw.size();
    result = result + Bytes{static_cast<std::uint8_t>(last), static_cast<std::uint8_t>(length & 255),
                            static_cast<std::uint8_t>(length >> 8), static_cast<std::uint8_t>(~length & 255),
                            static_cast<std::uint8_t>(~length >> 8 & 255)};
    result.insert(result.end(), raw.begin() + static_cast<std::ptrdiff_t>(at),
                  raw.begin() + static_cast<std::ptrdiff_t>(at + length));
    if (last) break;
  }
  std::uint32_t a = 1, b = 0;
  for (const std::uint8_t byte : raw) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return result + big_endian(b << 16 | a);
}

/// Zlib data of at least `bytes` zeros: a literal, then copies of length 258 from distance 1 in the fixed code.
inline Bytes zeros_compressed(std::size_t bytes) {
  Bytes result{0x78, 0x01};
  unsigned held = 0, count = 0;
  const auto put = [&](unsigned value, unsigned bits) {  // lowest bit first
    held |= value << count;
    for (count += bits; count >= 8; count -= 8, held >>= 8) result.push_back(static_cast<std::uint8_t>(held));
  };
  put(0b011, 3);       // last block, fixed code
  put(0b00001100, 8);  // literal 0: code 00110000 from its highest bit
  for (std::size_t done = 1; done < bytes; done += 258) {
    put(0b10100011, 8);  // length 258: symbol 285, code 11000101 from its highest bit
    put(0, 5);           // distance 1
  }
  put(0, 7);  // end of block
  put(0, 7);
  return result + Bytes{0, 0, 0, 0};
}

/// PNG's colour types.
enum Colour : std::uint8_t { gray = 0, rgb = 2, palette = 3, gray_alpha = 4, rgb_alpha = 6 };
inline std::size_t channels_of(Colour colour) {
  return colour == rgb ? 3 : colour == gray_alpha ? 2 : colour == rgb_alpha ? 4 : 1;
}

inline Bytes header(std::uint32_t width, std::uint32_t height, int depth, Colour colour, bool interlaced = false) {
  return chunk("IHDR",
               big_endian(width) + big_endian(height) +
                   Bytes{static_cast<std::uint8_t>(depth), colour, 0, 0, static_cast<std::uint8_t>(interlaced)});
}

/// A file of a header chunk, others behind it, and zlib data.
inline Bytes assemble(const Bytes& head, const Bytes& between, const Bytes& data) {
  return Bytes{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'} + head + between + chunk("IDAT", data) + chunk("IEND", {});
}

/// A whole file of samples (height x width x channels) of `depth` bits.
inline Bytes png(std::uint32_t width, std::uint32_t height, int depth, Colour colour,
                 const std::vector<std::uint16_t>& samples, bool interlaced = false, const Bytes& between = {}) {
  Bytes raw;
  const std::size_t channels = channels_of(colour);
  const auto pass = [&](std::uint32_t x0, std::uint32_t y0, std::uint32_t dx, std::uint32_t dy) {
    if (x0 >= width) return;
    for (std::uint32_t y = y0; y < height; y += dy) {
      raw.push_back(0);  // no filter
      unsigned held = 0;
      int count = 0;
      for (std::uint32_t x = x0; x < width; x += dx) {
        for (std::size_t c = 0; c < channels; ++c) {
          held = held << depth | samples[(std::size_t{y} * width + x) * channels + c];
          for (count += depth; count >= 8; count -= 8) raw.push_back(static_cast<std::uint8_t>(held >> (count - 8)));
        }
      }
      if (count > 0) raw.push_back(static_cast<std::uint8_t>(held << (8 - count)));
    }
  };
  if (interlaced) {
    pass(0, 0, 8, 8), pass(4, 0, 8, 8), pass(0, 4, 4, 8), pass(2, 0, 4, 4), pass(0, 2, 2, 4), pass(1, 0, 2, 2);
    pass(0, 1, 1, 2);
  } else {
    pass(0, 0, 1, 1);
  }
  return assemble(header(width, height, depth, colour, interlaced), between, stored(raw));
}

// EXIF
// -----------------------------------------------------------------------------------------------------------------

/// A TIFF structure whose first directory has two entries, the second with `tag`, `type`, `count` and `value`.
inline Bytes tiff(std::uint32_t value, bool little_endian = false, std::uint32_t tag = 0x0112, std::uint32_t type = 3,
                  std::uint32_t count = 1) {
  const auto number = [&](std::uint32_t n, int bytes) {
    Bytes result = big_endian(n, bytes);
    if (little_endian) std::reverse(result.begin(), result.end());
    return result;
  };
  return bytes_of(little_endian ? "II" : "MM") + number(42, 2) + number(8, 4) + number(2, 2) +  //
         number(0x010f, 2) + number(2, 2) + number(1, 4) + number(0, 4) +                       //
         number(tag, 2) + number(type, 2) + number(count, 4) + number(value, 2) + number(0, 2) + number(0, 4);
}

inline Bytes app1(const Bytes& tiff_bytes) {
  const Bytes body = bytes_of(std::string("Exif\0\0", 6)) + tiff_bytes;
  return Bytes{0xff, 0xe1} + big_endian(static_cast<std::uint32_t>(body.size() + 2), 2) + body;
}

/// `jpeg` with a segment behind its first two bytes.
inline Bytes with_segment(const Bytes& jpeg, const Bytes& segment) {
  return Bytes(jpeg.begin(), jpeg.begin() + 2) + segment + Bytes(jpeg.begin() + 2, jpeg.end());
}

// JPEG
// -----------------------------------------------------------------------------------------------------------------

/// A progressive gray JPEG of side x side black pixels (a multiple of 8): a scan for the means, and `scans` - 1 (at
/// most 881) of a few bytes each, every one for the next bit of one coefficient and all of it zero. Valid, and as much
/// work for a decoder per byte as there can be.
inline Bytes jpeg_of_scans(std::uint32_t side, int scans) {
  Bytes file{0xff, 0xd8, 0xff, 0xdb, 0, 67, 0};
  file.insert(file.end(), 64, 1);
  file = file + Bytes{0xff, 0xc2, 0, 11, 8} + big_endian(side, 2) + big_endian(side, 2) + Bytes{1, 1, 0x11, 0};
  // Two tables of one code, 0: for means a difference of 0 bits, else the end of 16384 blocks and 14 bits' worth more.
  for (const Bytes& table : {Bytes{0x00, 0x00}, Bytes{0x10, 0xe0}}) {
    Bytes lengths(16, 0);
    lengths[0] = 1;
    file = file + Bytes{0xff, 0xc4, 0, 20, table[0]} + lengths + Bytes{table[1]};
  }
  const auto scan = [&](int coefficient, int planes, const std::vector<int>& bits) {
    const auto k = static_cast<std::uint8_t>(coefficient);
    file = file + Bytes{0xff, 0xda, 0, 8, 1, 1, 0, k, k, static_cast<std::uint8_t>(planes)};
    for (std::size_t i = 0; i < bits.size(); i += 8) {
      unsigned byte = 0;
      for (std::size_t b = i; b < i + 8; ++b) byte = byte << 1 | static_cast<unsigned>(b < bits.size() ? bits[b] : 1);
      file.push_back(static_cast<std::uint8_t>(byte));
      if (byte == 255) file.push_back(0);
    }
  };
  const std::size_t blocks = std::size_t{side / 8} * (side / 8);
  scan(0, 0, std::vector<int>(blocks, 0));
  std::vector<int> ends;
  for (std::size_t done = 0; done < blocks; done += 32767) {
    ends.push_back(0);
    ends.insert(ends.end(), 14, 1);
  }
  for (int i = 0; i < scans - 1; ++i) {
    const int round = i / 63;
    scan(1 + i % 63, round == 0 ? 13 : (14 - round) << 4 | (13 - round), ends);
  }
  return file + Bytes{0xff, 0xd9};
}

}  // namespace photo_files
