// From a face's box to what a network is shown.
#pragma once

#include <cmath>

#include "fer/classes.hpp"
#include "mien/data/resize.hpp"

namespace mien::fer {

/// `box` enlarged by `margin` of its side on every side, in whole pixels.
inline PixelBox with_margin(const PixelBox& box, float margin) {
  const auto grow_x = static_cast<index_t>(std::lround(margin * static_cast<float>(box.width)));
  const auto grow_y = static_cast<index_t>(std::lround(margin * static_cast<float>(box.height)));
  return {box.x - grow_x, box.y - grow_y, box.width + 2 * grow_x, box.height + 2 * grow_y};
}

/// The face in `box` of a gray picture, with its margin, as 48x48 pixels: as pictures are read for personalization, so
/// that a personal head sees what it was trained on.
inline Image crop_face(const ImageView& gray, const PixelBox& box, float margin) {
  return crop_resize(gray, with_margin(box, margin), face_side, face_side);
}

}  // namespace mien::fer
