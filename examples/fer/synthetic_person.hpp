// What a synthetic face is made of: a person (fixed), an expression and a picture-taking (both new for each take).
#pragma once

#include <cstdint>

#include "fer/classes.hpp"
#include "mien/core/random.hpp"

namespace mien::fer::detail {

/// Consecutive values of one counter-based stream, so that parameters can be drawn one after another.
class Draws {
 public:
  Draws(std::uint64_t seed, std::uint64_t step) : random_(seed, 0x66616365U /* "face" */, step) {}
  float uniform(float low, float high) { return random_.uniform(next_++, low, high); }
  /// Normal around `mean`, cut at 2.2 deviations: no monsters.
  float normal(float mean, float deviation) {
    const float z = random_.normal(next_++);
    return mean + deviation * (z < -2.2f ? -2.2f : z > 2.2f ? 2.2f : z);
  }
  bool chance(float p) { return random_.uniform(next_++) < p; }
  int below(int bound) { return static_cast<int>(random_.below(next_++, static_cast<std::uint32_t>(bound))); }

 private:
  Random random_;
  std::uint64_t next_ = 0;
};

/// Lengths in pixels of the 48x48 picture with the face's middle as origin, y down; tones 0 (black) to 1 (white).
struct Person {
  float head_width, head_height, jaw;  // half axes; jaw > 0 narrows towards the chin
  float skin, hair, brow_tone, iris, lips, clothes;
  float eye_x, eye_y, eye_width, eye_height, eye_tilt, lid_crease;
  float brow_y, brow_length, brow_thickness, brow_arch;
  float nose_y, nose_width, nose_shadow;
  float mouth_y, mouth_width, lip_upper, lip_lower;
  float hairline, fringe, parting, hair_volume;
  bool long_hair, bald, glasses;
  float beard, moustache, age;
  // Habits: how this face differs when at rest. They are what makes a stranger's expression ambiguous.
  float rest_brow, rest_brow_tilt, rest_lids, rest_mouth, asymmetry, liveliness;
};

inline Person draw_person(std::uint64_t seed, index_t number, float habit) {
  Draws d(seed, static_cast<std::uint64_t>(number) << 24);
  Person p{};
  p.head_width = d.normal(16.4f, 0.8f);
  p.head_height = d.normal(20.8f, 0.8f);
  p.jaw = d.uniform(0.10f, 0.30f);
  p.skin = d.uniform(0.42f, 0.86f);
  p.hair = d.chance(0.2f) ? d.uniform(0.55f, 0.9f) : d.uniform(0.04f, 0.35f);
  p.brow_tone = p.hair * 0.7f;
  p.iris = d.uniform(0.08f, 0.38f);
  p.lips = p.skin * d.uniform(0.58f, 0.80f);
  p.clothes = d.uniform(0.05f, 0.95f);
  p.eye_x = d.normal(7.3f, 0.35f);
  p.eye_y = d.normal(-4.2f, 0.5f);
  p.eye_width = d.normal(3.7f, 0.25f);
  p.eye_height = d.normal(1.75f, 0.2f);
  p.eye_tilt = d.normal(0.0f, 0.25f);
  p.lid_crease = d.uniform(0.05f, 0.4f);
  p.brow_y = d.normal(-9.0f, 0.45f);
  p.brow_length = d.normal(7.6f, 0.5f);
  p.brow_thickness = d.uniform(0.55f, 1.35f);
  p.brow_arch = d.uniform(0.2f, 1.3f);
  p.nose_y = d.normal(4.2f, 0.6f);
  p.nose_width = d.normal(2.9f, 0.35f);
  p.nose_shadow = d.uniform(0.10f, 0.35f);
  p.mouth_y = d.normal(11.2f, 0.6f);
  p.mouth_width = d.normal(6.2f, 0.45f);
  p.lip_upper = d.uniform(0.6f, 1.5f);
  p.lip_lower = d.uniform(0.9f, 2.0f);
  p.hairline = d.uniform(12.5f, 17.5f);
  p.fringe = d.uniform(-1.5f, 2.5f);
  p.parting = d.uniform(-1.0f, 1.0f);
  p.hair_volume = d.uniform(1.0f, 3.2f);
  p.long_hair = d.chance(0.4f);
  p.bald = d.chance(0.06f);
  p.glasses = d.chance(0.12f);
  const bool hairy_face = !p.long_hair && d.chance(0.3f);
  p.beard = hairy_face ? d.uniform(0.1f, 0.75f) : 0.0f;
  p.moustache = hairy_face && d.chance(0.7f) ? d.uniform(0.2f, 0.85f) : 0.0f;
  p.age = d.uniform(0.0f, 1.0f);
  p.rest_brow = d.normal(0.0f, 0.28f) * habit;
  p.rest_brow_tilt = d.normal(0.0f, 0.28f) * habit;
  p.rest_lids = 1.0f + d.normal(0.0f, 0.07f) * habit;
  p.rest_mouth = d.normal(0.0f, 0.35f) * habit;
  p.asymmetry = d.normal(0.0f, 0.35f) * habit;
  p.liveliness = 1.0f + d.normal(0.0f, 0.09f) * habit;
  return p;
}

/// The facial muscles, at rest all zero (eye_open 1). Each class moves those of Ekman and Friesen's prototypes; the
/// action units are named beside them in draw_expression.
struct Expression {
  float brow_inner = 0, brow_outer = 0;  // pixels upwards
  float brow_pinch = 0;                  // pixels towards the middle
  float eye_open = 1, lower_lid = 0;     // opening as a factor; the lower lid raised by a share of it
  float gaze_x = 0, gaze_y = 0;
  float nose_wrinkle = 0, furrow = 0, forehead = 0, cheek = 0, fold = 0, chin = 0;  // strength 0..1 of marks
  float mouth_wide = 0, mouth_curve = 0, mouth_open = 0;  // pixels; a positive curve lifts the corners
  float mouth_up = 0, mouth_square = 0, mouth_skew = 0;   // whole mouth raised; squareness; one corner up
  float upper_share = 0.35f;                              // how much of the opening is above the middle line
  float teeth_upper = 0, teeth_lower = 0, lip_press = 0, jaw_drop = 0;
};

inline Expression draw_expression(Draws& d, const Person& p, int label) {
  Expression e;
  const float k = d.uniform(0.78f, 1.2f) * p.liveliness;  // how strongly it is shown
  switch (label) {
    case 0: {  // angry: brows lowered and together (4), lids (5, 7), lips (23, 24)
      const bool shouting = d.chance(0.33f);
      e.brow_inner = -3.1f * k;
      e.brow_outer = 0.2f * k;
      e.brow_pinch = 1.5f * k;
      e.furrow = 0.85f * k;
      e.eye_open = 1.0f - 0.12f * k;
      e.lower_lid = 0.15f * k;
      e.mouth_curve = -0.8f * k;
      if (shouting) {
        e.mouth_open = d.uniform(2.6f, 4.6f) * k;
        e.mouth_square = 0.8f;
        e.teeth_upper = 0.9f;
        e.teeth_lower = 0.8f;
        e.fold = 0.5f;
      } else {
        e.lip_press = 0.75f * k;
        e.mouth_wide = -0.5f * k;
        e.chin = 0.4f * k;
      }
      break;
    }
    case 1:  // disgust: nose wrinkled (9), upper lip raised (10), corners down (15), chin up (17)
      e.brow_inner = -1.5f * k;
      e.brow_outer = -0.6f * k;
      e.brow_pinch = 0.5f * k;
      e.eye_open = 1.0f - 0.42f * k;
      e.lower_lid = 0.35f * k;
      e.nose_wrinkle = 1.0f * k;
      e.fold = 0.95f * k;
      e.cheek = 0.4f * k;
      e.mouth_up = 1.1f * k;
      e.mouth_curve = -1.7f * k;
      e.mouth_open = d.uniform(0.5f, 2.6f) * k;
      e.upper_share = 0.85f;
      e.teeth_upper = 0.7f;
      e.mouth_skew = (d.chance(0.5f) ? 1.0f : -1.0f) * d.uniform(0.0f, 1.0f) * k;
      e.chin = 0.6f * k;
      break;
    case 2:  // fear: brows up and together (1, 2, 4), lids wide (5), lips stretched and apart (20, 25)
      e.brow_inner = 2.9f * k;
      e.brow_outer = 0.5f * k;
      e.brow_pinch = 1.2f * k;
      e.forehead = 0.45f * k;
      e.furrow = 0.25f * k;
      e.eye_open = 1.0f + 0.48f * k;
      e.mouth_wide = 1.3f * k;
      e.mouth_curve = -1.0f * k;
      e.mouth_open = d.uniform(1.2f, 3.2f) * k;
      e.mouth_square = 0.5f;
      e.teeth_upper = d.chance(0.5f) ? 0.7f : 0.1f;
      e.teeth_lower = d.chance(0.6f) ? 0.6f : 0.0f;
      break;
    case 3: {  // happy: cheeks raised (6), corners pulled up (12), often teeth
      const bool closed = d.chance(0.3f);
      e.brow_outer = 0.2f * k;
      e.eye_open = 1.0f - 0.2f * k;
      e.lower_lid = 0.4f * k;
      e.cheek = 0.9f * k;
      e.fold = 0.75f * k;
      e.mouth_wide = 1.7f * k;
      e.mouth_curve = 2.9f * k;
      e.mouth_open = closed ? 0.0f : d.uniform(1.6f, 4.4f) * k;
      e.upper_share = 0.15f;
      e.teeth_upper = 1.0f;
      e.mouth_up = 0.4f * k;
      break;
    }
    case 4:  // sad: inner brows up (1, 4), lids heavy, corners down (15), lower lip pushed up (17)
      e.brow_inner = 2.0f * k;
      e.brow_outer = -1.3f * k;
      e.brow_pinch = 0.7f * k;
      e.furrow = 0.2f * k;
      e.eye_open = 1.0f - 0.30f * k;
      e.gaze_y = 0.5f * k;
      e.mouth_curve = -2.1f * k;
      e.mouth_wide = -0.3f * k;
      e.chin = 0.8f * k;
      e.mouth_open = d.chance(0.2f) ? 0.9f : 0.0f;
      break;
    case 5:  // surprise: brows high and arched (1, 2), lids wide (5), jaw dropped (26)
      e.brow_inner = 2.5f * k;
      e.brow_outer = 3.0f * k;
      e.forehead = 0.7f * k;
      e.eye_open = 1.0f + 0.5f * k;
      e.mouth_wide = -1.7f * k;
      e.mouth_open = d.uniform(3.6f, 7.2f) * k;
      e.jaw_drop = 0.8f * k;
      e.teeth_upper = d.chance(0.3f) ? 0.5f : 0.0f;
      break;
    default:  // neutral: now and then the lips a little apart
      e.mouth_open = d.chance(0.15f) ? d.uniform(0.4f, 1.0f) : 0.0f;
      e.eye_open = d.uniform(0.9f, 1.05f);
      break;
  }
  // No face repeats itself, and each has its own idea of rest.
  e.brow_inner += p.rest_brow + p.rest_brow_tilt + d.normal(0.0f, 0.25f);
  e.brow_outer += p.rest_brow - p.rest_brow_tilt + d.normal(0.0f, 0.25f);
  e.eye_open = e.eye_open * p.rest_lids + d.normal(0.0f, 0.06f);
  e.mouth_curve += p.rest_mouth + d.normal(0.0f, 0.22f);
  e.mouth_wide += d.normal(0.0f, 0.3f);
  e.mouth_skew += p.asymmetry + d.normal(0.0f, 0.2f);
  e.gaze_x += d.normal(0.0f, 0.5f);
  e.gaze_y += d.normal(0.0f, 0.25f);
  e.jaw_drop += 0.09f * e.mouth_open;
  e.eye_open = e.eye_open < 0.15f ? 0.15f : e.eye_open;
  e.mouth_open = e.mouth_open < 0.0f ? 0.0f : e.mouth_open;
  return e;
}

/// Pose, light and camera.
struct Picture {
  float rotation, scale, shift_x, shift_y, yaw, pitch;
  float light_x, light_y, light, ambient, gradient_x, gradient_y;
  float background, background_slope, blob_x, blob_y, blob;
  float contrast, brightness, blur, noise;
};

inline Picture draw_picture(Draws& d) {
  Picture v{};
  v.rotation = d.normal(0.0f, 0.07f);
  v.scale = d.normal(1.12f, 0.035f);
  v.shift_x = d.normal(0.0f, 0.8f);
  v.shift_y = d.normal(0.5f, 0.8f);
  v.yaw = d.normal(0.0f, 1.3f);
  v.pitch = d.normal(0.0f, 0.6f);
  v.light_x = d.normal(0.0f, 0.6f);
  v.light_y = d.uniform(-0.9f, 0.2f);
  v.light = d.uniform(0.15f, 0.6f);
  v.ambient = d.uniform(0.75f, 1.0f);
  v.gradient_x = d.normal(0.0f, 0.10f);
  v.gradient_y = d.normal(0.0f, 0.08f);
  v.background = d.uniform(0.05f, 0.95f);
  v.background_slope = d.normal(0.0f, 0.2f);
  v.blob_x = d.uniform(-24.0f, 24.0f);
  v.blob_y = d.uniform(-24.0f, 24.0f);
  v.blob = d.normal(0.0f, 0.2f);
  v.contrast = d.uniform(0.8f, 1.25f);
  v.brightness = d.normal(0.0f, 0.06f);
  v.blur = d.uniform(0.0f, 0.6f);
  v.noise = d.uniform(0.004f, 0.028f);
  return v;
}

}  // namespace mien::fer::detail
