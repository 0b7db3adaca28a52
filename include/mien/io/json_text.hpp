// The lexical half of JSON: UTF-8, escaping, and a cursor that checks every byte it passes. Private to mien/io.
#pragma once

#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include "mien/core/error.hpp"
#ifndef __cpp_lib_to_chars
#include <cstdlib>  // strtod: some standard libraries cannot read a double with from_chars yet
#endif

namespace mien::detail {

/// Bytes of the well-formed UTF-8 sequence that begins at `text[at]`: 1 to 4, or 0 if it is malformed (overlong,
/// a surrogate, beyond U+10FFFF, cut). Unicode 15, table 3-7. `at` must lie inside the text.
inline std::size_t utf8_length(std::string_view text, std::size_t at) {
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

/// Neither NaN nor infinite; by its bits, as this must hold under -ffast-math too.
inline bool is_finite(double value) { return (std::bit_cast<std::uint64_t>(value) >> 52 & 0x7ffU) != 0x7ffU; }

inline void append_hex(std::string& out, std::uint64_t value, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[(value >> shift) & 15U];
}

/// Text from outside as it may stand in an error message: quoted, cut to `limit` bytes, and without what would steer
/// a terminal (control characters, malformed UTF-8).
inline std::string quoted(std::string_view text, std::size_t limit = 100) {
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
    if (length == 0 || control) {
      for (std::size_t k = 0; k < (length == 0 ? 1 : length); ++k) {
        out += "\\x";
        append_hex(out, static_cast<unsigned char>(text[i + k]), 2);
      }
    } else {
      if (byte == '"' || byte == '\\') out += '\\';
      out.append(text.substr(i, length));
    }
    i += length == 0 ? 1 : length;
  }
  return out + '"';
}

/// Appends `text` as a JSON string. Malformed UTF-8 (a file name, say) becomes U+FFFD, so that the result is JSON.
inline void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    const char c = text[i];
    if (length == 0) {
      out += "\xef\xbf\xbd";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      const std::size_t known = std::string_view("\b\f\n\r\t").find(c);
      out += '\\';
      if (known != std::string_view::npos) {
        out += "bfnrt"[known];
      } else {
        out += 'u';
        append_hex(out, static_cast<unsigned char>(c), 4);
      }
    } else {
      out.append(text.substr(i, length));
    }
    i += length == 0 ? 1 : length;
  }
  out += '"';
}

/// A JSON number: whole numbers within 64 signed bits are kept exactly, everything else as the nearest double.
struct JsonNumber {
  bool is_integer = false;
  std::int64_t integer = 0;
  double number = 0;
};

/// Walks over JSON text (RFC 8259, strict). Every error is a FormatError that names `what` and the byte offset.
class JsonCursor {
 public:
  /// `base` is where the text begins in its file: it is added to the offsets in errors.
  JsonCursor(std::string_view text, std::string_view what, std::size_t base = 0)
      : text_(text), what_(what), base_(base) {}

  std::size_t position() const { return at_; }

  [[noreturn]] void error_at(std::size_t at, const std::string& message) const {
    fail<FormatError>(std::string(what_) + ": " + message + " (byte " + std::to_string(base_ + at) + ")");
  }
  [[noreturn]] void error(const std::string& message) const { error_at(at_, message); }

  /// The next character that is no white space, which stays unread; NUL at the end.
  char peek() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool accept(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) error(std::string("expected '") + c + "', found " + found());
  }

  /// After an element: true if a comma announces another one, false if `close` ends the list.
  bool more(char close) {
    if (accept(',')) return true;
    if (!accept(close)) error(std::string("expected ',' or '") + close + "', found " + found());
    return false;
  }

  /// Nothing but white space may follow.
  void end() {
    peek();
    if (at_ < text_.size()) error("the text goes on behind its end with " + found());
  }

  bool accept_word(std::string_view word) {
    peek();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  /// Reads a string, its escapes decoded. Refuses raw control characters, malformed UTF-8 and lone surrogates.
  std::string string() {
    if (peek() != '"' || at_ == text_.size()) error("expected a string, found " + found());
    const std::size_t start = at_++;
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) error_at(start, "a string without an end");
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (static_cast<unsigned char>(c) < 0x20) error("a raw control character in a string");
      if (c == '\\') {
        escape(out);
        continue;
      }
      const std::size_t length = utf8_length(text_, at_);
      if (length == 0) error("malformed UTF-8 in a string");
      out.append(text_.substr(at_, length));
      at_ += length;
    }
  }

  JsonNumber number() {
    const char first = peek();
    const std::size_t start = at_;
    if (first != '-' && !is_digit(first)) error("expected a number, found " + found());
    if (text_[at_] == '-') ++at_;
    if (at_ < text_.size() && text_[at_] == '0') {
      ++at_;
      if (at_ < text_.size() && is_digit(text_[at_])) error_at(start, "a number with a leading zero");
    } else {
      digits(start);
    }
    bool whole = true;
    if (at_ < text_.size() && text_[at_] == '.') {
      whole = false;
      ++at_;
      digits(start);
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      whole = false;
      ++at_;
      if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      digits(start);
    }
    return convert(text_.substr(start, at_ - start), start, whole);
  }

  /// What stands here, for an error.
  std::string found() const {
    return at_ < text_.size() ? quoted(text_.substr(at_, utf8_length(text_, at_) == 0 ? 1 : utf8_length(text_, at_)))
                              : "the end";
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  void digits(std::size_t start) {
    const std::size_t before = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    if (at_ == before) error_at(start, "a number that lacks digits");
  }

  JsonNumber convert(std::string_view text, std::size_t start, bool whole) const {
    JsonNumber result;
    const char* const last = text.data() + text.size();
    if (whole && text != "-0") {  // -0 is a double: its sign would be lost
      result.is_integer = true;
      if (std::from_chars(text.data(), last, result.integer).ec != std::errc()) {
        error_at(start, "a whole number beyond 64 signed bits");
      }
      result.number = static_cast<double>(result.integer);
      return result;
    }
#ifdef __cpp_lib_to_chars
    const bool ok = std::from_chars(text.data(), last, result.number).ec == std::errc();
#else
    result.number = std::strtod(std::string(text).c_str(), nullptr);
    const bool ok = is_finite(result.number);
#endif
    if (!ok) error_at(start, "a number beyond the range of a double");
    return result;
  }

  unsigned hex4(std::size_t start) {
    unsigned value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const char lower = static_cast<char>(c | 0x20);
      if (is_digit(c)) {
        value = value * 16 + static_cast<unsigned>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + static_cast<unsigned>(lower - 'a' + 10);
      } else {
        error_at(start, "an escape \\u needs four hexadecimal digits");
      }
    }
    return value;
  }

  void escape(std::string& out) {
    const std::size_t start = at_++;
    const char c = at_ < text_.size() ? text_[at_++] : '\0';
    const std::size_t known = c == '\0' ? std::string_view::npos : std::string_view("\"\\/bfnrt").find(c);
    if (known != std::string_view::npos) {
      out += "\"\\/\b\f\n\r\t"[known];
      return;
    }
    if (c != 'u') error_at(start, "an unknown escape in a string");
    unsigned point = hex4(start);
    if (point >= 0xd800 && point < 0xdc00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const unsigned low = hex4(start);
      if (low < 0xdc00 || low > 0xdfff) error_at(start, "half a surrogate pair in a string");
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    } else if (point >= 0xd800 && point < 0xe000) {
      error_at(start, "half a surrogate pair in a string");
    }
    append_utf8(out, point);
  }

  static void append_utf8(std::string& out, unsigned point) {
    const auto put = [&](unsigned byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (point < 0x80) {
      put(point);
    } else if (point < 0x800) {
      put(0xc0 | (point >> 6));
      put(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
      put(0xe0 | (point >> 12));
      put(0x80 | ((point >> 6) & 0x3f));
      put(0x80 | (point & 0x3f));
    } else {
      put(0xf0 | (point >> 18));
      put(0x80 | ((point >> 12) & 0x3f));
      put(0x80 | ((point >> 6) & 0x3f));
      put(0x80 | (point & 0x3f));
    }
  }

  std::string_view text_;
  std::string_view what_;
  std::size_t base_;
  std::size_t at_ = 0;
};

}  // namespace mien::detail
