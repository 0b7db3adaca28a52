// Messages of errors: definitions for mien/core/error.hpp. Private.
#pragma once

#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"

namespace mien::detail {

MIEN_COLD MIEN_BODY void Piece::append_to(std::string& out) const {
  if (kind_ == Kind::text) out += text_;
  if (kind_ == Kind::positive) out += std::to_string(number_);
  if (kind_ == Kind::negative) out += std::to_string(static_cast<std::int64_t>(number_));
  if (kind_ == Kind::real) out += std::to_string(real_);
  if (kind_ == Kind::shape) out += shape_->to_string();
}

MIEN_COLD MIEN_BODY std::string join(std::initializer_list<Piece> pieces) {
  std::string out;
  for (const Piece& piece : pieces) piece.append_to(out);
  return out;
}

}  // namespace mien::detail
