// How a camera was held: the orientation in a picture's EXIF data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace mien::photo {

/// EXIF's orientation, 1 to 8: how the stored rows and columns stand in the upright picture.
///   1 as stored            2 mirrored              3 turned by 180 degrees    4 upside down, mirrored
///   5 transposed           6 to be turned by 90    7 transposed the other way 8 to be turned by 270
/// (6 and 8 clockwise; CIPA DC-008, "Exchangeable image file format", tag 0x0112).
using Orientation = int;

/// Whether width and height change places.
constexpr bool is_transposed(Orientation orientation) { return orientation >= 5; }

namespace detail {

/// Numbers out of bytes that nobody has checked: beyond the end there are zeros.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes, bool little_endian = false)
      : bytes_(bytes), little_endian_(little_endian) {}

  std::size_t size() const { return bytes_.size(); }
  std::uint32_t u8(std::size_t at) const { return at < bytes_.size() ? static_cast<std::uint32_t>(bytes_[at]) : 0U; }
  std::uint32_t u16(std::size_t at) const {
    return little_endian_ ? u8(at + 1) << 8 | u8(at) : u8(at) << 8 | u8(at + 1);
  }
  std::uint32_t u32(std::size_t at) const {
    return little_endian_ ? u16(at + 2) << 16 | u16(at) : u16(at) << 16 | u16(at + 2);
  }
  bool has(std::size_t at, std::string_view text) const {
    if (at > bytes_.size() || text.size() > bytes_.size() - at) return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (static_cast<char>(bytes_[at + i]) != text[i]) return false;
    }
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  bool little_endian_;
};

}  // namespace detail

/// The orientation in a TIFF structure, which is what EXIF data is behind its name; 1 where there is none, or what is
/// there makes no sense: a picture is not refused for it. Looks at the first directory alone, each entry once.
inline Orientation orientation_in_tiff(std::span<const std::byte> tiff) {
  const bool little_endian = detail::ByteReader(tiff).has(0, "II");
  const detail::ByteReader read(tiff, little_endian);
  if ((!little_endian && !read.has(0, "MM")) || read.u16(2) != 42) return 1;
  const std::size_t directory = read.u32(4);
  if (directory < 8 || directory > tiff.size()) return 1;
  const std::size_t entries = read.u16(directory);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) return 1;
    if (read.u16(entry) != 0x0112) continue;
    const std::uint32_t type = read.u16(entry + 2), count = read.u32(entry + 4), value = read.u16(entry + 8);
    constexpr std::uint32_t short_integer = 3;
    return type == short_integer && count == 1 && value >= 1 && value <= 8 ? static_cast<Orientation>(value) : 1;
  }
  return 1;
}

namespace detail {

/// Calls f(marker, first byte, length of its data) for each segment in front of a JPEG's first scan, until it returns
/// true or what comes next is none.
template <class F>
void for_each_segment(std::span<const std::byte> jpeg, F&& f) {
  const ByteReader read(jpeg);
  for (std::size_t at = 2; at + 4 <= jpeg.size() && read.u8(at) == 0xff;) {
    const std::uint32_t marker = read.u8(at + 1);
    if (marker == 0xff) {  // fill
      ++at;
      continue;
    }
    // Scans, the end and what has no length.
    if (marker == 0xda || marker == 0xd9 || marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8)) return;
    const std::size_t length = read.u16(at + 2), end = at + 2 + length;
    if (length < 2 || end > jpeg.size() || f(marker, at + 4, length - 2)) return;
    at = end;
  }
}

}  // namespace detail

/// The orientation that a JPEG file's first EXIF segment gives; 1 where there is none.
inline Orientation orientation_in_jpeg(std::span<const std::byte> jpeg) {
  constexpr std::string_view name("Exif\0\0", 6);
  Orientation found = 1;
  detail::for_each_segment(jpeg, [&](std::uint32_t marker, std::size_t first, std::size_t length) {
    if (marker != 0xe1 || length < name.size() || !detail::ByteReader(jpeg).has(first, name)) return false;
    found = orientation_in_tiff(jpeg.subspan(first + name.size(), length - name.size()));
    return true;
  });
  return found;
}

/// The orientation that a PNG file's eXIf chunk gives; 1 where there is none.
inline Orientation orientation_in_png(std::span<const std::byte> png) {
  const detail::ByteReader read(png);
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::size_t length = read.u32(at);
    if (length > png.size() - at - 12 || read.has(at + 4, "IEND")) return 1;
    if (read.has(at + 4, "eXIf")) return orientation_in_tiff(png.subspan(at + 8, length));
    at += length + 12;
  }
  return 1;
}

}  // namespace mien::photo
