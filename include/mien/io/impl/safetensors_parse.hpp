// Reading safetensors: definitions for mien/io/safetensors.hpp. Private.
#pragma once

#include "mien/io/safetensors.hpp"

namespace mien {

namespace detail {

/// One pass of `parse_safetensors`.
class SafetensorsParser {
 public:
  SafetensorsParser(std::span<const std::byte> bytes, const SafetensorsOptions& options, std::string_view what)
      : options_(options),
        what_(what),
        header_(header_of(bytes)),
        data_(bytes.subspan(prefix + header_.size())),
        in_(header_, what, prefix) {}

  Safetensors parse() {
    in_.expect('{');
    if (!in_.accept('}')) {
      bool has_metadata = false;
      do {
        in_.peek();
        const std::size_t at = in_.position();
        std::string name = in_.string();
        in_.expect(':');
        if (name == "__metadata__") {
          if (std::exchange(has_metadata, true)) in_.error_at(at, "\"__metadata__\" stands twice");
          read_metadata();
        } else {
          read_entry(std::move(name), at);
        }
      } while (in_.more('}'));
    }
    in_.end();
    sort_by_place();
    check_names();
    check_cover();
    if (options_.verify) verify();
    return std::move(result_);
  }

 private:
  static constexpr std::size_t prefix = 8;

  [[noreturn]] void error(const std::string& message) const { fail<FormatError>(std::string(what_) + ": " + message); }

  std::string_view header_of(std::span<const std::byte> bytes) const {
    if (bytes.size() < prefix)
      error("has " + std::to_string(bytes.size()) + " bytes: too short for a safetensors file");
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), prefix);
    if (length > options_.max_header_bytes) {
      error("is no safetensors file, or its header of " + std::to_string(length) + " bytes is over the limit of " +
            std::to_string(options_.max_header_bytes));
    }
    if (length > bytes.size() - prefix) {
      error("is cut off: a header of " + std::to_string(length) + " bytes is announced, but only " +
            std::to_string(bytes.size() - prefix) + " follow");
    }
    return {reinterpret_cast<const char*>(bytes.data()) + prefix, static_cast<std::size_t>(length)};
  }

  std::int64_t whole_number() {
    in_.peek();
    const std::size_t at = in_.position();
    const JsonNumber number = in_.number();
    if (!number.is_integer || number.integer < 0) in_.error_at(at, "expected a whole number of at least 0");
    return number.integer;
  }

  void read_metadata() {
    in_.expect('{');
    if (in_.accept('}')) return;
    do {
      if (result_.metadata_.size() == options_.max_metadata) {
        in_.error("more than " + std::to_string(options_.max_metadata) + " entries in the metadata");
      }
      std::string key = in_.string();
      in_.expect(':');
      in_.peek();
      if (key == header_checksum_key) header_checksum_at_ = in_.position() + 1;
      std::string value = in_.string();
      result_.metadata_.emplace_back(std::move(key), std::move(value));
    } while (in_.more('}'));
    std::vector<std::string_view> keys;
    for (const auto& [key, value] : result_.metadata_) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) error(quoted(*twice) + " stands twice in the metadata");
  }

  void read_entry(std::string name, std::size_t at) {
    if (result_.entries_.size() == options_.max_tensors) {
      in_.error_at(at, "more than " + std::to_string(options_.max_tensors) + " tensors");
    }
    if (name.empty() || name.find('\0') != std::string::npos) {
      in_.error_at(at, "the name of a tensor is empty or holds a NUL character");
    }
    SafetensorsEntry entry;
    entry.name = std::move(name);
    std::array<std::int64_t, 2> offsets{};
    unsigned seen = 0;
    in_.expect('{');
    do {
      in_.peek();
      const std::size_t field_at = in_.position();
      const std::string field = in_.string();
      in_.expect(':');
      const unsigned bit = field == "dtype" ? 1U : field == "shape" ? 2U : field == "data_offsets" ? 4U : 0U;
      if (bit == 0) in_.error_at(field_at, "unknown field " + quoted(field) + of(entry));
      if ((seen & bit) != 0) in_.error_at(field_at, quoted(field) + " stands twice" + of(entry));
      seen |= bit;
      if (bit == 1) read_dtype(entry);
      if (bit == 2) read_shape(entry);
      if (bit == 4) read_offsets(offsets);
    } while (in_.more('}'));
    if (seen != 7) in_.error_at(at, "dtype, shape or data_offsets is missing" + of(entry));
    place(entry, offsets, at);
    result_.entries_.push_back(std::move(entry));
  }

  static std::string of(const SafetensorsEntry& entry) { return " in tensor " + quoted(entry.name); }

  void read_dtype(SafetensorsEntry& entry) {
    in_.peek();
    const std::size_t at = in_.position();
    const std::string name = in_.string();
    const auto known = std::find_if(dtype_facts.begin(), dtype_facts.end(),
                                    [&](const DtypeFacts& facts) { return facts.name == name; });
    if (known == dtype_facts.end()) in_.error_at(at, "unknown dtype " + quoted(name) + of(entry));
    entry.dtype = static_cast<Dtype>(known - dtype_facts.begin());
  }

  void read_shape(SafetensorsEntry& entry) {
    in_.expect('[');
    if (in_.accept(']')) return;
    do {
      if (entry.rank == SafetensorsEntry::max_rank) {
        in_.error("more than " + std::to_string(SafetensorsEntry::max_rank) + " extents" + of(entry));
      }
      entry.extents[static_cast<std::size_t>(entry.rank++)] = static_cast<index_t>(whole_number());
    } while (in_.more(']'));
  }

  void read_offsets(std::array<std::int64_t, 2>& offsets) {
    in_.expect('[');
    offsets[0] = whole_number();
    in_.expect(',');
    offsets[1] = whole_number();
    in_.expect(']');
  }

  /// Checks size and place of an entry in the data, and points it there.
  void place(SafetensorsEntry& entry, const std::array<std::int64_t, 2>& offsets, std::size_t at) {
    std::uint64_t bits = static_cast<std::uint64_t>(dtype_bits(entry.dtype));
    bool empty = false;
    for (int i = 0; i < entry.rank; ++i) {
      // Beyond 2^63 is an error even if another extent is zero: whoever multiplies in another order overflows.
      const auto extent = static_cast<std::uint64_t>(entry.extents[static_cast<std::size_t>(i)]);
      empty = empty || extent == 0;
      if (extent > 0 && bits > (std::uint64_t{1} << 63) / extent) {
        in_.error_at(at, entry.describe() + " is larger than can be addressed");
      }
      bits *= extent > 0 ? extent : 1;
    }
    if (empty) bits = 0;
    if (bits % 8 != 0) in_.error_at(at, entry.describe() + " ends within a byte");
    const auto [begin, end] = offsets;
    if (begin > end || static_cast<std::uint64_t>(end) > data_.size()) {
      in_.error_at(at, entry.describe() + " claims bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                           " of " + std::to_string(data_.size()) + "; the file is damaged or cut off");
    }
    if (static_cast<std::uint64_t>(end - begin) != bits / 8) {
      in_.error_at(at, entry.describe() + " takes " + std::to_string(bits / 8) + " bytes, but " +
                           std::to_string(end - begin) + " are set aside");
    }
    entry.bytes = data_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }

  void sort_by_place() {
    std::stable_sort(result_.entries_.begin(), result_.entries_.end(), [](const auto& a, const auto& b) {
      return a.bytes.data() != b.bytes.data() ? a.bytes.data() < b.bytes.data() : a.bytes.size() < b.bytes.size();
    });
  }

  void check_names() {
    std::vector<std::size_t>& order = result_.by_name_;
    const auto& entries = result_.entries_;
    for (std::size_t i = 0; i < entries.size(); ++i) order.push_back(i);
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return entries[a].name < entries[b].name; });
    for (std::size_t i = 1; i < order.size(); ++i) {
      if (entries[order[i - 1]].name == entries[order[i]].name) {
        error("the tensor " + quoted(entries[order[i]].name) + " stands twice");
      }
    }
  }

  /// No hole, no overlap, no rest: nothing can hide in the file, and no byte is read as two tensors.
  void check_cover() const {
    std::size_t covered = 0;
    for (const SafetensorsEntry& entry : result_.entries_) {
      const auto start = static_cast<std::size_t>(entry.bytes.data() - data_.data());
      if (start != covered) {
        error(entry.describe() + " begins at byte " + std::to_string(start) +
              " of the data, but the tensors before it end at " + std::to_string(covered));
      }
      covered += entry.bytes.size();
    }
    if (covered != data_.size()) {
      error(std::to_string(data_.size() - covered) + " bytes behind the last tensor belong to none");
    }
  }

  void verify() const {
    const auto bytes_of = [](std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); };
    if (const std::string* const stored = result_.find_metadata(header_checksum_key)) {
      constexpr std::size_t digits = no_checksum.size();
      const std::string_view rest = header_.substr(std::min(header_.size(), header_checksum_at_ + digits));
      std::uint32_t crc = crc32c(bytes_of(header_.substr(0, header_checksum_at_)));
      crc = crc32c(bytes_of(rest), crc32c(bytes_of(no_checksum), crc));
      compare("header", *stored, crc);
    }
    if (const std::string* const stored = result_.find_metadata(data_checksum_key)) {
      compare("data", *stored, crc32c(data_));
    }
  }

  void compare(const char* part, const std::string& stored, std::uint32_t crc) const {
    if (stored == checksum_text(crc)) return;
    error(std::string("the checksum of its ") + part + " is " + checksum_text(crc) + ", not " + quoted(stored) +
          ": the file is damaged. If another program changed it on purpose, let that leave " +
          std::string(data_checksum_key) + " and " + std::string(header_checksum_key) + " out of the metadata");
  }

  const SafetensorsOptions& options_;
  std::string_view what_;
  std::string_view header_;
  std::span<const std::byte> data_;
  JsonCursor in_;
  Safetensors result_;
  std::size_t header_checksum_at_ = 0;
};

}  // namespace detail

inline Safetensors parse_safetensors(std::span<const std::byte> bytes, const SafetensorsOptions& options,
                                     std::string_view what) {
  return detail::SafetensorsParser(bytes, options, what).parse();
}

}  // namespace mien
