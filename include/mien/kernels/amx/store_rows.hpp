// Sums of AMX tiles rounded to bfloat16 and stored: at once, or a few rows at a time among the products of the next
// ones.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include "mien/kernels/amx/tiles.hpp"

namespace mien::kernels::detail::amx {

/// How rows of sums (32 floats each) become rows of results.
struct RowStores {
  alignas(64) float bias[32] = {};  // added to each row
  bool relu = false;                // max(result, 0) then, NaN kept
  index_t columns = 32;             // the first ones of a row that are stored
  index_t pitch = 0;                // values from one row of results to the next
  bool stream = false;  // past the caches, for 32 columns and aligned rows; stream_end() comes after the last
};

/// Stores `rows` rows of sums at `out`.
MIEN_AMX_INLINE inline void store_rows(const RowStores& how, const float* sums, index_t rows, bfloat16* out) {
  const Floats bias0 = *reinterpret_cast<const Floats*>(how.bias);
  const Floats bias1 = *reinterpret_cast<const Floats*>(how.bias + 16);
  const auto mask = static_cast<std::uint32_t>((std::uint64_t{1} << how.columns) - 1);
  for (index_t row = 0; row < rows; ++row, sums += 32, out += how.pitch) {
    Floats a = *reinterpret_cast<const Floats*>(sums) + bias0;
    Floats b = *reinterpret_cast<const Floats*>(sums + 16) + bias1;
    if (how.relu) {
      a = reinterpret_cast<Floats>(reinterpret_cast<Bits>(a) & ~reinterpret_cast<Bits>(a <= Floats{}));
      b = reinterpret_cast<Floats>(reinterpret_cast<Bits>(b) & ~reinterpret_cast<Bits>(b <= Floats{}));
    }
    Bits both;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(a), "v"(b));
    if (how.stream) {
      __asm__ volatile("vmovntdq %1, %0" : "=m"(*reinterpret_cast<AlignedBits*>(out)) : "v"(both));
    } else if (how.columns == 32) {
      *reinterpret_cast<Bits*>(out) = both;
    } else {
      __asm__ volatile("vmovdqu16 %1, %0%{%2%}"
                       : "=m"(*reinterpret_cast<Bits*>(out))
                       : "v"(both), "Yk"(mask)
                       : "memory");
    }
  }
}

/// store_rows() for callers of any target.
MIEN_AMX inline void store_sums(const RowStores& how, const float* sums, index_t rows, bfloat16* out) {
  store_rows(how, sums, rows, out);
}

/// Streamed rows are in memory for every thread that this one hands its work to.
inline void stream_end() { __asm__ volatile("sfence" : : : "memory"); }

/// Sums whose rounding and storing waits for the products of the next ones. The processor runs ahead of tile products
/// by a few hundred instructions and holds a few dozen stores: all rows at once would fill both and leave the tiles
/// idle, a few between products cost nothing.
class LateStores {
 public:
  explicit LateStores(const RowStores& how) : how_(how) {}
  LateStores(const LateStores&) = delete;
  LateStores& operator=(const LateStores&) = delete;

  /// Where the next sums go: up to four times 16 rows.
  float* next() { return sums_[filling_]; }
  /// The waiting rows are shared out over `times` calls of some(); where padding is all that a window reads, none.
  void begin(index_t times) { share_ = times > 0 ? (waiting_ + times - 1) / times : 0; }
  /// Stores a share of what waits.
  MIEN_AMX_INLINE void some() { store(share_); }
  /// next() is full. What waited before is stored, and what is added now waits.
  void turn() {
    finish();
    filling_ = 1 - filling_;
    count_ = at_ = 0;
  }
  /// Rows [first, first + rows) of the sums go to `out`.
  void add(index_t first, index_t rows, bfloat16* out) {
    runs_[count_++] = {sums_[1 - filling_] + first * 32, rows, out};
    waiting_ += rows;
  }
  /// Stores all that waits.
  MIEN_AMX void finish() { store(waiting_); }

 private:
  struct Run {
    const float* sums;
    index_t rows;
    bfloat16* out;
  };

  MIEN_AMX_INLINE void store(index_t rows) {
    while (rows > 0 && waiting_ > 0) {
      Run& run = runs_[at_];
      const index_t now = rows < run.rows ? rows : run.rows;
      store_rows(how_, run.sums, now, run.out);
      run.sums += now * 32;
      run.out += now * how_.pitch;
      run.rows -= now;
      if (run.rows == 0) ++at_;
      rows -= now;
      waiting_ -= now;
    }
  }

  alignas(64) float sums_[2][4 * 16 * 32];
  const RowStores& how_;
  Run runs_[16];  // four positions of up to four images
  int filling_ = 0, count_ = 0, at_ = 0;
  index_t waiting_ = 0, share_ = 0;  // rows
};

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
