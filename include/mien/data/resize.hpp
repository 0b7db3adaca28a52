// Cutting a box out of an image and bringing it to a size.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"
#include "mien/data/pixels.hpp"

namespace mien {

/// A rectangle of pixels: columns x to x + width, rows y to y + height.
struct PixelBox {
  index_t x = 0;
  index_t y = 0;
  index_t width = 0;
  index_t height = 0;
};

namespace detail {

/// How the pixels of one output row or column are summed from the source's: `taps[first[i]]` to `taps[first[i + 1]]`.
struct ResizeAxis {
  struct Tap {
    index_t source;
    float weight;
  };
  std::vector<Tap> taps;
  std::vector<std::size_t> first;
};

/// Axis from `length` source positions, beginning at `start` of an image of `limit` pixels whose border pixels go on
/// outwards, to `size` positions. Shrinking: the mean over the area that an output pixel covers. Enlarging: linear
/// between pixel centres.
inline ResizeAxis resize_axis(index_t start, index_t length, index_t limit, index_t size) {
  ResizeAxis axis;
  const double scale = static_cast<double>(length) / static_cast<double>(size);
  const auto tap = [&](index_t position, double weight) {
    const index_t source = std::clamp<index_t>(start + position, 0, limit - 1);
    if (weight <= 0.0) return;
    if (axis.taps.size() > axis.first.back() && axis.taps.back().source == source) {
      axis.taps.back().weight += static_cast<float>(weight);
    } else {
      axis.taps.push_back({source, static_cast<float>(weight)});
    }
  };
  for (index_t i = 0; i < size; ++i) {
    axis.first.push_back(axis.taps.size());
    if (length > size) {
      const double low = static_cast<double>(i) * scale;
      const double high = std::min(low + scale, static_cast<double>(length));
      for (auto position = static_cast<index_t>(low); static_cast<double>(position) < high; ++position) {
        const double left = std::max(low, static_cast<double>(position));
        const double right = std::min(high, static_cast<double>(position + 1));
        // Slivers by rounding of `scale` would only add a pixel of weight zero.
        if (right - left > 1e-6) tap(position, (right - left) / scale);
      }
    } else {
      // Between the centres of the box's own pixels: none outside it takes part.
      const double centre = (static_cast<double>(i) + 0.5) * scale - 0.5;
      const double position = std::clamp(centre, 0.0, static_cast<double>(length - 1));
      const auto left = static_cast<index_t>(position);
      const double fraction = position - static_cast<double>(left);
      tap(left, 1.0 - fraction);
      if (left + 1 < length) tap(left + 1, fraction);
    }
  }
  axis.first.push_back(axis.taps.size());
  return axis;
}

/// One source row brought to the new width.
template <std::size_t channels>
void narrow_row(const std::uint8_t* source, const ResizeAxis& columns, float* target) {
  for (std::size_t x = 0; x + 1 < columns.first.size(); ++x, target += channels) {
    float sum[channels] = {};
    for (std::size_t t = columns.first[x]; t < columns.first[x + 1]; ++t) {
      const ResizeAxis::Tap tap = columns.taps[t];
      const std::uint8_t* pixel = source + tap.source * static_cast<index_t>(channels);
      for (std::size_t c = 0; c < channels; ++c) sum[c] += tap.weight * static_cast<float>(pixel[c]);
    }
    for (std::size_t c = 0; c < channels; ++c) target[c] = sum[c];
  }
}

}  // namespace detail

/// The part `box` of `image`, brought to width x height pixels. Where the box leaves the image, the border pixels go on
/// outwards. An axis that shrinks averages over the area that each new pixel covers (OpenCV's INTER_AREA), one that
/// grows is linear between pixel centres (INTER_LINEAR), one of equal length is copied; results are rounded to nearest.
/// Cost: one pass over the box in float.
/// Throws ShapeError for an empty image or one of other than 1 or 3 channels, ArgumentError for a box or size that is
/// empty or beyond 16,384, or a box that begins more than 2^30 pixels away.
inline Image crop_resize(const ImageView& image, const PixelBox& box, index_t width, index_t height) {
  if (image.data == nullptr || image.width < 1 || image.height < 1 || (image.channels != 1 && image.channels != 3)) {
    fail<ShapeError>(
        {"cannot resize an image of ", image.width, "x", image.height, " pixels in ", image.channels, " channels"});
  }
  constexpr index_t longest = 16384;
  const auto side = [](index_t length) { return length >= 1 && length <= longest; };
  const auto place = [](index_t position) { return position >= -(index_t{1} << 30) && position <= index_t{1} << 30; };
  if (!side(box.width) || !side(box.height) || !side(width) || !side(height) || !place(box.x) || !place(box.y)) {
    fail<ArgumentError>({"cannot resize a box of ", box.width, "x", box.height, " pixels at (", box.x, ", ", box.y,
                         ") to ", width, "x", height, ": sides are 1 to 16384"});
  }
  const auto columns = detail::resize_axis(box.x, box.width, image.width, width);
  const auto rows = detail::resize_axis(box.y, box.height, image.height, height);
  const index_t channels = image.channels;
  const auto values = static_cast<std::size_t>(width * channels);

  // Source rows brought to the new width. Neighbouring output rows share at most their last and first one.
  std::vector<float> line(values), kept(values), sum(values);
  index_t line_row = -1, kept_row = -1;
  const auto narrowed = [&](index_t source_row) -> const std::vector<float>& {
    if (source_row == line_row) return line;
    std::swap(line, kept);
    std::swap(line_row, kept_row);
    if (source_row == line_row) return line;
    if (channels == 1) {
      detail::narrow_row<1>(image.row(source_row), columns, line.data());
    } else {
      detail::narrow_row<3>(image.row(source_row), columns, line.data());
    }
    line_row = source_row;
    return line;
  };

  Image result{width, height, channels, std::vector<std::uint8_t>(values * static_cast<std::size_t>(height))};
  std::uint8_t* target = result.pixels.data();
  for (std::size_t y = 0; y + 1 < rows.first.size(); ++y, target += values) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (std::size_t t = rows.first[y]; t < rows.first[y + 1]; ++t) {
      const std::vector<float>& source = narrowed(rows.taps[t].source);
      for (std::size_t v = 0; v < values; ++v) sum[v] += rows.taps[t].weight * source[v];
    }
    for (std::size_t v = 0; v < values; ++v) {
      target[v] = static_cast<std::uint8_t>(std::clamp(sum[v] + 0.5f, 0.0f, 255.0f));
    }
  }
  return result;
}

/// The whole image brought to width x height pixels; see crop_resize.
inline Image resize(const ImageView& image, index_t width, index_t height) {
  return crop_resize(image, {0, 0, image.width, image.height}, width, height);
}

/// The part `box` of `image` as it is, border pixels going on outwards; see crop_resize.
inline Image crop(const ImageView& image, const PixelBox& box) {
  return crop_resize(image, box, box.width, box.height);
}

}  // namespace mien
