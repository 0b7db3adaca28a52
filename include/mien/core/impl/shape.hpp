// Shape: definitions for mien/core/shape.hpp. Private.
#pragma once

#include "mien/core/shape.hpp"

namespace mien {

MIEN_COLD MIEN_BODY void Shape::refuse_rank() { fail<ShapeError>("a shape has at most five extents"); }

MIEN_COLD MIEN_BODY void Shape::refuse_negative(index_t extent) {
  fail<ShapeError>({"negative extent ", extent, " in a shape"});
}

MIEN_COLD MIEN_BODY void Shape::refuse_size() { fail<ShapeError>("a shape of that many elements cannot be held"); }

MIEN_COLD MIEN_BODY std::string Shape::to_string() const {
  std::string text = "(";
  for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string((*this)[i]);
  return text + ")";
}

}  // namespace mien
