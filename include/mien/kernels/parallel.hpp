// Plain loops made fast: cut into fixed pieces over threads, compiled for AVX-512 as well as for the build's own
// target.
//
// The body of a loop is a lambda marked MIEN_INLINE. It is inlined into a copy of the loop for each target, so that a
// build without machine flags still gets 64-byte vectors where the machine has them. Most of these loops are bound by
// memory traffic, so AVX2 in between would gain little for what it costs to compile; run_widest() has it.
#pragma once

#include <type_traits>

#include "mien/core/cpu.hpp"
#include "mien/core/threads.hpp"

#define MIEN_INLINE __attribute__((always_inline))

#if defined(__clang__)
#define MIEN_VECTORIZE
#define MIEN_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define MIEN_TARGET_AVX2 __attribute__((target("avx2,fma")))
#else
#define MIEN_VECTORIZE __attribute__((optimize("O2", "tree-vectorize", "vect-cost-model=dynamic")))
#define MIEN_TARGET_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))
#define MIEN_TARGET_AVX2 __attribute__((target("avx2,fma,prefer-vector-width=256")))
#endif

namespace mien::kernels {

namespace detail {

template <class F>
MIEN_VECTORIZE void run_portable(index_t first, index_t last, const F& f) {
  f(first, last);
}
#if MIEN_HAS_X86_KERNELS
template <class F>
MIEN_VECTORIZE MIEN_TARGET_AVX512 void run_avx512(index_t first, index_t last, const F& f) {
  f(first, last);
}
template <class F>
MIEN_VECTORIZE MIEN_TARGET_AVX2 void run_avx2(index_t first, index_t last, const F& f) {
  f(first, last);
}
#endif

/// Runs f(std::integral_constant<int, L>, first, last), a MIEN_INLINE lambda, compiled for kernels of L = 16 or 8
/// lanes, that is for AVX-512 or AVX2: arithmetic on vectors of L values that stay in registers.
template <class F>
void run_lanes([[maybe_unused]] index_t lanes, index_t first, index_t last, const F& f) {
#if MIEN_HAS_X86_KERNELS
  if (lanes >= 16) {
    return run_avx512(first, last, [&f](index_t begin, index_t end) MIEN_INLINE {
      f(std::integral_constant<int, 16>{}, begin, end);
    });
  }
  run_avx2(first, last,
           [&f](index_t begin, index_t end) MIEN_INLINE { f(std::integral_constant<int, 8>{}, begin, end); });
#else
  f(std::integral_constant<int, 8>{}, first, last);
#endif
}

}  // namespace detail

/// Runs f(first, last), a MIEN_INLINE lambda, compiled for the best target here.
template <class F>
void run_vectorized(index_t first, index_t last, const F& f) {
#if MIEN_HAS_X86_KERNELS
  if (cpu_isa() >= Isa::avx512) return detail::run_avx512(first, last, f);
#endif
  detail::run_portable(first, last, f);
}

/// The same, compiled for AVX2 too.
template <class F>
void run_widest(index_t first, index_t last, const F& f) {
#if MIEN_HAS_X86_KERNELS
  if (cpu_isa() == Isa::avx2) return detail::run_avx2(first, last, f);
#endif
  run_vectorized(first, last, f);
}

/// Calls f(first, last), a MIEN_INLINE lambda holding a loop, on the pieces of [0, n) of `piece` each (the last one may
/// be shorter), over threads. Pieces do not depend on the number of threads.
template <class F>
void parallel_pieces(const Threads& threads, index_t n, index_t piece, const F& f) {
  const index_t pieces = (n + piece - 1) / piece;
  threads.parallel_for(pieces, [&](index_t p) {
    const index_t first = p * piece;
    run_vectorized(first, first + piece < n ? first + piece : n, f);
  });
}

/// Elements that one piece of an elementwise loop covers: some microseconds of work.
inline constexpr index_t elementwise_piece = 1 << 14;

/// Calls f(i), a MIEN_INLINE lambda that touches only what belongs to i, for every i in [0, n).
template <class F>
void for_each_index(const Threads& threads, index_t n, const F& f) {
  parallel_pieces(threads, n, elementwise_piece, [&f](index_t first, index_t last) MIEN_INLINE {
    const F body = f;  // a local copy: the compiler then knows that stores do not change the captures
    for (index_t i = first; i < last; ++i) body(i);
  });
}

/// Rows of `width` elements that make up one piece.
inline index_t rows_per_piece(index_t width) {
  const index_t rows = elementwise_piece / (width > 0 ? width : 1);
  return rows > 0 ? rows : 1;
}

}  // namespace mien::kernels
