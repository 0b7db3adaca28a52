// Private: whether the chunks of a PNG are sound.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"

namespace mien::detail {

/// What a sound PNG needs of its decoder.
struct PngInfo {
  index_t width = 0;
  index_t height = 0;
  int channels = 0;  ///< as decoded, transparency included
  bool interlaced = false;
  std::uint64_t raw_bytes = 0;   ///< of the inflated data
  std::uint64_t data_bytes = 0;  ///< of the compressed data
};

inline constexpr std::array<std::uint32_t, 256> crc32_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xedb88320U : 0U);
    table[i] = value;
  }
  return table;
}();

/// CRC-32 of ISO 3309, as PNG chunks end with.
inline std::uint32_t crc32(std::span<const std::byte> bytes) {
  std::uint32_t value = 0xffffffffU;
  for (const std::byte byte : bytes)
    value = (value >> 8) ^ crc32_table[(value ^ static_cast<std::uint32_t>(byte)) & 255U];
  return ~value;
}

/// Walks the chunks of a PNG (8 bits a channel or gray of fewer; no indexed colours, as stb_image does not check the
/// indices) and their checksums. Throws FormatError with the offset of what is wrong. What the compressed data holds is
/// not looked at.
class PngCheck {
 public:
  PngCheck(std::span<const std::byte> bytes, index_t side, index_t pixels)
      : bytes_(bytes), side_(side), pixels_(pixels) {}

  PngInfo run() {
    position_ = 8;  // behind the signature, by which the format was told
    bool transparent = false;
    for (bool first = true;; first = false) {
      if (bytes_.size() - position_ < 12) refuse("the file ends early");
      const std::uint32_t length = number(position_);
      const std::uint32_t type = number(position_ + 4);
      if (length > bytes_.size() - position_ - 12) refuse("a chunk goes beyond the end of the file");
      const std::span<const std::byte> data = bytes_.subspan(position_ + 8, length);
      if (crc32(bytes_.subspan(position_ + 4, length + 4)) != number(position_ + 8 + length)) {
        refuse("the chunk " + name(type) + " is damaged (checksum)");
      }
      if (first != (type == tag("IHDR"))) refuse(first ? "the first chunk is no header" : "a second header");
      if (first) {
        header(data);
      } else if (type == tag("IEND")) {
        break;
      } else if (type == tag("IDAT")) {
        info_.data_bytes += length;
      } else if (type == tag("tRNS")) {
        if (info_.data_bytes != 0 || transparent || info_.channels % 2 == 0)
          refuse("a transparent colour out of place");
        if (length != static_cast<std::uint32_t>(info_.channels) * 2) refuse("a transparent colour of wrong length");
        transparent = true;
      } else if (type == tag("PLTE")) {
        if (length % 3 != 0 || length > 768) refuse("a palette of wrong length");
      } else if ((type & 0x20000000U) == 0) {
        refuse("the chunk " + name(type) + " is not known and must not be ignored");
      }
      position_ += std::size_t{length} + 12;
    }
    if (info_.data_bytes == 0) refuse("no image in the file");
    // Data that does not compress takes a few bytes more; much more than that is none of this image.
    if (info_.data_bytes > 2 * info_.raw_bytes + 65536) {
      refuse(std::to_string(info_.data_bytes) + " compressed bytes for an image of " + std::to_string(info_.raw_bytes));
    }
    if (transparent) ++info_.channels;
    return info_;
  }

 private:
  static constexpr std::uint32_t tag(const char (&text)[5]) {
    return static_cast<std::uint32_t>(text[0]) << 24 | static_cast<std::uint32_t>(text[1]) << 16 |
           static_cast<std::uint32_t>(text[2]) << 8 | static_cast<std::uint32_t>(text[3]);
  }
  static std::string name(std::uint32_t type) {
    std::string text;
    for (int shift = 24; shift >= 0; shift -= 8) {
      const auto c = static_cast<char>(type >> shift & 255U);
      text += c > ' ' && c <= '~' ? c : '?';
    }
    return text;
  }
  [[noreturn]] void refuse(const std::string& reason) const {
    fail<FormatError>({"PNG, byte ", position_, ": ", reason});
  }
  std::uint32_t number(std::size_t at) const {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint32_t>(bytes_[at + i]);
    return value;
  }

  void header(std::span<const std::byte> data) {
    if (data.size() != 13) refuse("a header of wrong length");
    const std::uint32_t width = number(position_ + 8), height = number(position_ + 12);
    const int depth = static_cast<int>(data[8]), colour = static_cast<int>(data[9]);
    const int compression = static_cast<int>(data[10]), filter = static_cast<int>(data[11]);
    const int interlace = static_cast<int>(data[12]);
    if (width == 0 || height == 0) refuse("an image without pixels");
    if (width > static_cast<std::uint64_t>(side_) || height > static_cast<std::uint64_t>(side_) ||
        std::uint64_t{width} * height > static_cast<std::uint64_t>(pixels_)) {
      refuse("an image of " + std::to_string(width) + "x" + std::to_string(height) + " pixels is larger than allowed");
    }
    if (colour == 3) refuse("indexed colours are not supported: save it as gray or RGB");
    if (depth == 16) refuse("16 bits a channel are not supported: save it with 8");
    if (colour != 0 && colour != 2 && colour != 4 && colour != 6) refuse("colour type " + std::to_string(colour));
    if (depth != 8 && (colour != 0 || (depth != 1 && depth != 2 && depth != 4))) {
      refuse(std::to_string(depth) + " bits a channel of colour type " + std::to_string(colour));
    }
    if (compression != 0 || filter != 0 || interlace > 1) refuse("a method of compression that does not exist");
    info_.width = static_cast<index_t>(width);
    info_.height = static_cast<index_t>(height);
    info_.channels = (colour & 2 ? 3 : 1) + (colour & 4 ? 1 : 0);
    info_.interlaced = interlace == 1;

    const auto raw = [&](std::uint64_t columns, std::uint64_t rows) {
      const auto bits = static_cast<std::uint64_t>(info_.channels * depth);
      return columns == 0 ? 0 : ((columns * bits + 7) / 8 + 1) * rows;
    };
    if (!info_.interlaced) {
      info_.raw_bytes = raw(width, height);
      return;
    }
    // The seven passes of Adam7: first column and row, and the distance of the next.
    constexpr std::uint32_t passes[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                            {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    for (const auto& pass : passes) {
      const auto count = [](std::uint32_t extent, std::uint32_t start, std::uint32_t step) {
        return extent > start ? (extent - start + step - 1) / step : 0;
      };
      info_.raw_bytes += raw(count(width, pass[0], pass[2]), count(height, pass[1], pass[3]));
    }
  }

  std::span<const std::byte> bytes_;
  index_t side_, pixels_;
  std::size_t position_ = 0;
  PngInfo info_;
};

}  // namespace mien::detail
