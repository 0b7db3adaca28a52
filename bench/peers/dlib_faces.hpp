// dlib's face detector, kept in a file of its own: it is compiled for AVX2, as dlib recommends for its speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace peers {

/// Histograms of gradients and a support vector machine, faces from 80 pixels on: another method than a cascade, with
/// other results.
class DlibFaces {
 public:
  DlibFaces();
  ~DlibFaces();

  /// Number of faces in a gray picture of `width` x `height` bytes, rows `stride` bytes apart.
  std::size_t detect(const std::uint8_t* pixels, long width, long height, long stride);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace peers
