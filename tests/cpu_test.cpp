#include "mien/core/cpu.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#if MIEN_HAS_X86_KERNELS
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdlib>

#include "mien/nn/activation.hpp"
#include "mien/nn/conv2d.hpp"
#include "mien/nn/dense.hpp"
#include "mien/nn/sequential.hpp"
#include "mien/nn/shape_layers.hpp"

using namespace mien;

namespace {

#if MIEN_HAS_X86_KERNELS
/// Has the kernel refuse arch_prctl from here on, and so AMX tiles. False where the system does not let us.
bool refuse_arch_prctl() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 3),
      // The request for a register set alone: starting a program sets registers by the same call.
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x1023, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof(code) / sizeof(code[0]), code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
#endif

/// What cpu_isa() says under MIEN_ISA=value, -1 for an ArgumentError. It is found once per process, so this program is
/// started again for it. -2: tiles were to be refused and could not be.
int isa_under(const std::string& value, bool refuse_tiles = false) {
  const pid_t child = fork();
  if (child == 0) {
#if MIEN_HAS_X86_KERNELS
    if (refuse_tiles && !refuse_arch_prctl()) _exit(8);
#endif
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
#if MIEN_HAS_X86_KERNELS
    const char* asked = std::getenv("MIEN_ISA");
    if (asked != nullptr && asked == to_string(Isa::avx512_bf16) && !detail::has_quick_dots()) code = 98;
#endif
    // What was picked also runs: in bfloat16, where tiles would be used.
    Sequential<bfloat16> net{Conv2d{.filters = 32, .padding = 1}, Relu{}, Flatten{}, Dense{3}};
    net.build({9, 9, 16}, 1);
    Tensor<bfloat16> x({20, 9, 9, 16});
    for (bfloat16& value : x) value = bfloat16(0.5f);
    Workspace workspace;
    const Tensor<bfloat16> y = net.infer(x.view(), workspace);
    for (const bfloat16 value : y)
      if (!std::isfinite(static_cast<float>(value))) code = 98;
  } catch (const ArgumentError&) {
    code = 99;
  }
  _exit(code);
}

#if MIEN_HAS_X86_KERNELS
TEST_CASE("cpu: found as the compiler's own functions find them") {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  CHECK((detail::detect_isa() >= Isa::avx2) == avx2);
  CHECK((detail::detect_isa() >= Isa::avx512) == avx512);
  CHECK((detail::detect_isa() >= Isa::avx512_bf16) == (avx512 && __builtin_cpu_supports("avx512bf16")));
  if (std::getenv("MIEN_ISA") == nullptr) CHECK(detail::has_quick_dots() == !__builtin_cpu_is("intel"));
}
#endif

TEST_CASE("cpu: MIEN_ISA caps the instruction set and nothing else") {
  const int best = static_cast<int>(detail::detect_isa());
  for (int isa = 0; isa < static_cast<int>(std::size(isa_names)); ++isa)
    CHECK(isa_under(std::string(isa_names[isa])) == std::min(isa, best));
  CHECK(isa_under("") == best);
  CHECK(isa_under("sse9") == -1);
}

TEST_CASE("cpu: where the system refuses AMX tiles, the next set serves") {
#if MIEN_HAS_X86_KERNELS
  if (detail::detect_isa() != Isa::amx) {
    MESSAGE("skipped: this machine has no amx");
    return;
  }
  const int isa = isa_under("", true);
  if (isa == -2) {
    MESSAGE("skipped: the system does not let a program filter its calls");
    return;
  }
  CHECK(isa == static_cast<int>(Isa::avx512_bf16));
#endif
}

TEST_CASE("cpu: names") {
  CHECK(to_string(Isa::portable) == "portable");
  CHECK(to_string(Isa::avx512_bf16) == "avx512_bf16");
  CHECK(to_string(Isa::amx) == "amx");
  CHECK(cpu_isa() <= detail::detect_isa());
}
