// Options of the programs that find faces.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cascade/detector.hpp"
#include "cascade/xml.hpp"
#include "fer/program.hpp"
#include "mien/core/error.hpp"
#include "mien/core/threads.hpp"

namespace mien::fer {

/// Where Debian's opencv-data puts it.
inline constexpr const char* default_cascade = "/usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml";

struct DetectionOptions {
  std::string cascade = default_cascade;
  double scale_factor = 1.1;
  int min_neighbors = 3, min_size = 0, max_size = 0;

  void add_to(CLI::App& app) {
    app.add_option("--cascade", cascade, "Cascade, an XML file of OpenCV's")->check(not_empty())->capture_default_str();
    app.add_option("--scale-factor", scale_factor, "Ratio of neighbouring scales, above 1")->capture_default_str();
    app.add_option("--min-neighbors", min_neighbors,
                   "Overlapping windows that a face needs beside the first; 0: list all")
        ->check(CLI::Range(0, 1 << 20))
        ->capture_default_str();
    app.add_option("--min-size", min_size, "Smallest face in pixels; 0: the cascade's window")
        ->check(CLI::Range(0, 1 << 20));
    app.add_option("--max-size", max_size, "Largest face in pixels; 0: the picture")->check(CLI::Range(0, 1 << 20));
  }

  /// What the detector needs. Throws ArgumentError for a scale factor that it would refuse, before any picture is read.
  cascade::Options for_detector(const Threads& threads) const {
    if (!(scale_factor > 1 && scale_factor <= 1e6)) {
      fail<ArgumentError>("--scale-factor " + std::to_string(scale_factor) + " is not above 1, or is above a million");
    }
    if (max_size > 0 && max_size < min_size) {
      fail<ArgumentError>("--max-size " + std::to_string(max_size) + " is below --min-size " +
                          std::to_string(min_size));
    }
    cascade::Options options;
    options.scale_factor = scale_factor;
    options.min_neighbors = min_neighbors;
    options.min_size = {min_size, min_size};
    options.max_size = {max_size, max_size};
    options.threads = &threads;
    return options;
  }

  /// Reads the cascade. Throws FileError and FormatError.
  cascade::Cascade load() const {
    try {
      return cascade::load_cascade(cascade);
    } catch (const FileError& error) {
      const bool usual = cascade == default_cascade;
      fail<FileError>(error.what() +
                      std::string(usual ? " (Debian: opencv-data has it; --cascade names another)" : ""));
    }
  }
};

}  // namespace mien::fer
