// history.csv: the course of a training run, one row per epoch.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "mien/core/error.hpp"
#include "mien/io/atomic_file.hpp"
#include "mien/train/history.hpp"

namespace mien::fer {

inline constexpr std::string_view history_columns =
    "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,validation_macro_f1,learning_rate,seconds,"
    "images_per_second";

namespace detail {
/// The columns behind `epoch`, in order.
inline constexpr double EpochReport::*history_fields[] = {&EpochReport::train_loss,
                                                          &EpochReport::train_accuracy,
                                                          &EpochReport::validation_loss,
                                                          &EpochReport::validation_accuracy,
                                                          &EpochReport::validation_macro_f1,
                                                          &EpochReport::learning_rate,
                                                          &EpochReport::seconds,
                                                          &EpochReport::images_per_second};

template <class Number>
bool read_number(std::string_view text, Number& number) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && stop == text.data() + text.size();
}
}  // namespace detail

/// The CSV text: a line of names, then a line per epoch, numbers in the shortest form that reads back exactly.
inline std::string history_csv(std::span<const EpochReport> epochs) {
  std::string text(history_columns);
  text += '\n';
  for (const EpochReport& row : epochs) {
    text += std::to_string(row.epoch);
    for (const auto field : detail::history_fields) {
      char digits[40];
      text += ',';
      text.append(digits, std::to_chars(digits, digits + sizeof digits, row.*field).ptr);
    }
    text += '\n';
  }
  return text;
}

/// Replaces `path` by the history, atomically. Throws FileError.
inline void write_history(const std::string& path, std::span<const EpochReport> epochs) {
  write_file_atomically(path, history_csv(epochs));
}

/// Reads what history_csv wrote (CRLF allowed). Throws FormatError with `name`:line for anything else.
inline std::vector<EpochReport> parse_history(std::string_view text, const std::string& name) {
  std::vector<EpochReport> epochs;
  std::size_t line = 0;
  const auto damaged = [&](const char* what) {
    fail<FormatError>(name + ":" + std::to_string(line) + ": " + what + "; is it a history.csv of this version?");
  };
  while (!text.empty() || line == 0) {
    ++line;
    const std::size_t end = text.find('\n');
    std::string_view rest = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!rest.empty() && rest.back() == '\r') rest.remove_suffix(1);
    if (line == 1) {
      if (rest != history_columns) damaged("other columns than expected");
      continue;
    }
    const auto next_field = [&] {
      const std::size_t comma = rest.find(',');
      const std::string_view field = rest.substr(0, comma);
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
      return field;
    };
    if (std::count(rest.begin(), rest.end(), ',') != static_cast<index_t>(std::size(detail::history_fields))) {
      damaged("expected 9 fields");
    }
    EpochReport row;
    if (!detail::read_number(next_field(), row.epoch) || row.epoch < 1) damaged("the epoch is no number from 1 up");
    for (const auto field : detail::history_fields) {
      if (!detail::read_number(next_field(), row.*field)) damaged("a field is no number");
    }
    epochs.push_back(row);
  }
  return epochs;
}

/// Reads a history file. Throws FileError or FormatError.
inline std::vector<EpochReport> read_history(const std::string& path) {
  const auto bytes = read_file(path, std::size_t{64} << 20);
  return parse_history({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

}  // namespace mien::fer
