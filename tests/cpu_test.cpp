#include "mien/core/cpu.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

using namespace mien;

namespace {

/// What cpu_isa() says under MIEN_ISA=value, -1 for an ArgumentError. It is found once per process, so this program is
/// started again for it.
int isa_under(const std::string& value) {
  const pid_t child = fork();
  if (child == 0) {
    setenv("MIEN_ISA", value.c_str(), 1);
    setenv("MIEN_TEST_CHILD", "1", 1);
    execl("/proc/self/exe", "test", "--no-skip", "--test-case=cpu: child", static_cast<char*>(nullptr));
    _exit(98);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 98;
  return code == 99 ? -1 : code - 10;
}

}  // namespace

TEST_CASE("cpu: child" * doctest::skip()) {
  if (std::getenv("MIEN_TEST_CHILD") == nullptr) return;
  int code = 98;
  try {
    code = 10 + static_cast<int>(cpu_isa());
  } catch (const ArgumentError&) {
    code = 99;
  }
  _exit(code);
}

TEST_CASE("cpu: MIEN_ISA caps the instruction set and nothing else") {
  const int best = static_cast<int>(detail::detect_isa());
  for (int isa = 0; isa < 4; ++isa) CHECK(isa_under(std::string(isa_names[isa])) == std::min(isa, best));
  CHECK(isa_under("") == best);
  CHECK(isa_under("sse9") == -1);
}

TEST_CASE("cpu: names") {
  CHECK(to_string(Isa::portable) == "portable");
  CHECK(to_string(Isa::amx) == "amx");
  CHECK(cpu_isa() <= detail::detect_isa());
}
