#include "peers/dlib_faces.hpp"

#include <dlib/array2d.h>
#include <dlib/image_processing/frontal_face_detector.h>

#include <algorithm>

namespace peers {

struct DlibFaces::State {
  dlib::frontal_face_detector detector = dlib::get_frontal_face_detector();
  dlib::array2d<unsigned char> picture;
};

DlibFaces::DlibFaces() : state_(std::make_unique<State>()) {}
DlibFaces::~DlibFaces() = default;

std::size_t DlibFaces::detect(const std::uint8_t* pixels, long width, long height, long stride) {
  state_->picture.set_size(height, width);
  for (long y = 0; y < height; ++y) {
    std::copy(pixels + y * stride, pixels + y * stride + width, &state_->picture[y][0]);
  }
  return state_->detector(state_->picture).size();
}

}  // namespace peers
