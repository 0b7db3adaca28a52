// Draws what was found in a picture: boxes, labels and bars of probabilities.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "fer/classes.hpp"
#include "mien/data/resize.hpp"
#include "photo/canvas.hpp"

namespace mien::fer {

/// A face to draw.
struct DrawnFace {
  PixelBox box;
  std::vector<float> probabilities;  ///< of the seven expressions; none: the box alone
};

namespace detail {

inline constexpr photo::Colour black{}, white{255, 255, 255}, plain_frame{90, 220, 120};
/// One for each expression.
inline constexpr std::array<photo::Colour, class_count> class_colours = {
    {{230, 70, 60}, {130, 180, 60}, {170, 110, 220}, {250, 200, 50}, {90, 150, 240}, {250, 140, 50}, {190, 190, 190}}};

inline std::string percent(float share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.0f%%", 100.0 * static_cast<double>(share));
  return text;
}

inline bool overlap(const PixelBox& a, const PixelBox& b) {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

class FacePainter {
 public:
  FacePainter(Image& picture, const std::vector<DrawnFace>& faces) : canvas_(picture), faces_(faces) {}

  void run() {
    for (const DrawnFace& face : faces_) frame(face);
    bool columns = false;
    for (const DrawnFace& face : faces_) {
      if (face.probabilities.empty()) continue;
      label(face);
      if (const auto panel = panel_for(face)) {
        taken_.push_back(panel->place);
        draw_panel(face, *panel);
      } else {
        columns_below(face);
        columns = true;
      }
    }
    if (columns) legend();
  }

 private:
  static std::size_t best(const DrawnFace& face) {
    return static_cast<std::size_t>(std::max_element(face.probabilities.begin(), face.probabilities.end()) -
                                    face.probabilities.begin());
  }
  /// Size of letters beside a face.
  static index_t scale(const DrawnFace& face) { return std::clamp<index_t>(face.box.height / 90, 1, 8); }

  void frame(const DrawnFace& face) {
    const index_t t = std::clamp<index_t>(face.box.width / 60, 1, 6);
    const photo::Colour colour = face.probabilities.empty() ? plain_frame : class_colours[best(face)];
    // Dark on both sides, to show on any ground.
    canvas_.frame({face.box.x - 1, face.box.y - 1, face.box.width + 2, face.box.height + 2}, t + 2, black);
    canvas_.frame(face.box, t, colour);
  }

  /// The name of the likeliest expression, above the box or inside where there is no room.
  void label(const DrawnFace& face) {
    const std::size_t k = best(face);
    const std::string text = std::string(class_names[k]) + " " + percent(face.probabilities[k]);
    const index_t s = scale(face), width = photo::Canvas::text_width(text, s) + s, height = 11 * s;
    const index_t x = std::clamp<index_t>(face.box.x, 0, std::max<index_t>(0, canvas_.width() - width));
    const index_t y = face.box.y >= height ? face.box.y - height : std::max<index_t>(face.box.y, 0);
    canvas_.fill({x, y, width, height}, class_colours[k]);
    canvas_.text(x + s, y + s, text, s, black);
  }

  static constexpr index_t name_letters = 9, bar_letters = 6, percent_letters = 4;

  struct Panel {
    PixelBox place;
    index_t scale = 1;
  };

  /// Where the bars with names go: beside the box, below or above it, as large as there is room that no other face or
  /// panel takes.
  std::optional<Panel> panel_for(const DrawnFace& face) const {
    if (face.box.height < 70) return std::nullopt;
    for (index_t s = scale(face); s >= 1; --s) {
      const index_t width = (name_letters + bar_letters + percent_letters) * photo::glyph_advance * s + 4 * s;
      const index_t height = class_count * 10 * s + 3 * s;
      if (width > canvas_.width() || height > canvas_.height()) continue;
      const index_t beside = std::clamp<index_t>(face.box.y, 0, canvas_.height() - height);
      const index_t along = std::clamp<index_t>(face.box.x, 0, canvas_.width() - width);
      const index_t right = face.box.x + face.box.width, bottom = face.box.y + face.box.height;
      const PixelBox places[] = {{right + 2 * s, beside, width, height},
                                 {face.box.x - 2 * s - width, beside, width, height},
                                 {along, bottom + 2 * s, width, height},
                                 {along, face.box.y - 13 * scale(face) - height, width, height}};
      for (const PixelBox& place : places) {
        if (is_free(place)) return Panel{place, s};
      }
    }
    return std::nullopt;
  }

  bool is_free(const PixelBox& place) const {
    if (place.x < 0 || place.x + place.width > canvas_.width()) return false;
    if (place.y < 0 || place.y + place.height > canvas_.height()) return false;
    return std::none_of(taken_.begin(), taken_.end(), [&](const PixelBox& p) { return overlap(place, p); }) &&
           std::none_of(faces_.begin(), faces_.end(), [&](const DrawnFace& f) { return overlap(place, f.box); });
  }

  void draw_panel(const DrawnFace& face, const Panel& panel) {
    const auto& [place, s] = panel;
    const index_t advance = photo::glyph_advance * s, longest = bar_letters * advance;
    canvas_.fill(place, black, 190);
    for (std::size_t k = 0; k < class_count; ++k) {
      const float share = face.probabilities[k];
      const index_t y = place.y + 2 * s + static_cast<index_t>(k) * 10 * s;
      const index_t x = place.x + 2 * s + name_letters * advance;
      canvas_.text(place.x + 2 * s, y, class_names[k], s, class_colours[k]);
      const auto length = static_cast<index_t>(std::lround(share * static_cast<float>(longest)));
      canvas_.fill({x, y + s, longest, 6 * s}, white, 40);
      canvas_.fill({x, y + s, std::max<index_t>(length, 1), 6 * s}, class_colours[k]);
      const std::string text = percent(share);
      canvas_.text(place.x + place.width - s - photo::Canvas::text_width(text, s), y, text, s, white);
    }
  }

  /// A column for each expression under the box, or in its lower part at the picture's edge.
  void columns_below(const DrawnFace& face) {
    const index_t height = std::max<index_t>(8, face.box.height / 3), width = face.box.width;
    const index_t y = std::min(face.box.y + face.box.height + 2, canvas_.height() - height);
    canvas_.fill({face.box.x, y, width, height}, black, 150);
    for (std::size_t k = 0; k < class_count; ++k) {
      const auto i = static_cast<index_t>(k);
      const auto length = static_cast<index_t>(std::lround(face.probabilities[k] * static_cast<float>(height)));
      const index_t left = face.box.x + width * i / class_count, right = face.box.x + width * (i + 1) / class_count;
      canvas_.fill({left, y + height - length, std::max<index_t>(1, right - left - 1), length}, class_colours[k]);
    }
  }

  /// What the columns' colours mean, along the lower edge.
  void legend() {
    index_t letters = 0;
    for (const auto name : class_names) letters += static_cast<index_t>(name.size()) + 1;
    const index_t s = std::clamp<index_t>(canvas_.width() / (letters * photo::glyph_advance), 1, 3);
    const index_t y = canvas_.height() - 11 * s;
    canvas_.fill({0, y, canvas_.width(), 11 * s}, black, 150);
    index_t x = s;
    for (std::size_t k = 0; k < class_count; ++k) {
      canvas_.text(x, y + s, class_names[k], s, class_colours[k]);
      x += photo::Canvas::text_width(class_names[k], s) + photo::glyph_advance * s;
    }
  }

  photo::Canvas canvas_;
  const std::vector<DrawnFace>& faces_;
  std::vector<PixelBox> taken_;
};

}  // namespace detail

/// `picture` (RGB) with the faces drawn into it, shrunk first if its longer side exceeds `longest_side` (0: as it is).
inline Image draw_faces(Image picture, std::vector<DrawnFace> faces, index_t longest_side) {
  const index_t longer = std::max(picture.width, picture.height);
  if (longest_side > 0 && longer > longest_side) {
    const double share = static_cast<double>(longest_side) / static_cast<double>(longer);
    const auto scaled = [&](index_t value) {
      return static_cast<index_t>(std::lround(share * static_cast<double>(value)));
    };
    picture =
        resize(picture, std::max<index_t>(1, scaled(picture.width)), std::max<index_t>(1, scaled(picture.height)));
    for (DrawnFace& face : faces) {
      face.box = {scaled(face.box.x), scaled(face.box.y), std::max<index_t>(1, scaled(face.box.width)),
                  std::max<index_t>(1, scaled(face.box.height))};
    }
  }
  detail::FacePainter(picture, faces).run();
  return picture;
}

}  // namespace mien::fer
