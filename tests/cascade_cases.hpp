// Cascades, images and options drawn from seeds: the cases of the golden results, which OpenCV computed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cascade/detector.hpp"

namespace cascade_cases {

namespace mc = mien::cascade;

/// splitmix64 (Steele, Lea, Flood 2014): the same numbers everywhere.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15U + 1) {}
  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  int whole(int low, int high) { return low + static_cast<int>(bits() % static_cast<std::uint64_t>(high - low + 1)); }
  double real(double low, double high) { return low + (high - low) * (static_cast<double>(bits() >> 11) * 0x1p-53); }

 private:
  std::uint64_t state_;
};

enum class Kind { stumps, tilted, trees, fractions, lbp, lbp_trees, old_stumps, old_trees };
inline constexpr int kinds = 8;
inline const char* const kind_names[kinds] = {"stumps", "tilted",    "trees",      "fractions",
                                              "lbp",    "lbp trees", "old stumps", "old trees"};

/// Writes a cascade with random features as OpenCV's XML.
class CascadeWriter {
 public:
  CascadeWriter(Kind kind, std::uint64_t seed) : kind_(kind), draw_(seed) {
    width_ = draw_.whole(8, 26);
    height_ = draw_.whole(8, 26);
    stages_ = draw_.whole(2, 7);
  }

  std::string write() {
    const bool old = kind_ == Kind::old_stumps || kind_ == Kind::old_trees;
    out_ = "<?xml version=\"1.0\"?>\n<opencv_storage>\n";
    if (old) {
      put("<test_cascade type_id=\"opencv-haar-classifier\">\n<size>\n  %d %d</size>\n<stages>\n", width_, height_);
      for (int s = 0; s < stages_; ++s) old_stage(s);
      out_ += "</stages></test_cascade>\n";
    } else {
      put("<cascade "
          "type_id=\"opencv-cascade-classifier\"><stageType>BOOST</stageType>\n<featureType>%s</featureType>\n",
          lbp() ? "LBP" : "HAAR");
      put("<height>%d</height>\n<width>%d</width>\n<featureParams><maxCatCount>%d</maxCatCount></featureParams>\n",
          height_, width_, lbp() ? 256 : 0);
      put("<stageNum>%d</stageNum>\n<stages>\n", stages_);
      for (int s = 0; s < stages_; ++s) new_stage(s);
      out_ += "</stages>\n<features>\n" + features_ + "</features></cascade>\n";
    }
    return out_ + "</opencv_storage>\n";
  }

 private:
  bool lbp() const { return kind_ == Kind::lbp || kind_ == Kind::lbp_trees; }
  bool trees() const { return kind_ == Kind::trees || kind_ == Kind::lbp_trees || kind_ == Kind::old_trees; }

  template <class... T>
  static std::string text(const char* format, T... values) {
    char buffer[512];
    std::snprintf(buffer, sizeof(buffer), format, values...);
    return buffer;
  }
  template <class... T>
  void put(const char* format, T... values) {
    out_ += text(format, values...);
  }

  /// Shapes of the features in use: two halves, a line of three, a frame, a checkerboard; or any rectangles.
  std::string haar() {
    for (;;) {
      const bool tilt =
          kind_ == Kind::tilted ? draw_.whole(0, 1) == 1 : kind_ == Kind::old_trees && draw_.whole(0, 4) == 0;
      const int shape = draw_.whole(0, 5);
      int w = draw_.whole(1, width_ / (tilt ? 4 : 2)), h = draw_.whole(1, height_ / (tilt ? 4 : 2));
      mc::Rect full{}, inner{}, third{};
      double weights[3] = {-1, 2, 0};
      if (shape <= 1) full = {0, 0, 2 * w, h}, inner = {shape * w, 0, w, h};
      if (shape == 2) full = {0, 0, w, 3 * h}, inner = {0, h, w, h}, weights[1] = 3;
      if (shape == 3) full = {0, 0, 3 * w, 3 * h}, inner = {w, h, w, h}, weights[1] = 9;
      if (shape == 4) {
        full = {0, 0, 2 * w, 2 * h};
        inner = {0, 0, w, h};
        third = {w, h, w, h};
        if (draw_.whole(0, 1) == 1) inner.x = w, third.x = 0;
        weights[2] = 2;
        if (tilt) continue;
      }
      if (shape == 5) full = {0, 0, w, h}, inner = {draw_.whole(0, 3), draw_.whole(0, 3), w, h}, weights[1] = 1;
      if (kind_ == Kind::fractions) weights[0] *= draw_.real(0.8, 1.2), weights[1] *= draw_.real(0.8, 1.2);
      const int x = draw_.whole(0, width_ - 1), y = draw_.whole(0, height_ - 1);
      std::string rects = "<rects>\n";
      bool good = true;
      int number = 0;
      for (mc::Rect r : {full, inner, third}) {
        if (weights[number] == 0) break;
        if (tilt) {
          // Along the diagonals: (dx, dy) steps right-down and left-down.
          const int dx = r.x, dy = r.y;
          r.x = x + dx - dy;
          r.y = y + dx + dy;
          good = good && r.x - r.height >= 0 && r.x + r.width <= width_ && r.y + r.width + r.height <= height_ &&
                 r.x >= 0 && r.x < width_ && r.y < height_;
        } else {
          r.x += x;
          r.y += y;
          good = good && r.x + r.width <= width_ && r.y + r.height <= height_;
        }
        rects += text("<_>%d %d %d %d %.9g</_>\n", r.x, r.y, r.width, r.height, weights[number++]);
      }
      if (!good) continue;
      return rects + "</rects>" + (tilt ? "<tilted>1</tilted>\n" : "<tilted>0</tilted>\n");
    }
  }

  std::string pattern() {
    const int w = draw_.whole(1, width_ / 3), h = draw_.whole(1, height_ / 3);
    // One after the other: the order in which arguments are evaluated is the compiler's.
    const int y = draw_.whole(0, height_ - 3 * h);
    const int x = draw_.whole(0, width_ - 3 * w);
    return text("<rect>\n%d %d %d %d</rect>\n", x, y, w, h);
  }

  double leaf() { return draw_.real(-1.0, 1.0); }
  double threshold() { return draw_.real(-0.05, 0.05); }
  double stage_threshold(int trees) { return -draw_.real(0.1, 0.5) * trees * 0.5; }

  void new_stage(int stage) {
    const int count = draw_.whole(1, 3 + 2 * stage);
    put("<_><maxWeakCount>%d</maxWeakCount>\n<stageThreshold>%.16e</stageThreshold>\n<weakClassifiers>\n", count,
        stage_threshold(count));
    for (int t = 0; t < count; ++t) {
      const int nodes = trees() ? draw_.whole(1, 4) : 1;
      out_ += "<_><internalNodes>\n";
      int next_node = 1, next_leaf = 0;
      for (int n = 0; n < nodes; ++n) {
        // The later nodes hang on the earlier ones: every node but the last may have the next one below it.
        const bool left_inner = next_node < nodes && (draw_.whole(0, 1) == 1 || next_node == n + 1);
        const int left = left_inner ? next_node++ : -next_leaf++;
        const bool right_inner = next_node < nodes && draw_.whole(0, 1) == 1;
        const int right = right_inner ? next_node++ : -next_leaf++;
        put("%d %d %d", left, right, feature_count_++);
        if (lbp()) {
          features_ += "<_>" + pattern() + "</_>\n";
          for (int k = 0; k < 8; ++k) put(" %d", static_cast<std::int32_t>(static_cast<std::uint32_t>(draw_.bits())));
        } else {
          features_ += "<_>" + haar() + "</_>\n";
          put(" %.16e", threshold());
        }
        out_ += "\n";
      }
      out_ += "</internalNodes><leafValues>\n";
      for (int n = 0; n <= nodes; ++n) put("%.16e ", leaf());
      out_ += "</leafValues></_>\n";
    }
    out_ += "</weakClassifiers></_>\n";
  }

  void old_stage(int stage) {
    const int count = draw_.whole(1, 3 + 2 * stage);
    put("<_><!-- stage %d --><trees>\n", stage);
    for (int t = 0; t < count; ++t) {
      const int nodes = trees() ? draw_.whole(1, 3) : 1;
      out_ += "<_>\n";
      int next_node = 1;
      for (int n = 0; n < nodes; ++n) {
        out_ += "<_><!-- node --><feature>" + haar() + "</feature>\n";
        put("<threshold>%.16e</threshold>\n", threshold());
        const bool left_inner = next_node < nodes && (draw_.whole(0, 1) == 1 || next_node == n + 1);
        if (left_inner) {
          put("<left_node>%d</left_node>", next_node++);
        } else {
          put("<left_val>%.16e</left_val>", leaf());
        }
        if (next_node < nodes && draw_.whole(0, 1) == 1) {
          put("<right_node>%d</right_node>", next_node++);
        } else {
          put("<right_val>%.16e</right_val>", leaf());
        }
        out_ += "</_>\n";
      }
      out_ += "</_>\n";
    }
    put("</trees><stage_threshold>%.16e</stage_threshold><parent>%d</parent><next>-1</next></_>\n",
        stage_threshold(count), stage - 1);
  }

  Kind kind_;
  Draw draw_;
  int width_ = 0, height_ = 0, stages_ = 0;
  int feature_count_ = 0;
  std::string out_, features_;
};

struct Picture {
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;
  mc::ImageView view() const { return {pixels.data(), width, height, width, mc::PixelFormat::gray}; }
};

/// Smoothed noise, waves and blocks.
inline Picture draw_picture(Draw& draw, int width, int height) {
  Picture out{width, height,
              std::vector<std::uint8_t>(static_cast<std::size_t>(width) * static_cast<std::size_t>(height))};
  const int kind = draw.whole(0, 3), period = draw.whole(2, 24), slope = draw.whole(-3, 3), noise = draw.whole(1, 120);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      int value = draw.whole(0, noise);
      if (kind == 0) value += ((x / period + y / period) % 2) * 110 + slope * x;
      if (kind == 1) value += (x * x / (period * 3) + y * y / (period * 5)) % 200;
      if (kind == 2) value += (x * slope + y * 3 + period * ((x ^ y) & 7)) & 127;
      if (kind == 3) value = draw.whole(0, 255);
      out.pixels[static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)] =
          static_cast<std::uint8_t>(value & 255);
    }
  }
  return out;
}

struct Case {
  Kind kind{};
  std::string xml;
  Picture picture;
  mc::Options options;
};

inline constexpr int case_count = 400;

/// Case `number` of 0 to case_count - 1.
inline Case make_case(int number) {
  static const int sizes[][2] = {{1, 1},   {1, 60},  {60, 1},  {8, 8},   {26, 26},  {27, 26},  {37, 53},   {64, 48},
                                 {90, 20}, {20, 90}, {91, 71}, {80, 81}, {120, 90}, {133, 31}, {150, 100}, {400, 27}};
  static const double factors[] = {1.01, 1.05, 1.1, 1.2, 1.3, 1.7, 2.0, 3.0};
  Draw draw(static_cast<std::uint64_t>(number) + 1000);
  Case out;
  out.kind = static_cast<Kind>(number % kinds);
  out.xml = CascadeWriter(out.kind, static_cast<std::uint64_t>(number)).write();
  const auto& size = sizes[draw.whole(0, 15)];
  out.picture = draw_picture(draw, size[0], size[1]);
  out.options.scale_factor = factors[draw.whole(0, 7)];
  const int limits = draw.whole(0, 4);
  if (limits == 1) out.options.min_size = {draw.whole(0, 60), draw.whole(0, 60)};
  if (limits == 2) out.options.max_size = {draw.whole(0, 90), draw.whole(0, 90)};
  if (limits == 3) out.options.min_size = out.options.max_size = {draw.whole(8, 70), draw.whole(8, 70)};
  if (limits == 4) out.options.min_size = {draw.whole(20, 60), 40}, out.options.max_size = {draw.whole(1, 40), 40};
  out.options.min_neighbors = draw.whole(1, 4);
  return out;
}

/// Everything about a list of detections in 64 bits (FNV-1a).
class Digest {
 public:
  void add(std::uint64_t value) {
    for (int i = 0; i < 64; i += 8) hash_ = (hash_ ^ ((value >> i) & 255U)) * 0x100000001B3U;
  }
  void add(int x, int y, int width, int height, int neighbors, int level, double weight) {
    for (const int value : {x, y, width, height, neighbors, level}) add(static_cast<std::uint64_t>(value));
    std::uint64_t bits = 0;
    std::memcpy(&bits, &weight, sizeof(bits));
    add(bits);
  }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xCBF29CE484222325U;
};

inline std::uint64_t digest(const std::vector<mc::Detection>& found) {
  Digest digest;
  for (const mc::Detection& one : found) {
    digest.add(one.box.x, one.box.y, one.box.width, one.box.height, one.neighbors, one.level, one.weight);
  }
  return digest.value();
}

/// Number and digest of the candidates and of the groups.
struct Golden {
  int candidates;
  std::uint64_t candidate_digest;
  int groups;
  std::uint64_t group_digest;
};

/// The cascades of OpenCV that are compared on a photograph where they are installed, and their options.
struct PhotographCase {
  const char* file;
  double scale_factor;
  int min_neighbors;
};
inline constexpr PhotographCase photograph_cases[] = {
    {"haarcascades/haarcascade_eye.xml", 1.1, 2},
    {"haarcascades/haarcascade_eye_tree_eyeglasses.xml", 1.05, 2},
    {"haarcascades/haarcascade_frontalcatface.xml", 1.05, 1},
    {"haarcascades/haarcascade_frontalcatface_extended.xml", 1.05, 1},
    {"haarcascades/haarcascade_frontalface_alt.xml", 1.1, 3},
    {"haarcascades/haarcascade_frontalface_alt2.xml", 1.1, 3},
    {"haarcascades/haarcascade_frontalface_alt_tree.xml", 1.05, 1},
    {"haarcascades/haarcascade_frontalface_default.xml", 1.1, 3},
    {"haarcascades/haarcascade_fullbody.xml", 1.05, 1},
    {"haarcascades/haarcascade_lefteye_2splits.xml", 1.1, 2},
    {"haarcascades/haarcascade_licence_plate_rus_16stages.xml", 1.05, 1},
    {"haarcascades/haarcascade_lowerbody.xml", 1.05, 1},
    {"haarcascades/haarcascade_profileface.xml", 1.05, 1},
    {"haarcascades/haarcascade_righteye_2splits.xml", 1.1, 2},
    {"haarcascades/haarcascade_russian_plate_number.xml", 1.05, 1},
    {"haarcascades/haarcascade_smile.xml", 1.05, 2},
    {"haarcascades/haarcascade_upperbody.xml", 1.05, 1},
    {"lbpcascades/lbpcascade_frontalcatface.xml", 1.05, 1},
    {"lbpcascades/lbpcascade_frontalface.xml", 1.1, 2},
    {"lbpcascades/lbpcascade_frontalface_improved.xml", 1.1, 2},
    {"lbpcascades/lbpcascade_profileface.xml", 1.05, 1},
    {"lbpcascades/lbpcascade_silverware.xml", 1.05, 1},
};

}  // namespace cascade_cases
