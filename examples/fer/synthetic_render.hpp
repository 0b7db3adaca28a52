// Draws a synthetic face: anti-aliased shapes given by signed distances, then light, blur and noise.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

#include "fer/synthetic_person.hpp"

namespace mien::fer::detail {

/// A 48x48 canvas that shapes are painted on one over another. Every pixel knows its place on the head (u, v) and, as
/// the head is turned, the place of the features that is seen there (fu, fv), in pixels from the face's middle.
class FaceCanvas {
 public:
  FaceCanvas(const Person& p, const Expression& e, const Picture& view) : person_(p), expr_(e), view_(view) {
    head_height_ = p.head_height + e.jaw_drop * 1.4f;
    const float c = std::cos(view.rotation) / view.scale, s = std::sin(view.rotation) / view.scale;
    for (int y = 0; y < face_side; ++y) {
      for (int x = 0; x < face_side; ++x) {
        const float dx = static_cast<float>(x) - 23.5f - view.shift_x,
                    dy = static_cast<float>(y) - 24.0f - view.shift_y;
        Place& q = places_[static_cast<std::size_t>(y * face_side + x)];
        q.u = c * dx + s * dy;
        q.v = -s * dx + c * dy;
        const float a = q.u / p.head_width, b = q.v / head_height_;
        const float depth = std::sqrt(std::max(0.0f, 1.0f - 0.8f * (a * a + b * b)));
        q.fu = q.u - view.yaw * depth;
        q.fv = q.v - view.pitch * depth;
      }
    }
  }

  void draw() {
    backdrop();
    head();
    hair();
    for (const float side : {-1.0f, 1.0f}) {
      eye(side);
      brow(side);
      marks(side);
    }
    nose();
    facial_hair();
    mouth();
    if (person_.glasses) glasses();
    shade();
  }

  /// Blur, camera response, noise, rounding to bytes. `noise` is the stream that pixel noise is taken from.
  void develop(const Random& noise, std::span<std::uint8_t> out) {
    blur();
    for (std::size_t i = 0; i < tone_.size(); i += 4) {
      const auto words = noise.block(i / 4);
      for (std::size_t k = 0; k < 4; ++k) {
        const float exposed = 0.5f + (tone_[i + k] - 0.5f) * view_.contrast + view_.brightness;
        const float value = exposed + view_.noise * bell(words[k]);
        out[i + k] = static_cast<std::uint8_t>(std::clamp(value * 255.0f + 0.5f, 0.0f, 255.0f));
      }
    }
  }

 private:
  struct Place {
    float u, v, fu, fv;
  };
  /// Where a feature may reach: middle and half extents, in feature coordinates. Spares most pixels its distance.
  struct Box {
    float x, y, half_x, half_y;
  };

  /// Nearly normal, mean 0 and variance 1: the sum of four random bytes.
  static float bell(std::uint32_t word) {
    const std::uint32_t sum = (word & 0xFFU) + ((word >> 8) & 0xFFU) + ((word >> 16) & 0xFFU) + (word >> 24);
    return (static_cast<float>(sum) - 510.0f) / 147.8f;
  }

  /// Paints `tone` where `distance(place)` is negative; the edge is `soft` pixels wide.
  template <class Distance>
  void paint(float tone, float opacity, float soft, Distance&& distance) {
    paint_pixels(0, face_side, 0, face_side, tone, opacity, soft, distance);
  }
  template <class Distance>
  void paint(const Box& box, float tone, float opacity, float soft, Distance&& distance) {
    const float c = std::cos(view_.rotation) * view_.scale, s = std::sin(view_.rotation) * view_.scale;
    // A feature seen at (fu, fv) lies up to (yaw, pitch) further on the head.
    const float u = box.x + 0.5f * view_.yaw, v = box.y + 0.5f * view_.pitch;
    const float half_u = box.half_x + soft + 0.5f * std::abs(view_.yaw);
    const float half_v = box.half_y + soft + 0.5f * std::abs(view_.pitch);
    const float x = 23.5f + view_.shift_x + c * u - s * v, y = 24.0f + view_.shift_y + s * u + c * v;
    const float half_x = std::abs(c) * half_u + std::abs(s) * half_v;
    const float half_y = std::abs(s) * half_u + std::abs(c) * half_v;
    const auto pixel = [](float at) { return static_cast<int>(std::clamp(at, 0.0f, static_cast<float>(face_side))); };
    paint_pixels(pixel(x - half_x), pixel(x + half_x + 2.0f), pixel(y - half_y), pixel(y + half_y + 2.0f), tone,
                 opacity, soft, distance);
  }
  template <class Distance>
  void paint_pixels(int x0, int x1, int y0, int y1, float tone, float opacity, float soft, Distance&& distance) {
    if (opacity <= 0.0f) return;
    for (int y = y0; y < y1; ++y) {
      for (int x = x0; x < x1; ++x) {
        const auto i = static_cast<std::size_t>(y * face_side + x);
        const float cover = 0.5f - distance(places_[i]) / soft;
        if (cover > 0.0f) tone_[i] += (tone - tone_[i]) * opacity * std::min(1.0f, cover);
      }
    }
  }

  /// Approximate distance to an ellipse around the origin (exact to first order at its edge).
  static float ellipse(float x, float y, float rx, float ry) {
    const float k = length(x / rx, y / ry), g = length(x / (rx * rx), y / (ry * ry));
    return g < 1e-6f ? -std::min(rx, ry) : k * (k - 1.0f) / g;
  }
  static float length(float x, float y) { return std::sqrt(x * x + y * y); }
  static float segment(float x, float y, float ax, float ay, float bx, float by) {
    const float dx = bx - ax, dy = by - ay;
    const float t = std::clamp(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0.0f, 1.0f);
    return length(x - ax - t * dx, y - ay - t * dy);
  }
  float egg(const Place& q, float grow) const {
    const float v = q.v / head_height_;
    const float narrow = 1.0f - person_.jaw * std::max(0.0f, v) * std::max(0.0f, v) * 1.3f;
    return ellipse(q.u, q.v, (person_.head_width + grow) * narrow, head_height_ + grow);
  }

  void backdrop() {
    for (std::size_t i = 0; i < tone_.size(); ++i) {
      const Place& q = places_[i];
      const float dx = q.u - view_.blob_x, dy = q.v - view_.blob_y;
      const float blob = std::exp(-(dx * dx + dy * dy) / 120.0f);
      tone_[i] = view_.background + view_.background_slope * q.u / 24.0f + view_.blob * blob;
    }
    const Person& p = person_;
    if (!p.bald) {
      paint(p.hair * 0.8f, 1.0f, 1.5f, [&](const Place& q) {
        const float back = ellipse(q.u, q.v + 2.0f, p.head_width + p.hair_volume, head_height_ + p.hair_volume - 0.5f);
        const float hanging = std::max(std::abs(q.u) - p.head_width - p.hair_volume + 0.4f, -q.v - 2.0f);
        return p.long_hair ? std::min(back, hanging) : std::max(back, q.v - 1.0f);
      });
    }
    paint(p.clothes, 1.0f, 1.5f,
          [&](const Place& q) { return head_height_ + 1.5f - q.v - 0.0f + std::abs(q.u) * 0.12f; });
    paint(p.skin * 0.72f, 1.0f, 1.5f,
          [&](const Place& q) { return std::max(std::abs(q.u) - p.head_width * 0.55f, head_height_ * 0.6f - q.v); });
    for (const float side : {-1.0f, 1.0f}) {
      paint(p.skin * 0.88f, p.long_hair ? 0.2f : 1.0f, 1.2f, [&](const Place& q) {
        return ellipse(q.u - side * (p.head_width + 0.3f) + view_.yaw * 0.4f, q.v + 1.0f, 2.0f, 3.6f);
      });
    }
  }

  void head() {
    paint(person_.skin, 1.0f, 1.2f, [&](const Place& q) { return egg(q, 0.0f); });
    // Sockets and the hollow of the cheeks.
    for (const float side : {-1.0f, 1.0f}) {
      paint(Box{side * person_.eye_x, person_.eye_y, 7.5f, 6.5f}, 0.0f, 0.20f, 5.0f, [&](const Place& q) {
        return ellipse(q.fu - side * person_.eye_x * 0.93f, q.fv - person_.eye_y + 0.7f, 5.0f, 3.4f);
      });
      paint(Box{side * 11.5f, 8.0f, 5.0f, 8.0f}, 0.0f, 0.07f, 6.0f,
            [&](const Place& q) { return ellipse(q.fu - side * 11.5f, q.fv - 8.0f, 3.0f, 6.0f); });
    }
  }

  void hair() {
    const Person& p = person_;
    if (p.bald) return;
    paint(p.hair, 1.0f, 1.4f, [&](const Place& q) {
      const float x = q.fu / p.head_width;
      const float line = -p.hairline + p.fringe * std::cos(3.0f * (x - p.parting)) + 7.0f * x * x * x * x;
      return std::max(q.fv - line, egg(q, p.hair_volume));
    });
    if (p.long_hair) {
      paint(p.hair, 1.0f, 1.4f, [&](const Place& q) {
        return std::max(p.head_width * (0.97f - 0.004f * (q.v + 8.0f)) - std::abs(q.u),
                        std::abs(q.u) - p.head_width - p.hair_volume);
      });
    }
    paint(p.hair + 0.25f, 0.35f, 3.0f,
          [&](const Place& q) { return ellipse(q.fu - 6.0f * p.parting, q.fv + p.hairline + 4.5f, 5.0f, 1.4f); });
  }

  void eye(float side) {
    const Box box{side * person_.eye_x, person_.eye_y, 5.0f, 5.0f};
    const Person& p = person_;
    const Expression& e = expr_;
    const float up = p.eye_height * e.eye_open;
    const float low = p.eye_height * 0.62f * std::max(0.1f, (0.5f + 0.5f * std::min(1.15f, e.eye_open)) - e.lower_lid);
    const auto local_x = [&](const Place& q) { return (side * q.fu - p.eye_x) / p.eye_width; };
    const auto middle = [&](float x) { return p.eye_y - p.eye_tilt * x; };
    const auto upper = [&](float x) { return middle(x) - up * (1.0f - x * x); };
    const auto lower = [&](float x) { return middle(x) + low * (1.0f - x * x); };
    const auto opening = [&](const Place& q) {
      const float x = local_x(q);
      return std::max({upper(x) - q.fv, q.fv - lower(x), (std::abs(x) - 1.0f) * p.eye_width});
    };
    const float gx = e.gaze_x, gy = e.gaze_y * 0.6f - 0.1f * up;
    const float radius = p.eye_height * 1.02f;
    const auto iris = [&](const Place& q) { return length(q.fu - side * p.eye_x - gx, q.fv - p.eye_y - gy); };
    paint(box, 0.62f + 0.3f * p.skin, 0.95f, 0.9f, opening);
    paint(box, p.iris, 1.0f, 0.8f, [&](const Place& q) { return std::max(opening(q), iris(q) - radius); });
    paint(box, 0.03f, 1.0f, 0.8f, [&](const Place& q) { return std::max(opening(q), iris(q) - radius * 0.5f); });
    paint(box, 1.0f, 0.8f, 0.8f, [&](const Place& q) {
      return std::max(opening(q), length(q.fu - side * p.eye_x - gx - 0.7f, q.fv - p.eye_y - gy + 0.7f) - 0.42f);
    });
    const auto lid = [&](const Place& q, float offset, float half) {
      const float x = local_x(q);
      return std::max(std::abs(q.fv - upper(x) + offset) - half, (std::abs(x) - 1.12f) * p.eye_width);
    };
    paint(box, 0.05f, 0.85f, 0.9f, [&](const Place& q) { return lid(q, 0.25f, 0.42f); });
    paint(box, 0.0f, p.lid_crease, 1.0f, [&](const Place& q) { return lid(q, 1.5f, 0.3f); });
    paint(box, 0.0f, 0.28f + 0.12f * p.age, 0.9f, [&](const Place& q) {
      const float x = local_x(q);
      return std::max(std::abs(q.fv - lower(x) - 0.2f) - 0.25f, (std::abs(x) - 0.95f) * p.eye_width);
    });
    // The bag under a raised lower lid, and crow's feet.
    paint(box, 0.0f, 0.10f + 0.3f * std::max(0.0f, e.lower_lid) + 0.1f * p.age, 1.4f, [&](const Place& q) {
      const float x = local_x(q);
      return std::max(std::abs(q.fv - lower(x) - 1.6f) - 0.3f, (std::abs(x + 0.1f) - 0.8f) * p.eye_width);
    });
  }

  void brow(float side) {
    const Box box{side * (person_.eye_x - 0.5f), person_.brow_y, 7.5f, 6.0f};
    const Person& p = person_;
    const Expression& e = expr_;
    const float inner = p.eye_x - p.brow_length * 0.58f - e.brow_pinch;
    paint(box, p.brow_tone, 0.9f, 1.0f, [&](const Place& q) {
      const float t = (side * q.fu - inner) / p.brow_length, s = std::clamp(t, 0.0f, 1.0f);
      const float y = p.brow_y - e.brow_inner * (1.0f - s) * (1.0f - s) - e.brow_outer * s * (2.0f - s) * 0.9f -
                      p.brow_arch * 4.0f * s * (1.0f - s) * 0.6f + 0.5f * s * s;
      return length((t - s) * p.brow_length, (q.fv - y) * 0.92f) - p.brow_thickness * (1.0f - 0.6f * s * s);
    });
  }

  /// Folds and bulges of the skin, on one side.
  void marks(float side) {
    const Box face{side * 5.0f, 0.0f, 6.5f, 15.0f};
    const Person& p = person_;
    const Expression& e = expr_;
    const float wide = p.mouth_width + e.mouth_wide;
    paint(face, 0.0f, 0.08f * p.age + 0.42f * e.fold, 1.6f, [&](const Place& q) {
      const float x = side * q.fu;
      const float bulge = 0.8f * std::sin(3.14f * std::clamp((q.fv - p.nose_y) / 7.0f, 0.0f, 1.0f));
      return segment(x - bulge, q.fv, p.nose_width + 0.9f, p.nose_y - 0.6f - 1.5f * e.nose_wrinkle, wide + 1.4f,
                     p.mouth_y - 1.2f - e.mouth_up) -
             0.45f;
    });
    paint(face, 1.0f, 0.22f * std::max(0.0f, e.cheek), 4.0f,
          [&](const Place& q) { return ellipse(side * q.fu - 9.3f, q.fv - 2.6f, 3.2f, 2.2f); });
    paint(face, 0.0f, 0.5f * e.furrow, 0.9f, [&](const Place& q) {
      return segment(side * q.fu, q.fv, 1.0f, p.brow_y - 1.2f, 1.25f, p.brow_y + 2.0f) - 0.35f;
    });
    for (const float row : {0.0f, 1.7f, 3.4f}) {
      paint(face, 0.0f, 0.42f * e.nose_wrinkle, 0.9f, [&](const Place& q) {
        return segment(side * q.fu, q.fv, 0.2f, p.eye_y + row - 0.6f, 2.1f, p.eye_y + row + 0.9f) - 0.3f;
      });
    }
    // Horizontal lines of the raised forehead, seen where there is no hair.
    for (const float row : {3.3f, 5.2f}) {
      paint(face, 0.0f, (0.3f + 0.3f * p.age) * e.forehead, 1.0f, [&](const Place& q) {
        const float y = p.brow_y - 2.0f - row + 0.02f * q.fu * q.fu;
        return std::max({std::abs(q.fv - y) - 0.3f, std::abs(q.fu) - 8.0f, -side * q.fu, -q.fv - p.hairline});
      });
    }
  }

  void nose() {
    const Box box{0.0f, 0.5f * (person_.eye_y + person_.nose_y) + 1.5f, 6.5f, 8.0f};
    const Person& p = person_;
    const float y = p.nose_y - 0.9f * expr_.nose_wrinkle;
    const float lit = view_.light_x >= 0.0f ? -1.0f : 1.0f;  // the side away from the light is dark
    const float turn = view_.yaw * 0.35f;                    // the nose stands out of the face
    paint(box, 0.0f, p.nose_shadow, 2.2f, [&](const Place& q) {
      return segment(q.fu - turn, q.fv, lit * 1.5f, p.eye_y + 1.0f, lit * 2.0f, y - 0.5f) - 0.4f;
    });
    paint(box, 1.0f, 0.22f, 2.0f,
          [&](const Place& q) { return segment(q.fu - turn, q.fv, 0.0f, -2.0f, 0.0f, y - 1.2f) - 0.5f; });
    for (const float side : {-1.0f, 1.0f}) {
      paint(box, 0.0f, 0.62f, 0.9f, [&](const Place& q) {
        return ellipse(q.fu - turn - side * p.nose_width * 0.55f, q.fv - y - 0.5f, 0.85f, 0.5f);
      });
      paint(box, 0.0f, 0.30f, 1.0f, [&](const Place& q) {
        return std::abs(ellipse(q.fu - turn - side * p.nose_width * 0.72f, q.fv - y + 0.4f, 1.25f, 1.4f)) -
               (side * (q.fu - turn) > p.nose_width * 0.8f ? 0.3f : -2.0f);
      });
    }
    paint(box, 0.0f, 0.16f, 1.6f, [&](const Place& q) { return ellipse(q.fu - turn, q.fv - y - 1.5f, 2.4f, 0.6f); });
    paint(box, 0.0f, 0.08f, 1.6f,
          [&](const Place& q) { return segment(q.fu, q.fv, 0.0f, y + 2.0f, 0.0f, y + 4.0f) - 0.6f; });
  }

  void facial_hair() {
    const Box jaw{0.0f, person_.mouth_y + 1.0f, 18.0f, 13.0f};
    const Person& p = person_;
    const float wide = p.mouth_width + expr_.mouth_wide;
    paint(jaw, p.brow_tone, p.beard, 3.5f, [&](const Place& q) {
      const float reach = p.mouth_y - 3.0f - 0.022f * q.fu * q.fu;
      return std::max({egg(q, 0.0f), reach - q.fv, 2.6f - length(q.fu * 0.55f, q.fv - p.mouth_y)});
    });
    paint(jaw, p.brow_tone, p.moustache, 1.8f, [&](const Place& q) {
      return std::max(std::abs(q.fv - p.mouth_y + 3.2f + expr_.mouth_up - 0.03f * q.fu * q.fu) - 0.9f,
                      std::abs(q.fu) - wide * 0.95f);
    });
  }

  void mouth() {
    const Box box{0.0f, person_.mouth_y + 2.5f, 11.0f, 10.5f};
    const Person& p = person_;
    const Expression& e = expr_;
    const float wide = std::max(2.4f, p.mouth_width + e.mouth_wide);
    const float y = p.mouth_y - e.mouth_up + 0.3f * e.mouth_open;
    const float square = 0.9f * e.mouth_square;
    const auto bow = [&](float x) {
      const float s = std::max(0.0f, 1.0f - x * x);
      return s + square * (std::sqrt(s) - s);
    };
    const auto line = [&](float x) { return y - e.mouth_curve * (x * x - 0.35f) - e.mouth_skew * x * std::abs(x); };
    const auto top = [&](float x) { return line(x) - e.mouth_open * e.upper_share * bow(x); };
    const auto bottom = [&](float x) { return line(x) + e.mouth_open * (1.0f - e.upper_share) * bow(x); };
    const auto within = [&](const Place& q) { return (std::abs(q.fu / wide) - 1.0f) * wide; };
    const float press = 1.0f - 0.7f * e.lip_press;
    // Lips, drawn as the opening grown upwards and downwards, then the inside over them.
    paint(box, p.lips, 0.9f, 1.0f, [&](const Place& q) {
      const float x = q.fu / wide, cupid = 1.0f - 0.35f * std::exp(-40.0f * x * x);
      const float upper = top(x) - p.lip_upper * press * cupid * bow(x),
                  lower = bottom(x) + p.lip_lower * press * bow(x);
      return std::max({upper - q.fv, q.fv - lower, within(q)});
    });
    paint(box, 1.0f, 0.16f * press, 1.6f, [&](const Place& q) {
      const float x = q.fu / wide;
      return std::max(std::abs(q.fv - bottom(x) - p.lip_lower * 0.5f) - 0.3f, std::abs(q.fu) - wide * 0.45f);
    });
    const auto inside = [&](const Place& q) {
      const float x = q.fu / wide;
      return std::max({top(x) - q.fv, q.fv - bottom(x), within(q)});
    };
    if (e.mouth_open > 0.35f) {
      paint(box, 0.06f, 0.95f, 0.9f, inside);
      paint(box, 0.30f, 0.6f, 1.6f, [&](const Place& q) {  // tongue
        return std::max(inside(q), ellipse(q.fu, q.fv - bottom(0.0f) - 0.2f, wide * 0.55f, e.mouth_open * 0.35f));
      });
      const float height = std::min(2.3f, e.mouth_open * 0.62f);
      paint(box, 0.9f, e.teeth_upper, 0.8f, [&](const Place& q) {
        const float x = q.fu / wide;
        return std::max({inside(q), q.fv - top(x) - height * (1.0f - 0.4f * x * x), std::abs(q.fu) - wide * 0.88f});
      });
      paint(box, 0.8f, e.teeth_lower, 0.8f, [&](const Place& q) {
        const float x = q.fu / wide;
        return std::max({inside(q), bottom(x) - q.fv - height * 0.6f, std::abs(q.fu) - wide * 0.75f});
      });
    } else {
      paint(box, 0.04f, 0.75f, 0.9f, [&](const Place& q) {
        return std::max(std::abs(q.fv - line(q.fu / wide)) - 0.32f, std::abs(q.fu) - wide);
      });
    }
    for (const float side : {-1.0f, 1.0f}) {  // corners
      paint(box, 0.0f, 0.35f, 1.2f,
            [&](const Place& q) { return length(q.fu - side * wide, q.fv - line(side)) - 0.5f; });
    }
    const float under = bottom(0.0f) + p.lip_lower * press + 1.3f;
    paint(box, 0.0f, 0.16f + 0.25f * std::max(0.0f, e.chin), 2.0f,
          [&](const Place& q) { return ellipse(q.fu, q.fv - under - 0.03f * q.fu * q.fu, wide * 0.55f, 0.6f); });
    paint(box, 1.0f, 0.10f + 0.10f * std::max(0.0f, e.chin), 3.0f,
          [&](const Place& q) { return ellipse(q.fu, q.fv - under - 3.0f, 3.2f, 1.6f); });
  }

  void glasses() {
    const Box around{0.0f, person_.eye_y, 15.0f, 6.0f};
    const Person& p = person_;
    for (const float side : {-1.0f, 1.0f}) {
      paint(around, 0.05f, 0.8f, 0.9f, [&](const Place& q) {
        return std::abs(ellipse(q.fu - side * p.eye_x, q.fv - p.eye_y - 0.3f, p.eye_width + 1.6f, 3.9f)) - 0.35f;
      });
    }
    paint(around, 0.05f, 0.8f, 0.9f, [&](const Place& q) {
      const float reach = p.eye_x - p.eye_width - 1.6f;
      return std::max(std::abs(q.fv - p.eye_y + 0.6f) - 0.35f, std::abs(q.fu) - reach);
    });
  }

  /// Light on the head as on an ellipsoid, and a gradient over everything.
  void shade() {
    const float norm = std::sqrt(view_.light_x * view_.light_x + view_.light_y * view_.light_y + 1.0f);
    for (std::size_t i = 0; i < tone_.size(); ++i) {
      const Place& q = places_[i];
      const float a = q.u / (person_.head_width * 1.06f), b = q.v / (head_height_ * 1.06f);
      const float c = std::sqrt(std::max(0.0f, 1.0f - a * a - b * b));
      const float facing = (a * view_.light_x + b * view_.light_y + c) / norm;
      const float inside = std::clamp(0.5f - egg(q, 0.5f) / 3.0f, 0.0f, 1.0f);
      const float lit = 1.0f + inside * view_.light * (facing - 0.65f);
      tone_[i] *= view_.ambient * lit * (1.0f + view_.gradient_x * q.u / 12.0f + view_.gradient_y * q.v / 12.0f);
    }
  }

  void blur() {
    if (view_.blur < 0.15f) return;
    std::array<float, 3> weight{};
    float sum = 0.0f;
    for (int k = 0; k < 3; ++k) {
      weight[static_cast<std::size_t>(k)] = std::exp(-0.5f * static_cast<float>(k * k) / (view_.blur * view_.blur));
      sum += weight[static_cast<std::size_t>(k)] * (k == 0 ? 1.0f : 2.0f);
    }
    for (const int step : {1, face_side}) {
      const std::array<float, face_pixels> from = tone_;
      for (int i = 0; i < face_pixels; ++i) {
        const int at = step == 1 ? i % face_side : i / face_side;
        float value = 0.0f;
        for (int k = -2; k <= 2; ++k) {
          const int near = std::clamp(at + k, 0, face_side - 1) - at;
          value += weight[static_cast<std::size_t>(std::abs(k))] * from[static_cast<std::size_t>(i + near * step)];
        }
        tone_[static_cast<std::size_t>(i)] = value / sum;
      }
    }
  }

  const Person& person_;
  const Expression& expr_;
  const Picture& view_;
  float head_height_ = 0;
  std::array<Place, face_pixels> places_{};
  std::array<float, face_pixels> tone_{};
};

}  // namespace mien::fer::detail
