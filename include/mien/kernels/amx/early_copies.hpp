// Padded rows of images side by side, copied a few lines at a time among tile products, ahead of those that read them.
#pragma once

#include "mien/core/config.hpp"

#if MIEN_HAS_X86_KERNELS

#include <cstring>

#include "mien/kernels/amx/tiles.hpp"
#include "mien/kernels/pack.hpp"

namespace mien::kernels::detail::amx {

/// Copies what copy_padded() does, without steps and for channels in whole lines of 64 bytes. What comes from far away
/// arrives while the tiles work, and is still in the first cache when they read it.
class EarlyCopies {
 public:
  /// None.
  EarlyCopies() = default;
  /// Padded rows from `row` on, each of `images` next to each other from `x` on, which are `image` values apart; rows
  /// of the copy are `pitch` values apart.
  EarlyCopies(const Placement& place, const bfloat16* x, index_t images, index_t image, index_t row, bfloat16* to,
              index_t pitch)
      : place_(&place), x_(x), to_(to), images_(images), image_(image), pitch_(pitch), first_(row), row_(row) {
    v0_ = place.offset_w >= 0 ? 0 : -place.offset_w;
    index_t v1 = place.padded_width - place.offset_w;
    if (v1 > place.width) v1 = place.width;
    lines_ = v1 > v0_ ? (v1 - v0_) * place.channels / line : 0;
    target_ = row;
  }

  /// Rows before `row` are there after `times` calls of some(), or after finish().
  void begin(index_t row, index_t times) {
    if (place_ == nullptr || row <= target_) return;
    target_ = row;
    share_ = ((target_ - row_) * images_ * lines_ + times - 1) / times;
  }
  /// Copies a share.
  MIEN_AMX_INLINE void some() { copy(share_); }
  /// Copies all that begin() was told.
  MIEN_AMX void finish() { copy((target_ - row_) * images_ * lines_ + 1); }

 private:
  static constexpr index_t line = 32;  // values in 64 bytes

  MIEN_AMX_INLINE void copy(index_t lines) {
    while (lines > 0 && row_ < target_) {
      if (left_ == 0) {
        open();
        continue;
      }
      const index_t now = lines < left_ ? lines : left_;
      for (index_t i = 0; i < now; ++i, from_ += line, at_ += line)
        *reinterpret_cast<Bits*>(at_) = *reinterpret_cast<const Bits*>(from_);
      lines -= now;
      left_ -= now;
      if (left_ == 0) next();
    }
  }
  /// Begins the row of one image: what surrounds it is zero.
  void open() {
    const Placement& p = *place_;
    const index_t h = row_ - p.offset_h, size = p.padded_width * p.channels;
    at_ = to_ + (row_ - first_) * pitch_ + n_ * size;
    const bool inside = h >= 0 && h < p.height && lines_ > 0;
    const index_t before = inside ? (v0_ + p.offset_w) * p.channels : size;
    zero(at_, before);
    at_ += before;
    if (!inside) return next();
    left_ = lines_;
    from_ = x_ + n_ * image_ + (h * p.width + v0_) * p.channels;
    zero(at_ + lines_ * line, size - before - lines_ * line);
  }
  void next() {
    if (++n_ < images_) return;
    n_ = 0;
    ++row_;
  }
  static void zero(bfloat16* at, index_t values) {
    std::memset(static_cast<void*>(at), 0, static_cast<std::size_t>(values) * sizeof(bfloat16));
  }

  const Placement* place_ = nullptr;
  const bfloat16 *x_ = nullptr, *from_ = nullptr;
  bfloat16 *to_ = nullptr, *at_ = nullptr;
  index_t images_ = 0, image_ = 0, pitch_ = 0, v0_ = 0, lines_ = 0;
  index_t first_ = 0, row_ = 0, n_ = 0, left_ = 0;  // row and image that are copied, lines of them left
  index_t target_ = 0, share_ = 0;
};

}  // namespace mien::kernels::detail::amx

#endif  // MIEN_HAS_X86_KERNELS
