// AVX-512: the inner loops over float.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/blocks.hpp"

#define MIEN_BLOCK __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"), noinline))

namespace mien::kernels::detail::avx512 {

using Vector __attribute__((vector_size(64), aligned(4), may_alias)) = float;
constexpr int lanes = 16;
constexpr int widest_vectors = 4;
constexpr bool few_registers = false;

#include "mien/kernels/float_blocks.inc"

template <bool Rounds>
inline const BlockKernels<float>& float_blocks() {
  static constexpr BlockKernels<float> table{lanes,
                                             2,
                                             {12, 8, 6},
                                             {correlate<12, 1>, correlate<8, 2>, correlate<6, 4>},
                                             {{weights<6, 1>, weights<4, 1>, weights<1, 1>},
                                              {weights<6, 2>, weights<4, 2>, weights<1, 2>},
                                              {weights<6, 4>, weights<4, 4>, weights<1, 4>}},
                                             {6, 4, 1},
                                             {window<12, 1>, window<8, 2>, window<6, 4>},
                                             dots,
                                             Rounds};
  return table;
}

}  // namespace mien::kernels::detail::avx512

#undef MIEN_BLOCK

#endif  // MIEN_HAS_X86_KERNELS
