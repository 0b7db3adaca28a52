// What the processor (and the operating system) lets us use.
#pragma once

#include <cstdlib>
#include <initializer_list>
#include <iterator>
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
/// `avx512` means F, BW, DQ and VL; `avx512_bf16` the instructions for bfloat16 too, which Zen 4 and 5 and Cooper Lake
/// have; `amx` AMX tiles of bfloat16 on top.
enum class Isa { portable, avx2, avx512, avx512_bf16, amx };

inline constexpr std::string_view isa_names[] = {"portable", "avx2", "avx512", "avx512_bf16", "amx"};

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

struct CpuId {
  unsigned a, b, c, d;
};
inline CpuId cpuid(unsigned leaf, unsigned sub_leaf) {
  CpuId r{leaf, 0, sub_leaf, 0};
  __asm__ volatile("cpuid" : "+a"(r.a), "=b"(r.b), "+c"(r.c), "=d"(r.d));
  return r;
}
constexpr bool has_bits(unsigned value, std::initializer_list<int> bits) {
  for (const int bit : bits)
    if ((value >> bit & 1U) == 0) return false;
  return true;
}
#endif

/// Intel, "Software Developer's Manual", volume 2, CPUID, and volume 1, 13.3 and 14.3. By hand: the compiler's own
/// __builtin_cpu_supports brings 5 kB into every program, and does not know AMX.
/// Above `cap` nothing is looked for: asking for tiles takes effect on the process, whose signal stacks must be larger
/// from then on.
MIEN_COLD inline Isa detect_isa(Isa cap = Isa::amx) {
#if MIEN_HAS_X86_KERNELS
  // The last leaf; OSXSAVE, AVX, FMA.
  if (cpuid(0, 0).a < 7 || !has_bits(cpuid(1, 0).c, {27, 28, 12})) return Isa::portable;
  unsigned saved = 0, high = 0;  // registers that the system saves
  __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  const CpuId features = cpuid(7, 0);
  // XMM, YMM; AVX2.
  if (!has_bits(saved, {1, 2}) || !has_bits(features.b, {5})) return Isa::portable;
  // Mask registers, upper halves of ZMM0 to 15, ZMM16 to 31; AVX512F, DQ, BW, VL.
  if (!has_bits(saved, {5, 6, 7}) || !has_bits(features.b, {16, 17, 30, 31})) return Isa::avx2;
  // AVX512-BF16; AMX-BF16, AMX-TILE.
  if (!has_bits(cpuid(7, 1).a, {5})) return Isa::avx512;
  if (cap < Isa::amx || !has_bits(features.d, {22, 24}) || !request_amx_tiles()) return Isa::avx512_bf16;
  return Isa::amx;
#else
  (void)cap;
  return Isa::portable;
#endif
}

}  // namespace detail

/// The best instruction set of this machine, capped by the environment variable MIEN_ISA, one of isa_names.
/// Found once, at the first call. Throws ArgumentError if MIEN_ISA is none of these names.
inline Isa cpu_isa() {
  static const Isa isa = [] {
    const char* cap = std::getenv("MIEN_ISA");
    if (cap == nullptr || *cap == '\0') return detail::detect_isa(Isa::amx);
    for (int i = 0; i < static_cast<int>(std::size(isa_names)); ++i) {
      if (isa_names[i] != cap) continue;
      const Isa asked = static_cast<Isa>(i), best = detail::detect_isa(asked);
      return asked < best ? asked : best;
    }
    fail<ArgumentError>({"MIEN_ISA=", cap, ": expected portable, avx2, avx512, avx512_bf16 or amx"});
  }();
  return isa;
}

#if MIEN_HAS_X86_KERNELS
namespace detail {
/// Whether a dot product of bfloat16 (avx512_bf16) takes no longer than two multiply-adds in float. On AMD's Zen 4 and
/// 5 it takes as long as one or two, on Intel's family 6, model 207, as four; so not on Intel's, unless MIEN_ISA asks
/// for them by name.
MIEN_COLD inline bool has_quick_dots() {
  static const bool quick = [] {
    constexpr unsigned genu = 0x756e6547;  // of "GenuineIntel"
    const char* name = std::getenv("MIEN_ISA");
    return cpuid(0, 0).b != genu || (name != nullptr && to_string(Isa::avx512_bf16) == name);
  }();
  return quick;
}
}  // namespace detail
#endif

}  // namespace mien
