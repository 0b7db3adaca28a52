// Rows of sums and products on their way to tensors.
#pragma once

#include <algorithm>

#include "mien/core/bfloat16.hpp"
#include "mien/core/cpu.hpp"
#include "mien/core/shape.hpp"
#include "mien/kernels/amx/tiles.hpp"
#include "mien/kernels/parallel.hpp"

namespace mien::kernels {

/// Values that a row may have in round_row().
inline constexpr index_t row_values = 256;

#if MIEN_HAS_X86_KERNELS
namespace detail::amx {

/// to[i] = bfloat16(from[i]), 32 to an instruction; subnormal values become zero. Reads `from` up to a multiple of 32.
MIEN_AMX inline void round_row(const float* from, bfloat16* to, index_t n) {
  for (index_t i = 0; i < n; i += 32) {
    const auto mask = static_cast<std::uint32_t>((std::uint64_t{1} << (n - i < 32 ? n - i : 32)) - 1);
    Bits both;
    __asm__("vcvtne2ps2bf16 %2, %1, %0"
            : "=v"(both)
            : "v"(*reinterpret_cast<const Floats*>(from + i + 16)), "m"(*reinterpret_cast<const Floats*>(from + i)));
    __asm__ volatile("vmovdqu16 %1, %0%{%2%}"
                     : "=m"(*reinterpret_cast<Bits*>(to + i))
                     : "v"(both), "Yk"(mask)
                     : "memory");
  }
}

}  // namespace detail::amx
#endif

/// Whether write_row() should leave rounding to round_row().
inline bool rounds_rows() { return cpu_isa() >= Isa::avx512_bf16; }

/// to[i] = T(value(i)) for i in [0, n), n at most row_values; `value` is a MIEN_INLINE lambda. Iterations count as
/// independent: value(i) may read to[i], but nothing else that is written here. Rounding to bfloat16 takes a dozen
/// instructions where the processor has none for it, more than what is usually to be rounded.
template <class P, class T, class F>
MIEN_INLINE inline void write_row(index_t n, T* to, bool rounds, const F& value) {
#if MIEN_HAS_X86_KERNELS
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (rounds) {
      alignas(64) P held[row_values];
      for (index_t i = 0; i < n; ++i) held[i] = value(i);
      return detail::amx::round_row(held, to, n);
    }
  }
#endif
  (void)rounds;
  // A check for overlap before vectors are used would fail where a row is written over its own source.
#if defined(__clang__)
  // Its pragma for that warns wherever vectors are asked for in vain, as at -O1.
  alignas(64) T held[row_values];
  for (index_t i = 0; i < n; ++i) held[i] = T(value(i));
  std::copy_n(held, n, to);
#else
#pragma GCC ivdep
  for (index_t i = 0; i < n; ++i) to[i] = T(value(i));
#endif
}

}  // namespace mien::kernels
