// Reading the CSV files of FER2013 in their usual forms.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"

namespace mien {

/// "name:line:column: reason", as compilers write it.
inline std::string csv_location(std::string_view name, index_t line, index_t column, std::string_view reason) {
  return std::string(name) + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + std::string(reason);
}

namespace detail {

inline bool is_blank(char c) { return c == ' ' || c == '\t'; }

inline std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

inline bool equals_ignoring_case(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char c = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] - 'A' + 'a') : a[i];
    if (c != lower[i]) return false;
  }
  return true;
}

/// A part of foreign text for an error message: short, and printable whatever it holds.
inline std::string quoted_field(std::string_view text) {
  std::string result = "\"";
  for (const char c : text.substr(0, 32)) result += c >= ' ' && c <= '~' ? c : '?';
  return result + (text.size() > 32 ? "...\"" : "\"");
}

/// What is wrong with a row, and the byte where.
struct CsvError {
  const char* at = nullptr;
  std::string reason;
  explicit operator bool() const { return at != nullptr; }
};

/// Takes the next field off the front of `line`, without the blanks and quotes around it. Fields of these files hold
/// neither commas nor quotes of their own, so that neither is looked for inside.
inline CsvError next_field(std::string_view& line, bool& more, std::string_view& field) {
  while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
  if (!line.empty() && line.front() == '"') {
    const std::size_t end = line.find('"', 1);
    if (end == std::string_view::npos) return {line.data(), "a quote that is not closed on its line"};
    field = trimmed(line.substr(1, end - 1));
    line.remove_prefix(end + 1);
    while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
    if (!line.empty() && line.front() != ',') return {line.data(), "expected a comma after the closing quote"};
  } else {
    const void* comma = line.empty() ? nullptr : std::memchr(line.data(), ',', line.size());
    const std::size_t length =
        comma ? static_cast<std::size_t>(static_cast<const char*>(comma) - line.data()) : line.size();
    field = trimmed(line.substr(0, length));
    line.remove_prefix(length);
  }
  more = !line.empty();
  if (more) line.remove_prefix(1);
  return {};
}

/// Exactly pixels.size() numbers 0 to 255, separated by blanks.
inline CsvError read_pixels(std::string_view field, std::span<std::uint8_t> pixels) {
  const char* at = field.data();
  const char* const end = at + field.size();
  std::size_t count = 0;
  for (;;) {
    while (at != end && is_blank(*at)) ++at;
    if (at == end) break;
    if (count == pixels.size()) {
      std::size_t all = count;
      for (const char* rest = at; rest != end; ++rest) {
        if (!is_blank(*rest) && (rest == at || is_blank(rest[-1]))) ++all;
      }
      return {at, "expected " + std::to_string(pixels.size()) + " pixels, found " + std::to_string(all)};
    }
    // One to three digits and a blank, as nearly all are; whatever looks otherwise goes the slow way.
    if (end - at > 3) {
      const auto digit = [at](int i) { return static_cast<unsigned>(at[i]) - '0'; };
      unsigned value = digit(0);
      int length = 1;
      if (digit(1) <= 9) value = value * 10 + digit(length++);
      if (length == 2 && digit(2) <= 9) value = value * 10 + digit(length++);
      if (digit(0) <= 9 && value <= 255 && at[length] == ' ') {
        pixels[count++] = static_cast<std::uint8_t>(value);
        at += length + 1;
        continue;
      }
    }
    const auto [stop, error] = std::from_chars(at, end, pixels[count]);
    if (error != std::errc{} || (stop != end && !is_blank(*stop))) {
      const char* word = at;
      while (word != end && !is_blank(*word)) ++word;
      return {at, "pixel " + quoted_field({at, static_cast<std::size_t>(word - at)}) + " is no number 0 to 255"};
    }
    ++count;
    at = stop;
  }
  if (count != pixels.size()) {
    return {end, "expected " + std::to_string(pixels.size()) + " pixels, found " + std::to_string(count)};
  }
  return {};
}

}  // namespace detail

/// Reads `text`, a whole CSV file whose first line names the columns `emotion`, `pixels` and perhaps `Usage`, in any
/// order and case, with blanks around them; other columns are passed over. Fields may be quoted, blanks between pixels
/// may be several, lines may end in CRLF, the file may begin with a UTF-8 byte order mark, empty lines are passed over.
///
/// - on_row(int emotion, std::string_view usage, std::span<const std::uint8_t> pixels, index_t line) for every valid
/// row:
///   0 <= emotion < classes, exactly `pixel_count` pixels; usage is empty where there is no such column. Views are
///   valid during the call.
/// - on_bad(index_t line, index_t column, const std::string& reason) for every other row, line and byte column counted
///   from 1; csv_location() makes a message of it. What to do then is up to the caller: go on, or throw.
///
/// Throws FormatError, beginning with `name`:line:column, when the first line lacks a column, and ArgumentError for a
/// pixel count or a number of classes that is not positive. 300 MB/s and more.
template <class Row, class Bad>
void read_fer_csv(std::span<const char> text, std::string_view name, index_t pixel_count, Row&& on_row, Bad&& on_bad,
                  int classes = 7) {
  if (pixel_count < 1 || pixel_count > (index_t{1} << 24) || classes < 1) {
    fail<ArgumentError>({"read_fer_csv: ", pixel_count, " pixels, ", classes, " classes"});
  }
  // A line longer than this is none of such a file; said as such, without counting its fields.
  const std::size_t longest = static_cast<std::size_t>(pixel_count) * 16 + 4096;
  std::string_view rest(text.data(), text.size());
  if (rest.substr(0, 3) == "\xef\xbb\xbf") rest.remove_prefix(3);
  index_t number = 0;
  const auto next_line = [&] {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    ++number;
    return line;
  };

  // The header. Column numbers of the three fields, -1 for none.
  int emotion_column = -1, pixels_column = -1, usage_column = -1;
  const std::string_view header = next_line();
  std::string_view line = header.substr(0, longest);
  std::string_view field;
  bool more = true;
  for (int column = 0; more; ++column) {
    const char* const start = line.data();
    const auto refuse = [&](const char* at, std::string_view reason) {
      fail<FormatError>(csv_location(name, 1, at - header.data() + 1, reason));
    };
    if (const auto error = detail::next_field(line, more, field)) refuse(error.at, error.reason);
    int* known = nullptr;
    if (detail::equals_ignoring_case(field, "emotion")) known = &emotion_column;
    if (detail::equals_ignoring_case(field, "pixels")) known = &pixels_column;
    if (detail::equals_ignoring_case(field, "usage")) known = &usage_column;
    if (known == nullptr) continue;
    if (*known >= 0) refuse(start, "column " + detail::quoted_field(field) + " stands here a second time");
    *known = column;
  }
  if (emotion_column < 0 || pixels_column < 0) {
    fail<FormatError>(csv_location(name, 1, 1,
                                   std::string("no column \"") + (emotion_column < 0 ? "emotion" : "pixels") +
                                       "\" in the header " + detail::quoted_field(header) +
                                       "; expected emotion, pixels and perhaps Usage"));
  }
  const int needed = std::max(emotion_column, std::max(pixels_column, usage_column)) + 1;

  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(pixel_count));
  while (!rest.empty()) {
    const std::string_view whole = next_line();
    if (detail::trimmed(whole).empty()) continue;
    const auto bad = [&](const char* at, const std::string& reason) { on_bad(number, at - whole.data() + 1, reason); };
    if (whole.size() > longest) {
      bad(whole.data() + longest,
          "a line of " + std::to_string(whole.size()) + " bytes, expected at most " + std::to_string(longest));
      continue;
    }
    line = whole;
    more = true;
    int emotion = -1;
    int column = 0;
    std::string_view usage;
    detail::CsvError error;
    for (; more && column < needed && !error; ++column) {
      error = detail::next_field(line, more, field);
      if (error) break;
      if (column == emotion_column) {
        const char* const end = field.data() + field.size();
        const auto [stop, status] = std::from_chars(field.data(), end, emotion);
        if (field.empty() || status != std::errc{} || stop != end || emotion < 0 || emotion >= classes) {
          error = {field.data(),
                   "emotion " + detail::quoted_field(field) + " is no number 0 to " + std::to_string(classes - 1)};
        }
      } else if (column == pixels_column) {
        error = detail::read_pixels(field, pixels);
      } else if (column == usage_column) {
        usage = field;
        if (usage.empty()) error = {field.data(), "the field Usage is empty"};
      }
    }
    if (!error && column < needed) {
      error = {whole.data() + whole.size(), "the line ends after " + std::to_string(column) + " of " +
                                                std::to_string(needed) + " fields: is the file cut off?"};
    }
    if (error) {
      bad(error.at, error.reason);
    } else {
      on_row(emotion, usage, std::span<const std::uint8_t>(pixels), number);
    }
  }
}

}  // namespace mien
