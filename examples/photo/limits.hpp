// What decoding a photograph may cost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>

#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"

namespace mien::photo {

/// Limits of decode_photo. All but the last are compared with what the file says before memory is taken or work done.
struct PhotoLimits {
  std::size_t file_bytes = std::size_t{16} << 20;
  index_t side = 16384;
  index_t pixels = index_t{24} << 20;
  /// Memory at a time: the file, the picture and what its decoder needs.
  std::size_t heap_bytes = std::size_t{88} << 20;
  int jpeg_scans = 100;
  /// Pixels times scans of a progressive JPEG: each scan may visit every pixel.
  index_t jpeg_scan_pixels = index_t{400} << 20;
  /// Bytes that a PNG's data inflates to.
  std::uint64_t png_bytes = std::uint64_t{80} << 20;
  /// Processor time, should all that still not suffice.
  double seconds = 2;
};

namespace detail {

inline void check_size(const char* format, std::uint64_t width, std::uint64_t height, const PhotoLimits& limits) {
  if (width == 0 || height == 0) fail<FormatError>(std::string(format) + ": a picture without pixels");
  const auto side = static_cast<std::uint64_t>(limits.side);
  if (width <= side && height <= side && width * height <= static_cast<std::uint64_t>(limits.pixels)) return;
  fail<FormatError>(std::string(format) + ": " + std::to_string(width) + "x" + std::to_string(height) +
                    " pixels, more than allowed (sides of " + std::to_string(limits.side) + ", " +
                    std::to_string(limits.pixels >> 20) + " million pixels)");
}

inline void check_memory(const char* format, std::uint64_t needed, const PhotoLimits& limits) {
  if (needed <= limits.heap_bytes) return;
  fail<FormatError>(std::string(format) + ": decoding it needs " + std::to_string(needed >> 20) +
                    " MiB, more than the " + std::to_string(limits.heap_bytes >> 20) + " MiB allowed");
}

/// Processor time of this thread since it was made.
class Stopwatch {
 public:
  double seconds() const { return now() - start_; }

 private:
  static double now() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }
  double start_ = now();
};

}  // namespace detail
}  // namespace mien::photo
