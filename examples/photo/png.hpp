// PNG by libpng, within limits. Private to photo.hpp; needs <png.h> and -lpng.
#pragma once

// Empty where the build has not found the library.
#if MIEN_PHOTO_PNG

#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "mien/data/pixels.hpp"
#include "photo/limits.hpp"
#include "photo/upright.hpp"

namespace mien::photo::detail {

/// A value seen through `alpha` in front of white.
constexpr std::uint8_t over_white(int value, int alpha) {
  return static_cast<std::uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

/// One decoding by libpng, which reports an error by longjmp: its calls are made in steps that hold nothing to destroy.
class PngDecoder {
 public:
  PngDecoder(std::span<const std::byte> bytes, const PhotoLimits& limits) : bytes_(bytes), limits_(limits) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, stop, stay_silent);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      fail<FormatError>("PNG: libpng could not be set up (another version, or no memory)");
    }
  }
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;

  Image run(int channels, Orientation orientation) {
    // Before libpng refuses the same without saying by how much.
    const ByteReader read(bytes_);
    if (read.has(12, "IHDR")) check_size("PNG", read.u32(16), read.u32(20), limits_);
    step([](PngDecoder& d) { d.read_header(); });
    check_header(channels);
    step([](PngDecoder& d) { d.ask_for_8_bits(); });
    const index_t width = this->width(), height = this->height();
    const std::size_t line_bytes = png_get_rowbytes(png_, info_);
    rows_ = UprightRows(width, height, channels, orientation);
    stored_.resize(line_bytes * (passes_ > 1 ? static_cast<std::size_t>(height) : 1));
    step([](PngDecoder& d) { d.read_pixels(); });
    if (worst_index_ >= palette_size_ && palette_size_ > 0) {
      fail<FormatError>("PNG: colour " + std::to_string(worst_index_) + " of a palette of " +
                        std::to_string(palette_size_));
    }
    return rows_.take();
  }

 private:
  index_t width() const { return static_cast<index_t>(png_get_image_width(png_, info_)); }
  index_t height() const { return static_cast<index_t>(png_get_image_height(png_, info_)); }

  void step(void (*call)(PngDecoder&)) {
    if (setjmp(jump_) == 0) {
      call(*this);
      return;
    }
    fail<FormatError>(std::string("PNG, byte ") + std::to_string(position_) + ": " + message_);
  }
  [[noreturn]] static void stop(png_structp png, png_const_charp message) {
    PngDecoder& d = *static_cast<PngDecoder*>(png_get_error_ptr(png));
    std::snprintf(d.message_, sizeof d.message_, "%s", message);
    std::longjmp(d.jump_, 1);
  }
  static void stay_silent(png_structp, png_const_charp) {}
  static void read_bytes(png_structp png, png_bytep to, std::size_t count) {
    PngDecoder& d = *static_cast<PngDecoder*>(png_get_io_ptr(png));
    if (count > d.bytes_.size() - d.position_) png_error(png, "the file ends early");
    // Behind the last row libpng unpacks all that is left, only to object to it.
    if (count > d.readable_) png_error(png, "more data than the picture has");
    d.readable_ -= count;
    std::memcpy(to, d.bytes_.data() + d.position_, count);
    d.position_ += count;
  }

  void read_header() {
    png_set_read_fn(png_, this, read_bytes);
    png_set_user_limits(png_, static_cast<png_uint_32>(limits_.side), static_cast<png_uint_32>(limits_.side));
    // Of what is passed over, too, libpng objects to more than this.
    png_set_chunk_malloc_max(png_, static_cast<png_alloc_size_t>(limits_.file_bytes));
    png_set_chunk_cache_max(png_, 16);
    // A wrong checksum, data beyond the picture's, colours beyond the palette: all are errors.
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_benign_errors(png_, 0);
    // What has no bearing on the pixels is not even unpacked: colour profiles and comments are compressed too, and many
    // programs write profiles that libpng objects to.
    static constexpr char unused[] =
        "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0sTER\0tEXt\0tIME\0zTXt\0eXIf";
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, 0);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, reinterpret_cast<png_const_bytep>(unused),
                                static_cast<int>(sizeof unused) / 5);
    png_read_info(png_, info_);
  }

  void check_header(int channels) {
    check_size("PNG", png_get_image_width(png_, info_), png_get_image_height(png_, info_), limits_);
    const auto width = static_cast<std::uint64_t>(this->width()), height = static_cast<std::uint64_t>(this->height());
    const std::uint64_t inflated = (png_get_rowbytes(png_, info_) + 1) * height;
    if (inflated > limits_.png_bytes) {
      fail<FormatError>("PNG: " + std::to_string(inflated >> 20) + " MiB of pixels, more than the " +
                        std::to_string(limits_.png_bytes >> 20) + " MiB allowed");
    }
    std::uint64_t needed = bytes_.size() + upright_bytes(this->width(), this->height(), channels);
    needed += width * 32 + (std::uint64_t{1} << 17);  // lines that are being decoded, the inflated window
    if (png_get_interlace_type(png_, info_) != PNG_INTERLACE_NONE)
      needed += width * height *
                (png_get_channels(png_, info_) + std::uint64_t{png_get_valid(png_, info_, PNG_INFO_tRNS) != 0});
    check_memory("PNG", needed, limits_);
  }

  void ask_for_8_bits() {
    const int colour = png_get_color_type(png_, info_);
    if (colour == PNG_COLOR_TYPE_PALETTE) {
      read_palette();
      png_set_packing(png_);  // one index a byte
    } else {
      if (png_get_valid(png_, info_, PNG_INFO_tRNS) != 0) png_set_tRNS_to_alpha(png_);
      if (colour == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png_);
      png_set_scale_16(png_);
    }
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    channels_ = palette_size_ > 0 ? 1 : png_get_channels(png_, info_);
  }

  void read_palette() {
    png_colorp colours = nullptr;
    png_bytep alphas = nullptr;
    int alpha_count = 0;
    if (png_get_PLTE(png_, info_, &colours, &palette_size_) == 0 || palette_size_ < 1 || palette_size_ > 256) {
      png_error(png_, "no palette");
    }
    if (png_get_tRNS(png_, info_, &alphas, &alpha_count, nullptr) == 0) alpha_count = 0;
    for (int i = 0; i < palette_size_; ++i) {
      const int alpha = i < alpha_count ? alphas[i] : 255;
      palette_[static_cast<std::size_t>(i)] = {over_white(colours[i].red, alpha), over_white(colours[i].green, alpha),
                                               over_white(colours[i].blue, alpha)};
    }
  }

  void read_pixels() {
    const index_t height = this->height();
    const auto line_bytes = static_cast<index_t>(png_get_rowbytes(png_, info_));
    for (int pass = 0; pass < passes_; ++pass) {
      for (index_t y = 0; y < height; ++y) {
        std::uint8_t* line = stored_.data() + (passes_ > 1 ? y * line_bytes : 0);
        const bool last = pass == passes_ - 1 && y == height - 1;
        if (last) readable_ = static_cast<std::size_t>(line_bytes) * 2 + 16384;
        png_read_row(png_, line, nullptr);
        if (pass == passes_ - 1) {
          convert(line);
          rows_.put(y);
        }
        if (y % 64 == 0 && watch_.seconds() > limits_.seconds) png_error(png_, "decoding it takes too long");
      }
    }
    readable_ = bytes_.size();
    png_read_end(png_, nullptr);
  }

  /// A line of gray, RGB (each perhaps with alpha) or palette indices in the picture's channels.
  void convert(const std::uint8_t* from) {
    std::uint8_t* to = rows_.row();
    const bool gray = rows_.channels() == 1;
    const index_t width = this->width();
    for (index_t x = 0; x < width; ++x, from += channels_) {
      std::array<std::uint8_t, 3> rgb{from[0], from[0], from[0]};
      if (palette_size_ > 0) {
        worst_index_ = std::max<int>(worst_index_, from[0]);
        rgb = palette_[from[0]];
      } else {
        if (channels_ >= 3) rgb = {from[0], from[1], from[2]};
        if (channels_ == 2 || channels_ == 4) {
          for (std::uint8_t& value : rgb) value = over_white(value, from[channels_ - 1]);
        }
      }
      if (gray) {
        *to++ = gray_of(rgb[0], rgb[1], rgb[2]);
      } else {
        for (const std::uint8_t value : rgb) *to++ = value;
      }
    }
  }

  std::span<const std::byte> bytes_;
  PhotoLimits limits_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::jmp_buf jump_{};
  char message_[256] = {};
  std::size_t position_ = 0;
  std::size_t readable_ = bytes_.size();  // of the bytes that are left
  int passes_ = 1, channels_ = 0, palette_size_ = 0, worst_index_ = -1;
  std::array<std::array<std::uint8_t, 3>, 256> palette_{};
  Stopwatch watch_;
  UprightRows rows_;
  std::vector<std::uint8_t> stored_;
};

}  // namespace mien::photo::detail

#endif  // MIEN_PHOTO_PNG
