// Which scales are searched, and where their windows stand.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cascade/geometry.hpp"
#include "mien/core/error.hpp"

namespace mien::cascade {

/// One scale: the image is shrunk to `size`, and windows stand at every `step`-th pixel, `columns` in a row.
struct Level {
  float scale = 1.0F;
  Size size;
  int step = 1;
  int columns = 0;
  int rows = 0;
  Size box;  // of a detection, in pixels of the original
};

/// Most scales of one search; a scale factor very close to 1 would ask for more.
inline constexpr int max_levels = 20000;

namespace detail {

/// The scales 1, f, f^2, ... whose window fits the image and lies between the two sizes. Widths and heights below are
/// products in float, those that end the list in double: their roundings decide whether the last scale is searched.
inline void find_scales(Size window, Size image, double factor, Size smallest, Size largest, std::vector<float>& kept) {
  kept.clear();
  if (image.width < window.width || image.height < window.height) return;
  if (largest.width == 0 || largest.height == 0) largest = image;
  bool past_largest = false;
  float nearest = 1.0F;
  double nearest_distance = -1.0;
  int count = 0;
  for (double f = 1.0;; f *= factor) {
    if (round_even(rounded(window.width * f)) > image.width || round_even(rounded(window.height * f)) > image.height) {
      break;
    }
    if (++count > max_levels) {
      fail<ArgumentError>("scale factor " + std::to_string(factor) + " gives more than " + std::to_string(max_levels) +
                          " scales of this image: choose a larger one");
    }
    const auto scale = static_cast<float>(f);
    const int width = scaled(window.width, scale);
    const int height = scaled(window.height, scale);
    const double dx = static_cast<double>(smallest.width) - width;
    const double dy = static_cast<double>(smallest.height) - height;
    const double distance = dx * dx + dy * dy;
    if (nearest_distance < 0.0 || distance < nearest_distance) {
      nearest_distance = distance;
      nearest = scale;
    }
    past_largest = past_largest || width > largest.width || height > largest.height;
    if (!past_largest && width >= smallest.width && height >= smallest.height) kept.push_back(scale);
  }
  // Limits that no scale meets still search the one that comes nearest to the smallest size.
  if (kept.empty() && nearest_distance >= 0.0) kept.push_back(nearest);
}

/// Windows per row and rows of windows at every scale. OpenCV divides the rows among stripes whose number comes from
/// the first scale; where the division leaves a rest, the last row of windows is never looked at.
inline void place_windows(Size window, Size image, const std::vector<float>& scales, std::vector<Level>& levels) {
  levels.clear();
  int stripes = 0;
  for (const float scale : scales) {
    Level level;
    level.scale = scale;
    level.size = {round_even(rounded(static_cast<float>(image.width) / scale)),
                  round_even(rounded(static_cast<float>(image.height) / scale))};
    level.step = scale >= 2.0F ? 1 : 2;
    level.box = {scaled(window.width, scale), scaled(window.height, scale)};
    const int across = std::max(level.size.width + 1 - window.width, 0);
    const int down = std::max(level.size.height + 1 - window.height, 0);
    if (levels.empty()) stripes = (across + 31) / 32;
    const int stripe = std::max((down / level.step + stripes - 1) / std::max(stripes, 1), 1) * level.step;
    const int end = static_cast<int>(std::min<std::int64_t>(std::int64_t{stripes} * stripe, down));
    level.columns = (across + level.step - 1) / level.step;
    level.rows = (end + level.step - 1) / level.step;
    levels.push_back(level);
  }
}

}  // namespace detail
}  // namespace mien::cascade
