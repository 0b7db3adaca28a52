// One of two translation units that include every header.
#include <cstdio>
#include <string>

#include "all_headers.hpp"

std::string message_of_second();

int main() {
  // The same error type and the same version seen from both sides.
  try {
    mien::fail<mien::ShapeError>("from the first");
  } catch (const mien::Error& error) {
    const std::string expected = std::string(error.what()) + MIEN_VERSION;
    if (message_of_second() == expected) {
      std::printf("1 passed, 0 failed\n");
      return 0;
    }
  }
  std::printf("0 passed, 1 failed\n");
  return 1;
}
