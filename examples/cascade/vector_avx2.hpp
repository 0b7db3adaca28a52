// The scan with AVX2: eight windows at once.
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
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

namespace mien::cascade::detail::avx2 {

struct One {
  using I = __m256i;
  using F = __m256;
  using M = __m256i;  // all bits of a lane or none
  static constexpr int lanes = 8;

  static I load(const std::uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static F load_float(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static I all(std::int32_t v) { return _mm256_set1_epi32(v); }
  static F all(float v) { return _mm256_set1_ps(v); }
  static I add(I a, I b) { return _mm256_add_epi32(a, b); }
  static I sub(I a, I b) { return _mm256_sub_epi32(a, b); }
  static F to_float(I v) { return _mm256_cvtepi32_ps(v); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F multiply_add(F a, float b, F c) { return _mm256_fmadd_ps(a, _mm256_set1_ps(b), c); }
  static M less(F a, float b) { return _mm256_castps_si256(_mm256_cmp_ps(a, _mm256_set1_ps(b), _CMP_LT_OQ)); }
  static I add_where(I a, M mask, std::int32_t b) {
    return _mm256_add_epi32(a, _mm256_and_si256(mask, _mm256_set1_epi32(b)));
  }
  static std::uint32_t bits(M a) { return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(a))); }
  static std::uint32_t above(I a, std::int32_t b) { return bits(_mm256_cmpgt_epi32(a, _mm256_set1_epi32(b))); }
  static M every() { return _mm256_set1_epi32(-1); }
  static M none() { return _mm256_setzero_si256(); }
  static M both(M a, M b) { return _mm256_and_si256(a, b); }
  static M either(M a, M b) { return _mm256_or_si256(a, b); }
  static M first_only(M a, M b) { return _mm256_andnot_si256(b, a); }

  static void gather(const std::uint32_t* base, const std::int32_t* places, std::uint32_t* out) {
    // Eight loads: on processors that carry a mitigation against leaks through gathers, those are far slower.
    for (int i = 0; i < lanes; ++i) out[i] = base[places[i]];
  }

  static void store(std::uint32_t* p, I v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static I load_bytes(const std::uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static void store_bytes(std::uint8_t* p, I v) {
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
  }
  static I least(I a, I b) { return _mm256_min_epi32(a, b); }
  static I exclusive_or(I a, I b) { return _mm256_xor_si256(a, b); }
  static I shift_left(I a, int n) { return _mm256_slli_epi32(a, n); }
  static I shift_right(I a, int n) { return _mm256_srli_epi32(a, n); }
  static I shift_right_by(I a, I n) { return _mm256_srlv_epi32(a, n); }
  /// Low two bytes of every lane, each in 16 bits.
  static I bytes_to_pairs(I a) {
    return _mm256_shuffle_epi8(
        a, _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1)));
  }
  /// Sum of the products of the low and of the high 16 bits.
  static I dot_pairs(I a, I b) { return _mm256_madd_epi16(a, b); }
  static I gather_bytes(const std::uint8_t* base, I at) {
    return _mm256_mask_i32gather_epi32(none(), reinterpret_cast<const int*>(base), at, every(), 1);
  }
  static void load_taps(const Tap* taps, I& index, I& weight) {
    const auto* const p = reinterpret_cast<const std::uint32_t*>(taps);
    split_pairs(load(p), load(p + lanes), index, weight);
  }
  static void split_pairs(I a, I b, I& even, I& odd) {
    const __m256 fa = _mm256_castsi256_ps(a), fb = _mm256_castsi256_ps(b);
    even = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(fa, fb, 0x88)), 0xD8);
    odd = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(fa, fb, 0xDD)), 0xD8);
  }
  static void split_pairs(I a, I b, std::uint32_t* even, std::uint32_t* odd) {
    I e, o;
    split_pairs(a, b, e, o);
    store(even, e);
    store(odd, o);
  }
  static I prefix(I v) {
    v = add(v, _mm256_slli_si256(v, 4));
    v = add(v, _mm256_slli_si256(v, 8));
    // Both halves are done by themselves: the upper one still lacks the sum of the lower.
    const I low_sum = _mm256_shuffle_epi32(_mm256_permute2x128_si256(v, v, 0x08), 0xFF);
    return add(v, low_sum);
  }
  static I last_everywhere(I v) { return _mm256_permutevar8x32_epi32(v, all(7)); }
  static std::uint32_t first(I v) { return static_cast<std::uint32_t>(_mm256_cvtsi256_si32(v)); }

  static __m256d norm_half(__m128i sum, __m128i square, double area, __m128& factors) {
    const __m256d s = _mm256_cvtepi32_pd(sum);
    // Unsigned to double: move the range by 2^31 and back.
    const __m128i shifted = _mm_xor_si128(square, _mm_set1_epi32(-2147483647 - 1));
    const __m256d q = _mm256_add_pd(_mm256_cvtepi32_pd(shifted), _mm256_set1_pd(2147483648.0));
    const __m256d variance = _mm256_sub_pd(_mm256_mul_pd(_mm256_set1_pd(area), q), _mm256_mul_pd(s, s));
    const __m256d positive = _mm256_cmp_pd(variance, _mm256_setzero_pd(), _CMP_GT_OQ);
    const __m256d safe = _mm256_blendv_pd(_mm256_set1_pd(1.0), variance, positive);
    factors = _mm256_cvtpd_ps(_mm256_div_pd(_mm256_set1_pd(1.0), _mm256_sqrt_pd(safe)));
    const __m256d scaled = _mm256_mul_pd(_mm256_set1_pd(area), _mm256_cvtps_pd(factors));
    return _mm256_and_pd(positive, _mm256_cmp_pd(scaled, _mm256_set1_pd(0.1), _CMP_LT_OQ));
  }
  static M norm(I sum, I square, double area, F& factors) {
    __m128 low, high;
    const __m256d a = norm_half(_mm256_castsi256_si128(sum), _mm256_castsi256_si128(square), area, low);
    const __m256d b = norm_half(_mm256_extracti128_si256(sum, 1), _mm256_extracti128_si256(square, 1), area, high);
    factors = _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
    // Even elements of both, then their quarters in order.
    const __m256 halves = _mm256_shuffle_ps(_mm256_castpd_ps(a), _mm256_castpd_ps(b), 0x88);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(halves), 0xD8);
  }

  /// `pattern` less `bit` where `cell` is below `centre`.
  static I bit_where_smaller(I pattern, I cell, I centre, std::int32_t bit) {
    return _mm256_sub_epi32(pattern, _mm256_and_si256(_mm256_cmpgt_epi32(centre, cell), _mm256_set1_epi32(bit)));
  }
  static M in_subset(I pattern, const std::uint32_t* subset) {
    const I table = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(subset));
    const I word = _mm256_permutevar8x32_epi32(table, _mm256_srli_epi32(pattern, 5));
    // The wanted bit becomes the sign.
    const I up = _mm256_sub_epi32(_mm256_set1_epi32(31), _mm256_and_si256(pattern, _mm256_set1_epi32(31)));
    return _mm256_srai_epi32(_mm256_sllv_epi32(word, up), 31);
  }
};

#include "cascade/vector_two.inc"
// The scan needs Two.
#include "cascade/vector_rows.inc"
#include "cascade/vector_scan.inc"

}  // namespace mien::cascade::detail::avx2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
