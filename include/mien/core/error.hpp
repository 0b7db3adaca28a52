// Errors: exceptions that say what was wrong, where, and what to do.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

#include "mien/core/config.hpp"
#if !MIEN_HAS_EXCEPTIONS
#include <cstdio>
#endif

namespace mien {

/// Base of every exception that mien throws on purpose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Shapes or hyper-parameters that do not fit together.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// An argument outside its documented range.
class ArgumentError : public Error {
 public:
  using Error::Error;
};

/// Data from outside (a file, bytes, a table) that is damaged or of another kind.
class FormatError : public Error {
 public:
  using Error::Error;
};

/// The operating system refused: the message names the path and the reason.
class FileError : public Error {
 public:
  using Error::Error;
};

/// A value that is not finite where one must be.
class NumericError : public Error {
 public:
  using Error::Error;
};

class Shape;

namespace detail {

/// A part of a message: text, a number or a shape.
class Piece {
 public:
  Piece(const char* text) : text_(text) {}
  Piece(std::string_view text) : text_(text) {}
  Piece(const std::string& text) : text_(text) {}
  template <std::integral I>
  Piece(I number)
      : number_(static_cast<std::uint64_t>(number)), kind_(number < I{0} ? Kind::negative : Kind::positive) {}
  Piece(double number) : real_(number), kind_(Kind::real) {}
  Piece(const Shape& shape) : shape_(&shape), kind_(Kind::shape) {}
  void append_to(std::string& out) const;

 private:
  enum class Kind : unsigned char { text, positive, negative, real, shape };
  std::string_view text_ = {};
  union {
    std::uint64_t number_ = 0;
    double real_;
    const Shape* shape_;
  };
  Kind kind_ = Kind::text;
};

std::string join(std::initializer_list<Piece> pieces);

}  // namespace detail

/// Raises E with a message: with the next one, the place through which mien reports errors. Where exceptions are off,
/// prints it and aborts.
template <class E = Error, class Text>
requires std::constructible_from<std::string, Text> MIEN_COLD [[noreturn]] void fail(Text message) {
#if MIEN_HAS_EXCEPTIONS
  throw E(std::string(message));
#else
  std::fprintf(stderr, "mien: %s\n", std::string(message).c_str());
  std::abort();
#endif
}

/// The same with a message of several pieces, text, numbers and shapes: `fail<ShapeError>({"got ", shape})`. Compiles
/// faster than strings added up.
template <class E = Error>
MIEN_COLD [[noreturn]] void fail(std::initializer_list<detail::Piece> pieces) {
  fail<E>(detail::join(pieces));
}

}  // namespace mien

#include "mien/core/shape.hpp"  // which has the bodies follow
