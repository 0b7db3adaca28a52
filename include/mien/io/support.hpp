// What the readers and writers of files share: UTF-8, messages, and sorting. Private to mien/io.
//
// These are plain functions, and where a caller needs nothing back from an optimizer they are kept out of line: every
// user of mien.hpp pays for what is instantiated and inlined here.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "mien/core/error.hpp"

namespace mien::detail {

/// A part of a message: text or a whole number.
class Piece {
 public:
  Piece(const char* text) : text_(text) {}
  Piece(std::string_view text) : text_(text) {}
  Piece(const std::string& text) : text_(text) {}
  template <std::integral I>
  Piece(I number)
      : number_(static_cast<std::uint64_t>(number)), kind_(number < I{0} ? Kind::negative : Kind::positive) {}
  void append_to(std::string& out) const {
    if (kind_ == Kind::text) out += text_;
    if (kind_ == Kind::positive) out += std::to_string(number_);
    if (kind_ == Kind::negative) out += std::to_string(static_cast<std::int64_t>(number_));
  }

 private:
  enum class Kind : unsigned char { text, positive, negative };
  std::string_view text_;
  std::uint64_t number_ = 0;
  Kind kind_ = Kind::text;
};

[[gnu::noinline]] inline std::string join(std::initializer_list<Piece> pieces) {
  std::string out;
  for (const Piece& piece : pieces) piece.append_to(out);
  return out;
}

/// Throws E with the joined message.
template <class E>
[[noreturn, gnu::noinline]] void fail_with(std::initializer_list<Piece> pieces) {
  fail<E>(join(pieces));
}

/// Fills `order` with the indices 0 to `count`-1 such that none is `less` than the one before it; equal ones keep
/// their order (merge sort). Once for all element types, behind a function pointer.
[[gnu::noinline]] inline std::vector<std::size_t> sorted_indices(std::size_t count, const void* context,
                                                                 bool (*less)(const void*, std::size_t, std::size_t)) {
  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  std::vector<std::size_t> merged(count);
  for (std::size_t width = 1; width < count; width *= 2) {
    for (std::size_t start = 0; start < count; start += 2 * width) {
      std::size_t left = start;
      const std::size_t middle = start + width < count ? start + width : count;
      std::size_t right = middle;
      const std::size_t end = middle + width < count ? middle + width : count;
      for (std::size_t out = start; out < end; ++out) {
        const bool take_right = left == middle || (right < end && less(context, order[right], order[left]));
        merged[out] = take_right ? order[right++] : order[left++];
      }
    }
    order.swap(merged);
  }
  return order;
}

/// The first element of `names` that stands in it twice, or null. O(n log n).
[[gnu::noinline]] inline const std::string* find_twice(const std::vector<std::string>& names) {
  const auto order = sorted_indices(names.size(), &names, [](const void* context, std::size_t a, std::size_t b) {
    const auto& all = *static_cast<const std::vector<std::string>*>(context);
    return all[a] < all[b];
  });
  for (std::size_t i = 1; i < order.size(); ++i)
    if (names[order[i - 1]] == names[order[i]]) return &names[order[i]];
  return nullptr;
}

/// Bytes of the well-formed UTF-8 sequence that begins at `text[at]`: 1 to 4, or 0 if it is malformed (overlong,
/// a surrogate, beyond U+10FFFF, cut). Unicode 15, table 3-7. `at` must lie inside the text.
[[gnu::noinline]] inline std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return at + i < text.size() ? static_cast<unsigned>(static_cast<unsigned char>(text[at + i])) : 0U;
  };
  const auto within = [](unsigned value, unsigned low, unsigned high) { return value >= low && value <= high; };
  const auto tail = [&](std::size_t i) { return within(byte(i), 0x80, 0xbf); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (within(lead, 0xc2, 0xdf)) return tail(1) ? 2 : 0;
  if (within(lead, 0xe0, 0xef)) {
    const bool second = within(byte(1), lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf);
    return second && tail(2) ? 3 : 0;
  }
  if (within(lead, 0xf0, 0xf4)) {
    const bool second = within(byte(1), lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf);
    return second && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

inline bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

inline void append_hex(std::string& out, std::uint64_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[(value >> shift) & 15U];
}

/// Text from outside as it may stand in an error message: quoted, cut to `limit` bytes, and without what would steer
/// a terminal (control characters, malformed UTF-8).
[[gnu::noinline]] inline std::string in_quotes(std::string_view text, std::size_t limit = 100) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (i + length > limit) {
      out += "...";
      break;
    }
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool control =
        byte < 0x20 || byte == 0x7f || (length == 2 && byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0);
    const std::size_t step = length == 0 ? 1 : length;
    if (!control && (byte == '"' || byte == '\\')) out += '\\';
    for (std::size_t k = i; k < i + step; ++k) {
      if (length == 0 || control) {
        out += "\\x";
        append_hex(out, static_cast<unsigned char>(text[k]), 2);
      } else {
        out += text[k];
      }
    }
    i += step;
  }
  out += '"';
  return out;
}

/// Neither NaN nor infinite; by its bits, as this must hold under -ffast-math too.
inline bool is_finite(double value) { return (std::bit_cast<std::uint64_t>(value) >> 52 & 0x7ffU) != 0x7ffU; }

}  // namespace mien::detail
