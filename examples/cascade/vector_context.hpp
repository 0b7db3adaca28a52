// What the vector scan works on.
#pragma once

#include <cstdint>
#include <vector>

#include "cascade/model.hpp"
#include "cascade/program.hpp"
#include "cascade/scan.hpp"
#include "cascade/vector_program.hpp"

namespace mien::cascade::detail {

/// A window that is still to be evaluated: its offset in the strip's sums, and its normalization.
struct Survivor {
  std::int32_t place;
  float factor;
};

struct VectorContext {
  const Cascade* cascade = nullptr;
  const Program* plain = nullptr;          // for what needs the exact sums
  const VectorProgram* program = nullptr;  // on the strip's layout
  const VectorProgram* packed = nullptr;   // on a tile's
  const Strip* strip = nullptr;
  Layout layout;
  Size window;
  int planes = 1;  // 2 with tilted sums
  // Working memory of the thread.
  std::uint32_t* tile = nullptr;
  void* masks = nullptr;
  std::vector<Survivor>* survivors = nullptr;
};

}  // namespace mien::cascade::detail
