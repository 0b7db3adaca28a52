// Decoding images from untrusted bytes. Not part of mien.hpp, as it brings in stb_image.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"
#include "mien/data/detail/jpeg_check.hpp"
#include "mien/data/detail/png_check.hpp"
#include "mien/data/detail/stb.hpp"
#include "mien/data/pixels.hpp"

namespace mien {

/// What an image may cost. All are checked before the memory in question is taken.
struct ImageLimits {
  std::size_t file_bytes = std::size_t{8} << 20;
  /// Largest width and height; 65,535 at most has an effect.
  index_t side = 4096;
  index_t pixels = index_t{16} << 20;
  /// Memory during decoding, the result included. The largest picture in colour takes 97 MiB.
  std::size_t heap_bytes = std::size_t{96} << 20;
  int jpeg_scans = 100;
};

namespace detail {

inline bool begins_with(std::span<const std::byte> bytes, std::string_view magic) {
  if (bytes.size() < magic.size()) return false;
  return std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

inline void check_heap(std::uint64_t needed, const ImageLimits& limits, index_t width, index_t height) {
  if (needed <= limits.heap_bytes) return;
  fail<FormatError>({"an image of ", width, "x", height, " pixels needs ", (needed >> 20) + 1,
                     " MiB to decode, more than the ", limits.heap_bytes >> 20, " MiB allowed"});
}

/// Lets stb decode `bytes`, known to be sound, as an image of `decoded` channels (2 and 4: with transparency).
inline Image decode_by_stb(std::span<const std::byte> bytes, const char* format, std::uint64_t budget, index_t width,
                           index_t height, int decoded, int channels) {
  StbHeap heap(budget);
  int found_width = 0, found_height = 0, found_channels = 0;
  const std::uint8_t* pixels = stb::load(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), found_width,
                                         found_height, found_channels);
  if (pixels == nullptr) {
    if (heap.exhausted()) {
      fail<FormatError>({format, ": its data is much larger than an image of ", width, "x", height, " pixels"});
    }
    fail<FormatError>({format, ": ", stb::failure()});
  }
  if (found_width != width || found_height != height || found_channels != decoded) {
    fail<FormatError>({format, ": decoded to another size than its header says"});
  }
  Image image{width, height, channels, {}};
  image.pixels.resize(static_cast<std::size_t>(width * height * channels));
  std::uint8_t* target = image.pixels.data();
  for (index_t i = 0; i < width * height; ++i, pixels += decoded, target += channels) {
    if (decoded >= 3) {
      if (channels == 1) {
        target[0] = gray_of(pixels[0], pixels[1], pixels[2]);
      } else {
        for (int c = 0; c < 3; ++c) target[c] = pixels[c];
      }
    } else {
      for (int c = 0; c < channels; ++c) target[c] = pixels[0];
    }
  }
  return image;
}

inline Image decode_jpeg(std::span<const std::byte> bytes, int channels, const ImageLimits& limits) {
  const JpegInfo info =
      JpegCheck(bytes, {limits.side, limits.pixels, limits.jpeg_scans, static_cast<std::uint64_t>(limits.heap_bytes)})
          .run();
  const auto pixels = static_cast<std::uint64_t>(info.width * info.height);
  const auto components = static_cast<std::uint64_t>(info.components);
  // Planes, coefficients, the decoder's output, its tables and lines; then the output and ours.
  const std::uint64_t planes = info.plane_bytes * (info.progressive ? 3 : 1);
  const std::uint64_t budget = planes + pixels * components + 262144;
  check_heap(std::max(budget, pixels * (components + static_cast<std::uint64_t>(channels))), limits, info.width,
             info.height);
  return decode_by_stb(bytes, "JPEG", budget, info.width, info.height, info.components, channels);
}

inline Image decode_png(std::span<const std::byte> bytes, int channels, const ImageLimits& limits) {
  const PngInfo info = PngCheck(bytes, limits.side, limits.pixels).run();
  const auto pixels = static_cast<std::uint64_t>(info.width * info.height);
  const auto out = pixels * static_cast<std::uint64_t>(info.channels);
  // The compressed data in one piece (grown by doubling), then the inflated and the output.
  const std::uint64_t collected = 3 * info.data_bytes + 16384;
  const std::uint64_t unpacked = 2 * info.data_bytes + info.raw_bytes + (info.interlaced ? 2 : 1) * out + 16384;
  const std::uint64_t needed = std::max({collected, unpacked, out + pixels * static_cast<std::uint64_t>(channels)});
  check_heap(needed, limits, info.width, info.height);
  // Room for one doubling of the inflated data, whose size stb guesses too low for interlaced images; no more, so that
  // data which inflates without end is given up early.
  const std::uint64_t budget = std::min<std::uint64_t>(needed + 3 * info.raw_bytes + 65536, limits.heap_bytes);
  return decode_by_stb(bytes, "PNG", budget, info.width, info.height, info.channels, channels);
}

/// Binary PGM and PPM (Netpbm's P5 and P6) of 8 bits: the header's numbers, then the pixels.
inline Image decode_netpbm(std::span<const std::byte> bytes, int channels, const ImageLimits& limits) {
  std::size_t position = 2;
  const auto refuse = [&](const std::string& reason) { fail<FormatError>({"PGM/PPM, byte ", position, ": ", reason}); };
  const auto blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  const auto number = [&](index_t limit, const char* what) {
    bool separated = false;
    for (; position < bytes.size(); ++position) {
      const char c = static_cast<char>(bytes[position]);
      if (c == '#') {
        while (position + 1 < bytes.size() && bytes[position] != std::byte{'\n'}) ++position;
      } else if (!blank(c)) {
        break;
      }
      separated = true;
    }
    index_t value = 0;
    const std::size_t first = position;
    for (; position < bytes.size(); ++position) {
      const char c = static_cast<char>(bytes[position]);
      if (c < '0' || c > '9') break;
      value = value * 10 + (c - '0');
      if (value > limit) refuse(std::string(what) + " is larger than allowed");
    }
    if (position == first || !separated || value == 0) refuse(std::string(what) + " is missing or 0");
    return value;
  };
  const index_t stored = begins_with(bytes, "P6") ? 3 : 1;
  const index_t width = number(limits.side, "the width");
  const index_t height = number(limits.side, "the height");
  if (width * height > limits.pixels) refuse("the image is larger than allowed");
  const index_t largest = number(65535, "the largest value");
  if (largest != 255) refuse("a largest value of " + std::to_string(largest) + ": only 255 is supported");
  if (position >= bytes.size() || !blank(static_cast<char>(bytes[position])))
    refuse("expected a blank before the pixels");
  ++position;
  const auto needed = static_cast<std::size_t>(width * height * stored);
  if (bytes.size() - position < needed) {
    refuse(std::to_string(bytes.size() - position) + " bytes of pixels, expected " + std::to_string(needed));
  }
  check_heap(static_cast<std::uint64_t>(width * height * channels), limits, width, height);
  return with_channels(
      {reinterpret_cast<const std::uint8_t*>(bytes.data()) + position, width, height, stored, width * stored},
      channels);
}

}  // namespace detail

/// Decodes a JPEG (Huffman-coded, sequential or progressive, gray or colour), a PNG (8 bits a channel, or gray of
/// fewer; no indexed colours; transparency is dropped) or a binary PGM or PPM, told apart by their first bytes, into 1
/// (gray) or 3 (RGB) channels. Gray of colour is gray_of() of each decoded pixel. Turned by no EXIF orientation.
///
/// For bytes from anywhere: every limit is checked before the memory is taken, and what is damaged or cut off is
/// refused rather than decoded in part; what follows a picture's own data is ignored. The decoder is stb_image, which
/// is not safe alone in every version that is about: what it is handed has been checked down to each Huffman code
/// (JPEG) or checksum (PNG).
///
/// Throws FormatError saying what is wrong and at which byte, ArgumentError for channels other than 1 and 3. May be
/// called by any number of threads. A 48x48 JPEG takes about 40 us, a third of it for the check.
inline Image decode_image(std::span<const std::byte> bytes, int channels, const ImageLimits& limits = {}) {
  if (channels != 1 && channels != 3) {
    fail<ArgumentError>({"decode_image: ", channels, " channels, expected 1 (gray) or 3 (RGB)"});
  }
  if (bytes.empty()) fail<FormatError>("an image file of 0 bytes");
  constexpr std::size_t addressable = std::size_t{1} << 30;
  if (bytes.size() > std::min(limits.file_bytes, addressable)) {
    fail<FormatError>({"an image file of ", bytes.size(), " bytes, more than the ",
                       std::min(limits.file_bytes, addressable), " allowed"});
  }
  // 2^16 sides keep every product that follows within 64 bits, whatever the caller allows.
  ImageLimits bounded = limits;
  bounded.side = std::min<index_t>(limits.side, 65535);
  bounded.pixels = std::min<index_t>(limits.pixels, index_t{1} << 28);
  if (detail::begins_with(bytes, "\xff\xd8\xff")) return detail::decode_jpeg(bytes, channels, bounded);
  if (detail::begins_with(bytes, std::string_view("\x89PNG\r\n\x1a\n", 8))) {
    return detail::decode_png(bytes, channels, bounded);
  }
  if (detail::begins_with(bytes, "P5") || detail::begins_with(bytes, "P6")) {
    return detail::decode_netpbm(bytes, channels, bounded);
  }
  fail<FormatError>("neither JPEG, PNG nor binary PGM or PPM");
}

}  // namespace mien
