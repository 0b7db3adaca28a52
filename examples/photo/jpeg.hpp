// JPEG by libjpeg-turbo, within limits. Private to photo.hpp; needs <jpeglib.h> and -ljpeg.
#pragma once

// Empty where the build has not found the library.
#if MIEN_PHOTO_JPEG

// jpeglib.h does not include what it needs.
#include <cstddef>
#include <cstdio>
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "mien/data/pixels.hpp"
#include "photo/limits.hpp"
#include "photo/upright.hpp"

namespace mien::photo::detail {

/// One decoding by libjpeg, which reports an error by longjmp: its calls are made in steps that hold nothing to
/// destroy.
class JpegDecoder {
 public:
  JpegDecoder(std::span<const std::byte> bytes, const PhotoLimits& limits) : bytes_(bytes), limits_(limits) {
    jpeg_.err = make_errors();
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&jpeg_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  Image run(int channels, Orientation orientation) {
    // Before libjpeg objects to something else: what is too large should be told so.
    for_each_segment(bytes_, [&](std::uint32_t marker, std::size_t first, std::size_t length) {
      const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
      if (!frame || length < 5) return false;
      const ByteReader read(bytes_);
      check_size("JPEG", read.u16(first + 3), read.u16(first + 1), limits_);
      return true;
    });
    step([](JpegDecoder& d) {
      jpeg_create_decompress(&d.jpeg_);
      // Bounds the coefficients that libjpeg keeps of pictures in several scans.
      d.jpeg_.mem->max_memory_to_use = static_cast<long>(d.limits_.heap_bytes);
      d.progress_.progress_monitor = watch;
      d.jpeg_.progress = &d.progress_;
      jpeg_mem_src(&d.jpeg_, reinterpret_cast<const unsigned char*>(d.bytes_.data()),
                   static_cast<unsigned long>(d.bytes_.size()));
      jpeg_read_header(&d.jpeg_, TRUE);
    });
    check_header(channels);
    step([](JpegDecoder& d) { jpeg_start_decompress(&d.jpeg_); });
    rows_ = UprightRows(jpeg_.output_width, jpeg_.output_height, channels, orientation);
    line_.resize(std::size_t{jpeg_.output_width} * static_cast<std::size_t>(jpeg_.output_components));
    step([](JpegDecoder& d) {
      while (d.jpeg_.output_scanline < d.jpeg_.output_height) {
        JSAMPROW line = d.line_.data();
        const JDIMENSION y = d.jpeg_.output_scanline;
        jpeg_read_scanlines(&d.jpeg_, &line, 1);
        d.convert();
        d.rows_.put(static_cast<index_t>(y));
      }
      jpeg_finish_decompress(&d.jpeg_);
    });
    return rows_.take();
  }

 private:
  /// What libjpeg's callbacks are handed; the error manager comes first.
  struct Errors {
    jpeg_error_mgr manager;
    JpegDecoder* decoder;
  };

  void step(void (*call)(JpegDecoder&)) {
    if (setjmp(jump_) == 0) {
      call(*this);
      return;
    }
    fail<FormatError>(std::string("JPEG, byte ") + std::to_string(position_) + ": " + message_);
  }

  [[noreturn]] static void stop(j_common_ptr common) {
    JpegDecoder& d = *reinterpret_cast<Errors*>(common->err)->decoder;
    if (d.message_[0] == '\0') common->err->format_message(common, d.message_);
    d.position_ = d.jpeg_.src != nullptr ? d.bytes_.size() - d.jpeg_.src->bytes_in_buffer : 0;
    std::longjmp(d.jump_, 1);
  }
  /// What libjpeg only warns of (data that ends early or makes no sense) is an error here: half a face is no face. Two
  /// remarks on headers are not.
  static void remark(j_common_ptr common, int level) {
    if (level >= 0) return;
    const int code = common->err->msg_code;
    if (code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR) stop(common);
  }
  static void stay_silent(j_common_ptr) {}
  [[noreturn]] static void stop_for(j_common_ptr common, const char* why) {
    JpegDecoder& d = *reinterpret_cast<Errors*>(common->err)->decoder;
    std::snprintf(d.message_, sizeof d.message_, "%s", why);
    stop(common);
  }
  /// Called by libjpeg for every row of blocks that it reads.
  static void watch(j_common_ptr common) {
    const JpegDecoder& d = *reinterpret_cast<Errors*>(common->err)->decoder;
    const index_t scans = d.jpeg_.input_scan_number;
    if (scans > d.limits_.jpeg_scans || scans > d.scans_allowed_) stop_for(common, "more scans than allowed");
    if (d.watch_.seconds() > d.limits_.seconds) stop_for(common, "decoding it takes too long");
  }

  void check_header(int channels) {
    check_size("JPEG", jpeg_.image_width, jpeg_.image_height, limits_);
    if (jpeg_.arith_code) fail<FormatError>("JPEG: arithmetic coding is not supported");
    const int components = jpeg_.num_components;
    if (components == 1) {
      jpeg_.out_color_space = JCS_GRAYSCALE;
    } else if (components == 3) {
      jpeg_.out_color_space = JCS_RGB;
    } else if (components == 4 && (jpeg_.jpeg_color_space == JCS_CMYK || jpeg_.jpeg_color_space == JCS_YCCK)) {
      jpeg_.out_color_space = JCS_CMYK;
    } else {
      fail<FormatError>("JPEG: " + std::to_string(components) + " colour components: expected 1, 3 or 4");
    }
    const auto width = static_cast<index_t>(jpeg_.image_width), height = static_cast<index_t>(jpeg_.image_height);
    std::uint64_t needed = bytes_.size() + upright_bytes(width, height, channels);
    needed += static_cast<std::uint64_t>(width) * 64;  // lines that are being decoded
    if (jpeg_has_multiple_scans(&jpeg_)) {
      // All coefficients, two bytes each, in whole coding units.
      for (int c = 0; c < components; ++c) {
        const jpeg_component_info& part = jpeg_.comp_info[c];
        const auto h = static_cast<std::uint64_t>(part.h_samp_factor),
                   v = static_cast<std::uint64_t>(part.v_samp_factor);
        needed += (part.width_in_blocks + h) * (part.height_in_blocks + v) * 128;
      }
      scans_allowed_ = std::max<index_t>(10, limits_.jpeg_scan_pixels / (width * height));
      const int scans = count_scans();
      if (scans > limits_.jpeg_scans || scans > scans_allowed_) {
        fail<FormatError>("JPEG: " + std::to_string(scans) + " scans of " + std::to_string(width) + "x" +
                          std::to_string(height) + " pixels, more than allowed");
      }
    }
    check_memory("JPEG", needed, limits_);
  }

  /// Start-of-scan markers in the file, thumbnails in its segments left out: found without decoding.
  int count_scans() const {
    int scans = 0;
    std::size_t at = 2;
    while (at + 4 <= bytes_.size()) {
      const auto first = std::find(bytes_.begin() + static_cast<std::ptrdiff_t>(at), bytes_.end(), std::byte{0xff});
      at = static_cast<std::size_t>(first - bytes_.begin());
      if (at + 4 > bytes_.size()) break;
      const int marker = static_cast<int>(bytes_[at + 1]);
      if (marker == 0xd9) break;
      const bool alone = marker <= 0x01 || marker == 0xff || (marker >= 0xd0 && marker <= 0xd8);
      if (marker == 0xda) ++scans;
      at += marker == 0xff ? 1 : 2;
      if (!alone) at += static_cast<std::size_t>(bytes_[at]) * 256 + static_cast<std::size_t>(bytes_[at + 1]);
    }
    return scans;
  }

  /// The decoded line, gray, RGB or CMYK, in the picture's channels.
  void convert() {
    const std::uint8_t* from = line_.data();
    std::uint8_t* to = rows_.row();
    const bool gray = rows_.channels() == 1;
    for (JDIMENSION x = 0; x < jpeg_.output_width; ++x, from += jpeg_.output_components) {
      std::uint8_t red = from[0], green = red, blue = red;
      if (jpeg_.output_components == 3) {
        green = from[1];
        blue = from[2];
      } else if (jpeg_.output_components == 4) {
        // Adobe's programs store ink upside down: 255 is none.
        const int flip = jpeg_.saw_Adobe_marker ? 0 : 255;
        const auto light = [&](int ink) {
          return static_cast<std::uint8_t>(((ink ^ flip) * (from[3] ^ flip) + 127) / 255);
        };
        red = light(from[0]);
        green = light(from[1]);
        blue = light(from[2]);
      }
      if (gray) {
        *to++ = gray_of(red, green, blue);
      } else {
        *to++ = red;
        *to++ = green;
        *to++ = blue;
      }
    }
  }

  jpeg_error_mgr* make_errors() {
    jpeg_error_mgr* manager = jpeg_std_error(&errors_.manager);
    manager->error_exit = stop;
    manager->emit_message = remark;
    manager->output_message = stay_silent;
    errors_.decoder = this;
    return manager;
  }

  std::span<const std::byte> bytes_;
  PhotoLimits limits_;
  Errors errors_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct jpeg_{};
  std::jmp_buf jump_{};
  char message_[JMSG_LENGTH_MAX] = {};
  std::size_t position_ = 0;
  index_t scans_allowed_ = 1 << 30;
  Stopwatch watch_;
  UprightRows rows_;
  std::vector<std::uint8_t> line_;
};

}  // namespace mien::photo::detail

#endif  // MIEN_PHOTO_JPEG
