// Random choices for tests that draw shapes.
#pragma once

#include <cstdint>

#include "mien/core/shape.hpp"

namespace mien::test {

struct Dice {
  std::uint64_t state;
  index_t operator()(index_t low, index_t high) {  // both ends included
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return low + static_cast<index_t>((state >> 33) % static_cast<std::uint64_t>(high - low + 1));
  }
  double real() { return static_cast<double>((*this)(-1000, 1000)) / 1000; }
};

}  // namespace mien::test
