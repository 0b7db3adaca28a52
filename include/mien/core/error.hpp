// Errors: exceptions that say what was wrong, where, and what to do.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

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

/// Raises `E{message}`: the one place through which mien reports errors. Where exceptions are off, prints and aborts.
template <class E = Error>
[[noreturn]] void fail(const std::string& message) {
#if MIEN_HAS_EXCEPTIONS
  throw E(message);
#else
  std::fprintf(stderr, "mien: %s\n", message.c_str());
  std::abort();
#endif
}

}  // namespace mien
