// Synthetic faces: drawn expressions for trying everything without a data set. Not photographs, and said to be so
// wherever they appear.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "fer/faces.hpp"
#include "fer/synthetic_render.hpp"
#include "mien/core/threads.hpp"
#include "mien/data/dataset.hpp"

namespace mien::fer {

/// Which synthetic faces. Persons are numbered; two sets with different numbers have no person in common, whatever
/// else they share.
struct SyntheticOptions {
  std::uint64_t seed = 1;
  index_t first_person = 0;
  index_t persons = 400;
  int takes = 1;       ///< pictures of each person per class, 1 to 100,000
  int first_take = 0;  ///< takes first_take to first_take + takes - 1
  float habit = 1.0f;  ///< how much persons differ at rest, 0 to 4: the higher, the less a stranger's face tells
};

/// Draws one face into 48x48 gray bytes. The picture depends on the arguments alone. About 0.5 ms. Throws ArgumentError
/// for a class outside 0..6, a negative person or take, or too small a span.
inline void render_face(std::uint64_t seed, index_t person, int label, index_t take, std::span<std::uint8_t> out,
                        float habit = 1.0f) {
  if (label < 0 || label >= class_count) fail<ArgumentError>("render_face: class " + std::to_string(label));
  if (person < 0 || take < 0 || take > 1000000) fail<ArgumentError>("render_face: negative person or take");
  if (out.size() < static_cast<std::size_t>(face_pixels)) fail<ArgumentError>("render_face: needs room for 48x48");
  const auto step = (static_cast<std::uint64_t>(person) << 24) + 1 + static_cast<std::uint64_t>(take * 8 + label);
  const detail::Person who = detail::draw_person(seed, person, habit);
  detail::Draws draws(seed, step);
  const detail::Expression expression = detail::draw_expression(draws, who, label);
  const detail::Picture view = detail::draw_picture(draws);
  detail::FaceCanvas canvas(who, expression, view);
  canvas.draw();
  canvas.develop(Random(seed, 0x6E6F6973U /* "nois" */, step), out);
}

/// All faces of `options`: person by person, take by take, class by class. Names are "synthetic-<person>-<take>".
inline FaceImages synthetic_faces(const SyntheticOptions& options, const Threads& threads) {
  if (options.persons < 1 || options.persons > 1000000 || options.takes < 1 || options.takes > 100000 ||
      options.first_person < 0 || options.first_take < 0 || !(options.habit >= 0.0f && options.habit <= 4.0f)) {
    fail<ArgumentError>("synthetic faces: persons 1..1000000, takes 1..100000, habit 0..4, and no negative numbers");
  }
  FaceImages faces;
  faces.synthetic = true;
  const index_t per_person = static_cast<index_t>(options.takes) * class_count;
  faces.resize(options.persons * per_person);
  threads.parallel_for(options.persons, [&](index_t p) {
    for (index_t k = 0; k < per_person; ++k) {
      const index_t i = p * per_person + k, take = options.first_take + k / class_count;
      const int label = static_cast<int>(k % class_count);
      render_face(options.seed, options.first_person + p, label, take, faces.image(i), options.habit);
      faces.labels[static_cast<std::size_t>(i)] = label;
      faces.names[static_cast<std::size_t>(i)] =
          "synthetic-" + std::to_string(options.first_person + p) + "-" + std::to_string(take);
    }
  });
  return faces;
}

/// The faces above as a data set of shape (48, 48, 1): values (byte / 255 - mean) / deviation. All are drawn on
/// construction and held as bytes.
class SyntheticFaces : public Dataset {
 public:
  explicit SyntheticFaces(const SyntheticOptions& options, const Threads& threads = Threads(1), float mean = 0.0f,
                          float deviation = 1.0f)
      : faces_(synthetic_faces(options, threads)), mean_(mean), scale_(1.0f / deviation) {}

  const FaceImages& faces() const { return faces_; }
  index_t size() const override { return faces_.size(); }
  Shape shape() const override { return {face_side, face_side, 1}; }
  int classes() const override { return class_count; }
  int label(index_t i) const override { return faces_.labels[static_cast<std::size_t>(i)]; }
  void get(index_t i, const SampleKey&, std::span<float> input) const override {
    const auto image = faces_.image(i);
    for (std::size_t k = 0; k < image.size(); ++k) input[k] = (static_cast<float>(image[k]) / 255.0f - mean_) * scale_;
  }

 private:
  FaceImages faces_;
  float mean_, scale_;
};

}  // namespace mien::fer
