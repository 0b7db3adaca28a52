// Finding objects in images: the counterpart of OpenCV's detectMultiScale.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cascade/geometry.hpp"
#include "cascade/group.hpp"
#include "cascade/image.hpp"
#include "cascade/kernels.hpp"
#include "cascade/levels.hpp"
#include "cascade/model.hpp"
#include "cascade/program.hpp"
#include "cascade/scan.hpp"
#include "cascade/strip.hpp"
#include "mien/core/cpu.hpp"
#include "mien/core/error.hpp"
#include "mien/core/threads.hpp"

namespace mien::cascade {

struct Options {
  /// Ratio of neighbouring scales, above 1.
  double scale_factor = 1.1;
  /// How many windows beside the first must agree on a detection. 0: every window that passes is returned, ungrouped.
  int min_neighbors = 3;
  /// Smallest and largest detection. Zero: no limit. If no scale fits between them, the one nearest to the smallest is
  /// searched (as OpenCV does).
  Size min_size{};
  Size max_size{};
  /// Part of the image to search; empty: all of it. Detections are in coordinates of the whole image.
  Rect region{};
  /// Shares the work; the result does not depend on it. None: the calling thread alone.
  const Threads* threads = nullptr;
};

/// Searches images with one cascade. Keeps its buffers: from the second image of a size (and the same options) on,
/// nothing is allocated as long as no more than `room` windows pass. One detector serves one thread at a time; the
/// cascade, which it refers to and which must outlive it, serves any number of detectors.
///
/// Results are those of OpenCV 4.6 to 4.12 with one thread: the same rectangles in the same order. They depend neither
/// on the number of threads nor on the instruction set.
class Detector {
 public:
  /// `isa` caps the instruction set, for tests; what the machine lacks is not used.
  explicit Detector(const Cascade& cascade, Isa isa = Isa::amx) : cascade_(&cascade), kernels_(cascade, isa) {}
  explicit Detector(const Cascade&& cascade, Isa isa = Isa::amx) = delete;

  /// Windows that may pass without memory being asked for again. Photographs have hundreds of them.
  static constexpr std::size_t room = 65536;
  /// Largest side of an image; a larger one is refused.
  static constexpr int max_side = 32767;

  /// Detections in `image`; the vector is the detector's, valid until the next call. Colour is converted to gray as
  /// OpenCV does. Cost: about proportional to the number of windows, 1 / (1 - scale_factor^-2) per pixel of the first
  /// scale. Throws ArgumentError for a scale factor not above 1, negative sizes, a region outside the image, or an
  /// image without data.
  const std::vector<Detection>& detect(const ImageView& image, const Options& options = {}) {
    check(image, options);
    ImageView part = image;
    if (options.region != Rect{}) part = image.crop(options.region);
    found_.clear();
    if (part.width == 0 || part.height == 0) return found_;
    plan(part, options);
    const ImageView gray = to_gray_image(part);
    search(gray, options.threads);
    collect();
    if (options.min_neighbors > 0) grouper_.group(found_, options.min_neighbors);
    clip(part, options.region);
    return found_;
  }

 private:
  /// Rows [first, first + rows) of windows of a level: what one thread does at a time.
  struct Piece {
    int level = 0;
    int first = 0;
    int rows = 0;
    // What was found: part of a workspace's list.
    const detail::Workspace* workspace = nullptr;
    std::size_t first_hit = 0;
    std::size_t hits = 0;
  };

  static void check(const ImageView& image, const Options& options) {
    if (image.width < 0 || image.height < 0 || image.width > max_side || image.height > max_side) {
      fail<ArgumentError>("image of " + std::to_string(image.width) + "x" + std::to_string(image.height) +
                          " pixels: sides must be 0 to " + std::to_string(max_side));
    }
    const index_t row = static_cast<index_t>(image.width) * bytes_per_pixel(image.format);
    if (image.height > 0 && row > 0 && (image.data == nullptr || image.stride < row)) {
      fail<ArgumentError>("image without data, or with rows of " + std::to_string(image.stride) + " bytes where " +
                          std::to_string(row) + " are needed");
    }
    if (!(options.scale_factor > 1.0 && options.scale_factor <= 1e6)) {
      fail<ArgumentError>("scale factor " + std::to_string(options.scale_factor) + " is not in (1, 1e6]");
    }
    for (const Size& size : {options.min_size, options.max_size}) {
      if (size.width < 0 || size.height < 0) fail<ArgumentError>("negative smallest or largest size");
    }
  }

  /// Scales, pieces and tables for this size and these options, kept while they stay the same.
  void plan(const ImageView& image, const Options& options) {
    const Plan wanted{{image.width, image.height}, options.scale_factor, options.min_size, options.max_size};
    if (planned_ && wanted == plan_) return;
    planned_ = false;
    detail::find_scales(cascade_->window(), wanted.image, wanted.factor, wanted.smallest, wanted.largest, scales_);
    detail::place_windows(cascade_->window(), wanted.image, scales_, levels_);
    detail::make_tables(wanted.image, levels_, tables_);
    make_pieces();
    plan_ = wanted;
    planned_ = true;
  }

  void make_pieces() {
    pieces_.clear();
    std::size_t windows = 0;
    largest_piece_ = 0;
    int width = 0, height = 0;
    for (std::size_t i = 0; i < levels_.size(); ++i) {
      const Level& level = levels_[i];
      if (level.columns == 0 || level.rows == 0) continue;
      // Every piece computes the pixels of its rows by itself, those that windows of the next reach down to included:
      // the taller the piece, the less is computed twice; the lower, the better it stays in the cache and the more
      // threads it keeps busy.
      const int tall = std::max(detail::piece_pixels, 2 * cascade_->window().height);
      const int rows_per_piece = std::max(1, tall / level.step);
      const int pieces = (level.rows + rows_per_piece - 1) / rows_per_piece;
      for (int p = 0; p < pieces; ++p) {
        Piece& piece = pieces_.emplace_back();
        piece.level = static_cast<int>(i);
        piece.first = static_cast<int>(static_cast<index_t>(level.rows) * p / pieces);
        piece.rows = static_cast<int>(static_cast<index_t>(level.rows) * (p + 1) / pieces) - piece.first;
        const std::size_t here = static_cast<std::size_t>(piece.rows) * static_cast<std::size_t>(level.columns);
        largest_piece_ = std::max(largest_piece_, here);
        windows += here;
        height = std::max(height, (piece.rows - 1) * level.step + cascade_->window().height);
      }
      width = std::max(width, level.size.width);
    }
    room_ = std::min(windows, room);
    found_.reserve(room_);
    grouper_.reserve(room_, levels_.size());
    shape_ = detail::StripShape(width, height, *cascade_);
    kernels_.compile(shape_);
  }

  ImageView to_gray_image(const ImageView& image) {
    if (image.format == PixelFormat::gray) return image;
    gray_.resize(static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height));
    to_gray(image, gray_.data(), image.width);
    return {gray_.data(), image.width, image.height, image.width, PixelFormat::gray};
  }

  void search(const ImageView& gray, const Threads* threads) {
    const int workers = threads != nullptr ? threads->count() : 1;
    while (buffers_.size() < static_cast<std::size_t>(workers)) {
      buffers_.push_back(std::make_unique<detail::Workspace>());
    }
    for (auto& buffer : buffers_) {
      buffer->taken.store(false, std::memory_order_relaxed);
      kernels_.reserve(shape_, largest_piece_, *buffer);
      buffer->hits.reserve(room_);
      buffer->hits.clear();
    }
    const auto pieces = static_cast<index_t>(pieces_.size());
    const auto work = [&](index_t i) {
      detail::Workspace* buffer = nullptr;
      for (std::size_t k = 0; buffer == nullptr; k = (k + 1) % buffers_.size()) {
        if (!buffers_[k]->taken.exchange(true, std::memory_order_acquire)) buffer = buffers_[k].get();
      }
      Piece& piece = pieces_[static_cast<std::size_t>(i)];
      const Level& level = levels_[static_cast<std::size_t>(piece.level)];
      const detail::Tables::Entry entry = tables_.entries[static_cast<std::size_t>(piece.level)];
      detail::build_strip(kernels_.rows(), gray, level, tables_.taps.data() + entry.horizontal,
                          tables_.taps.data() + entry.vertical, piece.first * level.step,
                          (piece.rows - 1) * level.step + cascade_->window().height, shape_, buffer->strip);
      const detail::Strip strip{buffer->strip.sums, buffer->strip.squares, piece.rows, level.columns, level.step,
                                piece.first};
      piece.workspace = buffer;
      piece.first_hit = buffer->hits.size();
      kernels_.scan(strip, *buffer, buffer->hits);
      piece.hits = buffer->hits.size() - piece.first_hit;
      buffer->taken.store(false, std::memory_order_release);
    };
    if (threads != nullptr) {
      threads->parallel_for(pieces, work);
    } else {
      for (index_t i = 0; i < pieces; ++i) work(i);
    }
  }

  /// Candidates in the order of scales, rows and columns.
  void collect() {
    const int stages = static_cast<int>(cascade_->stages().size());
    for (const Piece& piece : pieces_) {
      const Level& level = levels_[static_cast<std::size_t>(piece.level)];
      for (std::size_t i = 0; i < piece.hits; ++i) {
        const detail::Hit& hit = piece.workspace->hits[piece.first_hit + i];
        const Rect box{detail::scaled(hit.column * level.step, level.scale),
                       detail::scaled(hit.row * level.step, level.scale), level.box.width, level.box.height};
        found_.push_back({box, 1, stages, hit.weight});
      }
    }
  }

  /// Rounding may push a box beyond the image by a pixel. Cutting comes after grouping.
  void clip(const ImageView& image, const Rect& region) {
    std::size_t kept = 0;
    for (Detection one : found_) {
      const int right = std::min(one.box.x + one.box.width, image.width);
      const int bottom = std::min(one.box.y + one.box.height, image.height);
      one.box.width = right - one.box.x;
      one.box.height = bottom - one.box.y;
      if (one.box.width <= 0 || one.box.height <= 0) continue;
      one.box.x += region.x;
      one.box.y += region.y;
      found_[kept++] = one;
    }
    found_.resize(kept);
  }

  struct Plan {
    Size image;
    double factor = 0.0;
    Size smallest;
    Size largest;
    friend bool operator==(const Plan&, const Plan&) = default;
  };

  const Cascade* cascade_;
  detail::Kernels kernels_;
  bool planned_ = false;
  Plan plan_;
  std::vector<float> scales_;
  std::vector<Level> levels_;
  detail::Tables tables_;
  std::vector<Piece> pieces_;
  std::size_t largest_piece_ = 0;  // windows
  std::size_t room_ = 0;
  detail::StripShape shape_;
  std::vector<std::unique_ptr<detail::Workspace>> buffers_;
  std::vector<std::uint8_t> gray_;
  std::vector<Detection> found_;
  detail::Grouper grouper_;
};

/// One search, with a detector of its own.
inline std::vector<Detection> detect(const Cascade& cascade, const ImageView& image, const Options& options = {}) {
  return Detector(cascade).detect(image, options);
}

}  // namespace mien::cascade
