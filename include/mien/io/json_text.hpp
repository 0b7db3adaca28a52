// The lexical half of JSON: escaping, and a cursor that checks every byte it passes. Private to mien/io.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>

#include "mien/io/support.hpp"
#ifndef __cpp_lib_to_chars
#include <cstdlib>  // strtod: some standard libraries cannot read a double with from_chars yet
#endif

namespace mien::detail {

/// Appends `text` as a JSON string. Malformed UTF-8 (a file name, say) becomes U+FFFD, so that the result is JSON.
MIEN_COLD inline void append_json_string(std::string& out, std::string_view text) {
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
      for (std::size_t k = i; k < i + length; ++k) out += text[k];
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

  MIEN_COLD [[noreturn]] void error_at(std::size_t at, std::initializer_list<Piece> message) const {
    fail<FormatError>({what_, ": ", join(message), " (byte ", base_ + at, ")"});
  }
  MIEN_COLD [[noreturn]] void error(std::initializer_list<Piece> message) const { error_at(at_, message); }

  /// The next character that is no white space, which stays unread; NUL at the end.
  MIEN_COLD char peek() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  MIEN_COLD bool accept(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  MIEN_COLD void expect(char c) {
    if (!accept(c)) error({"expected '", std::string_view(&c, 1), "', found ", found()});
  }

  /// After an element: true if a comma announces another one, false if `close` ends the list.
  MIEN_COLD bool more(char close) {
    if (accept(',')) return true;
    if (!accept(close)) error({"expected ',' or '", std::string_view(&close, 1), "', found ", found()});
    return false;
  }

  /// Nothing but white space may follow.
  void end() {
    peek();
    if (at_ < text_.size()) error({"the text goes on behind its end with ", found()});
  }

  bool accept_word(std::string_view word) {
    peek();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  /// Reads a string, its escapes decoded. Refuses raw control characters, malformed UTF-8 and lone surrogates.
  MIEN_COLD std::string string() {
    if (peek() != '"' || at_ == text_.size()) error({"expected a string, found ", found()});
    const std::size_t start = at_++;
    std::string out;
    for (;;) {
      const std::size_t plain = at_;
      while (at_ < text_.size() && is_plain(text_[at_])) ++at_;
      out.append(text_.data() + plain, at_ - plain);
      if (at_ >= text_.size()) error_at(start, {"a string without an end"});
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (static_cast<unsigned char>(c) < 0x20) error({"a raw control character in a string"});
      if (c == '\\') {
        escape(out);
        continue;
      }
      const std::size_t length = utf8_length(text_, at_);
      if (length == 0) error({"malformed UTF-8 in a string"});
      for (const std::size_t end = at_ + length; at_ < end; ++at_) out += text_[at_];
    }
  }

  MIEN_COLD JsonNumber number() {
    const char first = peek();
    const std::size_t start = at_;
    if (first != '-' && !is_digit(first)) error({"expected a number, found ", found()});
    if (text_[at_] == '-') ++at_;
    if (at_ < text_.size() && text_[at_] == '0') {
      ++at_;
      if (at_ < text_.size() && is_digit(text_[at_])) error_at(start, {"a number with a leading zero"});
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
  MIEN_COLD std::string found() const {
    if (at_ >= text_.size()) return "the end";
    const std::size_t length = utf8_length(text_, at_);
    return in_quotes(text_.substr(at_, length == 0 ? 1 : length));
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
  /// ASCII that stands for itself in a string.
  static bool is_plain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  void digits(std::size_t start) {
    const std::size_t before = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    if (at_ == before) error_at(start, {"a number that lacks digits"});
  }

  JsonNumber convert(std::string_view text, std::size_t start, bool whole) const {
    JsonNumber result;
    if (whole && text != "-0") {  // -0 is a double: its sign would be lost
      const bool negative = text[0] == '-';
      constexpr std::uint64_t highest = std::uint64_t{1} << 63;  // of the magnitude, 2^63 only for negative ones
      std::uint64_t magnitude = 0;
      for (std::size_t i = negative ? 1 : 0; i < text.size(); ++i) {
        const auto digit = static_cast<std::uint64_t>(text[i] - '0');
        if (magnitude > (highest - digit) / 10) error_at(start, {"a whole number beyond 64 signed bits"});
        magnitude = magnitude * 10 + digit;
      }
      if (magnitude == highest && !negative) error_at(start, {"a whole number beyond 64 signed bits"});
      result.is_integer = true;
      result.integer = static_cast<std::int64_t>(negative ? ~magnitude + 1 : magnitude);
      return result;
    }
#ifdef __cpp_lib_to_chars
    const bool ok = std::from_chars(text.data(), text.data() + text.size(), result.number).ec == std::errc();
#else
    result.number = std::strtod(std::string(text).c_str(), nullptr);
    const bool ok = is_finite(result.number);
#endif
    if (!ok) error_at(start, {"a number beyond the range of a double"});
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
        error_at(start, {"an escape \\u needs four hexadecimal digits"});
      }
    }
    return value;
  }

  MIEN_COLD void escape(std::string& out) {
    const std::size_t start = at_++;
    const char c = at_ < text_.size() ? text_[at_++] : '\0';
    const std::size_t known = c == '\0' ? std::string_view::npos : std::string_view("\"\\/bfnrt").find(c);
    if (known != std::string_view::npos) {
      out += "\"\\/\b\f\n\r\t"[known];
      return;
    }
    if (c != 'u') error_at(start, {"an unknown escape in a string"});
    unsigned point = hex4(start);
    if (point >= 0xd800 && point < 0xdc00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const unsigned low = hex4(start);
      if (low < 0xdc00 || low > 0xdfff) error_at(start, {"half a surrogate pair in a string"});
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    } else if (point >= 0xd800 && point < 0xe000) {
      error_at(start, {"half a surrogate pair in a string"});
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
