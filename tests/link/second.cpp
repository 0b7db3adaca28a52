#include <string>

#include "all_headers.hpp"

std::string message_of_second();
std::string message_of_second() {
  try {
    mien::fail<mien::ShapeError>("from the first");
  } catch (const mien::Error& error) {
    return error.what() + std::string(MIEN_VERSION);
  }
}
