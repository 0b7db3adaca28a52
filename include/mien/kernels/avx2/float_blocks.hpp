// AVX2: the inner loops over float.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/blocks.hpp"

#define MIEN_BLOCK __attribute__((target("avx2,fma"), noinline))

namespace mien::kernels::detail::avx2 {

using Vector __attribute__((vector_size(32), aligned(4), may_alias)) = float;
constexpr int lanes = 8;
constexpr int widest_vectors = 2;
constexpr bool few_registers = true;

#include "mien/kernels/float_blocks.inc"

inline const BlockKernels<float>& float_blocks() {
  static constexpr BlockKernels<float> table{
      lanes,
      1,
      {10, 6},
      {correlate<10, 1>, correlate<6, 2>},
      {{weights<6, 1>, weights<4, 1>, weights<1, 1>}, {weights<6, 2>, weights<4, 2>, weights<1, 2>}},
      {6, 4, 1},
      {window<10, 1>, window<6, 2>},
      dots};
  return table;
}

}  // namespace mien::kernels::detail::avx2

#undef MIEN_BLOCK

#endif  // MIEN_HAS_X86_KERNELS
