// Face boxes from outside: a CSV of files and rectangles.
#pragma once

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "mien/core/error.hpp"
#include "mien/data/resize.hpp"
#include "mien/io/atomic_file.hpp"

namespace mien::fer {

namespace detail {

/// The fields of a line of CSV, blanks and quotes around them taken off ("" inside quotes is one quote).
inline std::vector<std::string> csv_fields(std::string_view line) {
  std::vector<std::string> fields;
  std::size_t at = 0;
  const auto skip_blanks = [&] {
    while (at < line.size() && line[at] == ' ') ++at;
  };
  for (;;) {
    skip_blanks();
    std::string field;
    if (at < line.size() && line[at] == '"') {
      for (++at; at < line.size(); ++at) {
        if (line[at] == '"') {
          if (at + 1 >= line.size() || line[at + 1] != '"') break;
          ++at;
        }
        field += line[at];
      }
      at = std::min(line.size(), line.find(',', at));
    } else {
      const std::size_t end = std::min(line.size(), line.find(',', at));
      field = line.substr(at, end - at);
      while (!field.empty() && (field.back() == ' ' || field.back() == '\r')) field.pop_back();
      at = end;
    }
    fields.push_back(std::move(field));
    if (at >= line.size()) return fields;
    ++at;
  }
}

}  // namespace detail

/// All boxes of a CSV with the columns file,x,y,w,h in any order (others are passed over), file by file. A row whose
/// four numbers are empty stands for a file without a face. Throws FormatError with file and line.
inline std::map<std::string, std::vector<PixelBox>> read_box_lists(const std::string& path) {
  const auto bytes = read_file(path, std::size_t{64} << 20);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  std::map<std::string, std::vector<PixelBox>> boxes;
  std::vector<std::size_t> columns;
  std::size_t next_line = 1;
  while (!text.empty()) {
    const std::size_t line = next_line;
    std::size_t end = 0;
    for (bool quoted = false; end < text.size() && (quoted || text[end] != '\n'); ++end) {
      if (text[end] == '"') quoted = !quoted;
      if (text[end] == '\n') ++next_line;
    }
    ++next_line;
    const std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (row.find_first_not_of(" \r") == std::string_view::npos) continue;
    const std::vector<std::string> fields = detail::csv_fields(row);
    if (columns.empty()) {
      for (const std::string_view name : {"file", "x", "y", "w", "h"}) {
        const auto at = std::find(fields.begin(), fields.end(), name);
        if (at == fields.end()) fail<FormatError>(path + ":1: no column '" + std::string(name) + "'");
        columns.push_back(static_cast<std::size_t>(at - fields.begin()));
      }
      continue;
    }
    const auto refuse = [&](const std::string& why) { fail<FormatError>(path + ":" + std::to_string(line) + why); };
    long long numbers[4] = {};
    int empty = 0;
    for (std::size_t k = 0; k < 5; ++k) {
      if (columns[k] >= fields.size()) refuse(": too few fields");
      if (k == 0) continue;
      const std::string& f = fields[columns[k]];
      empty += f.empty();
      if (f.empty()) continue;
      const auto [stop, error] = std::from_chars(f.data(), f.data() + f.size(), numbers[k - 1]);
      // "103.0" too, as programs write that have no empty cells among whole numbers.
      const std::string_view rest(stop, static_cast<std::size_t>(f.data() + f.size() - stop));
      const bool whole = rest.empty() || (rest[0] == '.' && rest.find_first_not_of('0', 1) == std::string_view::npos);
      if (error != std::errc() || !whole) refuse(": '" + f + "' is no whole number");
    }
    std::vector<PixelBox>& list = boxes[fields[columns[0]]];
    if (empty == 4) continue;
    if (empty != 0) refuse(": '' is no whole number");
    const auto within = [](long long value, long long low, long long high) { return value >= low && value <= high; };
    if (!within(numbers[0], -1'000'000, 1'000'000) || !within(numbers[1], -1'000'000, 1'000'000) ||
        !within(numbers[2], 1, 16384) || !within(numbers[3], 1, 16384)) {
      refuse(": a box must have a width and height of 1 to 16384, x and y within a million");
    }
    list.push_back({numbers[0], numbers[1], numbers[2], numbers[3]});
  }
  if (columns.empty()) fail<FormatError>(path + ": an empty file; expected the columns file,x,y,w,h");
  return boxes;
}

/// One box by file: of several the largest, the face that most likely was meant.
inline std::map<std::string, PixelBox> read_boxes(const std::string& path) {
  std::map<std::string, PixelBox> boxes;
  for (const auto& [file, list] : read_box_lists(path)) {
    const auto area = [](const PixelBox& box) { return box.width * box.height; };
    const auto smaller = [&](const PixelBox& a, const PixelBox& b) { return area(a) < area(b); };
    if (!list.empty()) boxes[file] = *std::max_element(list.begin(), list.end(), smaller);
  }
  return boxes;
}

}  // namespace mien::fer
