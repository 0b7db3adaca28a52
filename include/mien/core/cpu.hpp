// What the processor (and the operating system) lets us use.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "mien/core/config.hpp"
#include "mien/core/error.hpp"

#if MIEN_HAS_X86_KERNELS
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mien {

/// Instruction sets that kernels exist for, each including those before it.
/// `avx512` means F, BW, DQ and VL; `amx` means AVX-512 with BF16 instructions plus AMX tiles of bfloat16.
enum class Isa { portable, avx2, avx512, amx };

inline constexpr std::string_view isa_names[] = {"portable", "avx2", "avx512", "amx"};

inline std::string_view to_string(Isa isa) { return isa_names[static_cast<int>(isa)]; }

namespace detail {

#if MIEN_HAS_X86_KERNELS
/// Asks Linux for the use of AMX tile registers (arch_prctl, ARCH_REQ_XCOMP_PERM of XTILEDATA): false where refused.
/// Granted for the whole process, threads to come included.
inline bool request_amx_tiles() {
  constexpr long arch_req_xcomp_perm = 0x1023;
  constexpr long xtile_data = 18;
  return syscall(SYS_arch_prctl, arch_req_xcomp_perm, xtile_data) == 0;
}

inline bool cpu_has_amx_bf16() {
  // Leaf 7, sub-leaf 0: EDX bit 22 = AMX-BF16, bit 24 = AMX-TILE.
  unsigned a = 7, b = 0, c = 0, d = 0;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  if ((d >> 22 & 1U) == 0 || (d >> 24 & 1U) == 0) return false;
  // Leaf 7, sub-leaf 1: EAX bit 5 = AVX512-BF16.
  a = 7;
  c = 1;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return (a >> 5 & 1U) != 0;
}
#endif

inline Isa detect_isa() {
#if MIEN_HAS_X86_KERNELS
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::portable;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return Isa::avx2;
  }
  if (!cpu_has_amx_bf16() || !request_amx_tiles()) return Isa::avx512;
  return Isa::amx;
#else
  return Isa::portable;
#endif
}

}  // namespace detail

/// The best instruction set of this machine, capped by the environment variable MIEN_ISA (portable, avx2, avx512, amx).
/// Found once, at the first call. Throws ArgumentError if MIEN_ISA is none of these names.
inline Isa cpu_isa() {
  static const Isa isa = [] {
    const Isa best = detail::detect_isa();
    const char* cap = std::getenv("MIEN_ISA");
    if (cap == nullptr || *cap == '\0') return best;
    for (int i = 0; i < 4; ++i) {
      if (isa_names[i] == cap) return static_cast<Isa>(i) < best ? static_cast<Isa>(i) : best;
    }
    fail<ArgumentError>({"MIEN_ISA=", cap, ": expected portable, avx2, avx512 or amx"});
  }();
  return isa;
}

}  // namespace mien
