// A test that MIEN_ISA holds to an instruction set which this machine lacks would pass without having tried it.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "mien/core/cpu.hpp"

namespace mien::test {

/// What a test ends with then.
inline constexpr int skipped = 77;

/// Whether the instruction set that MIEN_ISA asks for is missing here; says so.
inline bool asked_isa_is_missing() {
  const char* asked = std::getenv("MIEN_ISA");
  if (asked == nullptr || *asked == '\0' || to_string(cpu_isa()) == asked) return false;
  std::printf("skipped: this machine has no %s\n", asked);
  return true;
}

}  // namespace mien::test
