// The scan and its preparation with AVX-512: sixteen windows or pixels at once.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cascade/resize.hpp"
#include "cascade/strip.hpp"
#include "cascade/vector_context.hpp"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif

namespace mien::cascade::detail::avx512 {

// Where GCC 12 has an intrinsic begin with an undefined value, the form that begins with zeros is used: the other one
// warns in the user's build.
struct One {
  using I = __m512i;
  using F = __m512;
  using M = __mmask16;
  static constexpr int lanes = 16;

  static I load(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
  static F load_float(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static I all(std::int32_t v) { return _mm512_set1_epi32(v); }
  static F all(float v) { return _mm512_set1_ps(v); }
  static I add(I a, I b) { return _mm512_add_epi32(a, b); }
  static I sub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static F to_float(I v) { return _mm512_maskz_cvtepi32_ps(every(), v); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F multiply_add(F a, float b, F c) { return _mm512_fmadd_ps(a, _mm512_set1_ps(b), c); }
  static M less(F a, float b) { return _mm512_cmp_ps_mask(a, _mm512_set1_ps(b), _CMP_LT_OQ); }
  static I add_where(I a, M mask, std::int32_t b) { return _mm512_mask_add_epi32(a, mask, a, _mm512_set1_epi32(b)); }
  static std::uint32_t above(I a, std::int32_t b) { return _mm512_cmpgt_epi32_mask(a, _mm512_set1_epi32(b)); }
  static M every() { return 0xFFFF; }
  static M none() { return 0; }
  static M both(M a, M b) { return static_cast<M>(a & b); }
  static M either(M a, M b) { return static_cast<M>(a | b); }
  static M first_only(M a, M b) { return static_cast<M>(a & ~b); }
  static std::uint32_t bits(M a) { return a; }

  static void gather(const std::uint32_t* base, const std::int32_t* places, std::uint32_t* out) {
    _mm512_store_si512(
        out, _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), every(), _mm512_load_si512(places), base, 4));
  }

  static void store(std::uint32_t* p, I v) { _mm512_storeu_si512(p, v); }
  static I load_bytes(const std::uint8_t* p) {
    return _mm512_maskz_cvtepu8_epi32(every(), _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store_bytes(std::uint8_t* p, I v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_maskz_cvtepi32_epi8(every(), v));
  }
  static I least(I a, I b) { return _mm512_maskz_min_epi32(every(), a, b); }
  static I exclusive_or(I a, I b) { return _mm512_xor_si512(a, b); }
  static I shift_left(I a, unsigned n) { return _mm512_maskz_slli_epi32(every(), a, n); }
  static I shift_right(I a, unsigned n) { return _mm512_maskz_srli_epi32(every(), a, n); }
  static I shift_right_by(I a, I n) { return _mm512_maskz_srlv_epi32(every(), a, n); }
  /// Low two bytes of every lane, each in 16 bits.
  static I bytes_to_pairs(I a) {
    return _mm512_shuffle_epi8(a, _mm512_maskz_broadcast_i32x4(every(), _mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1,
                                                                                      9, -1, 12, -1, 13, -1)));
  }
  /// Sum of the products of the low and of the high 16 bits.
  static I dot_pairs(I a, I b) { return _mm512_madd_epi16(a, b); }
  static I gather_bytes(const std::uint8_t* base, I at) {
    return _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), every(), at, base, 1);
  }
  static void load_taps(const Tap* taps, I& index, I& weight) {
    split_pairs(_mm512_loadu_si512(taps), _mm512_loadu_si512(taps + 8), index, weight);
  }
  static void split_pairs(I a, I b, I& even, I& odd) {
    const I pick = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    even = _mm512_permutex2var_epi32(a, pick, b);
    odd = _mm512_permutex2var_epi32(a, _mm512_add_epi32(pick, _mm512_set1_epi32(1)), b);
  }
  static void split_pairs(I a, I b, std::uint32_t* even, std::uint32_t* odd) {
    I e, o;
    split_pairs(a, b, e, o);
    store(even, e);
    store(odd, o);
  }
  static I prefix(I v) {
    const I zero = _mm512_setzero_si512();
    v = add(v, _mm512_maskz_alignr_epi32(every(), v, zero, 15));
    v = add(v, _mm512_maskz_alignr_epi32(every(), v, zero, 14));
    v = add(v, _mm512_maskz_alignr_epi32(every(), v, zero, 12));
    return add(v, _mm512_maskz_alignr_epi32(every(), v, zero, 8));
  }
  static I last_everywhere(I v) { return _mm512_maskz_permutexvar_epi32(every(), all(15), v); }
  static std::uint32_t first(I v) {
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm512_maskz_extracti32x4_epi32(0xF, v, 0)));
  }

  static __mmask8 norm_half(__m256i sum, __m256i square, double area, __m256& factors) {
    // All of this is exact but the root, the division and the rounding to float.
    const __m512d s = _mm512_maskz_cvtepi32_pd(0xFF, sum);
    const __m512d q = _mm512_maskz_cvtepu32_pd(0xFF, square);
    const __m512d variance = _mm512_sub_pd(_mm512_mul_pd(_mm512_set1_pd(area), q), _mm512_mul_pd(s, s));
    const __mmask8 positive = _mm512_cmp_pd_mask(variance, _mm512_setzero_pd(), _CMP_GT_OQ);
    const __m512d safe = _mm512_mask_blend_pd(positive, _mm512_set1_pd(1.0), variance);
    factors = _mm512_maskz_cvtpd_ps(0xFF, _mm512_div_pd(_mm512_set1_pd(1.0), _mm512_maskz_sqrt_pd(0xFF, safe)));
    const __m512d scaled = _mm512_mul_pd(_mm512_set1_pd(area), _mm512_maskz_cvtps_pd(0xFF, factors));
    return static_cast<__mmask8>(positive & _mm512_cmp_pd_mask(scaled, _mm512_set1_pd(0.1), _CMP_LT_OQ));
  }
  static M norm(I sum, I square, double area, F& factors) {
    __m256 low, high;
    const __mmask8 a = norm_half(_mm512_maskz_extracti64x4_epi64(0xF, sum, 0),
                                 _mm512_maskz_extracti64x4_epi64(0xF, square, 0), area, low);
    const __mmask8 b = norm_half(_mm512_maskz_extracti64x4_epi64(0xF, sum, 1),
                                 _mm512_maskz_extracti64x4_epi64(0xF, square, 1), area, high);
    factors = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
    return static_cast<M>(a | b << 8);
  }

  /// `pattern` less `bit` where `cell` is below `centre`.
  static I bit_where_smaller(I pattern, I cell, I centre, std::int32_t bit) {
    return _mm512_mask_sub_epi32(pattern, _mm512_cmplt_epi32_mask(cell, centre), pattern, _mm512_set1_epi32(bit));
  }
  static M in_subset(I pattern, const std::uint32_t* subset) {
    const I table = _mm512_maskz_broadcast_i64x4(0xFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(subset)));
    const I word = _mm512_maskz_permutexvar_epi32(every(), _mm512_maskz_srli_epi32(every(), pattern, 5), table);
    const I bit =
        _mm512_maskz_sllv_epi32(every(), _mm512_set1_epi32(1), _mm512_and_si512(pattern, _mm512_set1_epi32(31)));
    return _mm512_test_epi32_mask(word, bit);
  }
};

#include "cascade/vector_two.inc"
// The scan needs Two.
#include "cascade/vector_rows.inc"
#include "cascade/vector_scan.inc"

}  // namespace mien::cascade::detail::avx512

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
