// Reading safetensors: definitions for mien/io/safetensors.hpp. Private.
#pragma once

#include "mien/io/crc32c.hpp"
#include "mien/io/json_text.hpp"
#include "mien/io/safetensors.hpp"
#include "mien/io/support.hpp"

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

  MIEN_COLD Safetensors parse() {
    bool has_metadata = false;
    in_.expect('{');
    bool more = !in_.accept('}');
    for (; more; more = in_.more('}')) {
      const std::size_t at = here();
      std::string name = in_.string();
      in_.expect(':');
      if (name != "__metadata__") {
        read_entry(std::move(name), at);
      } else if (!std::exchange(has_metadata, true)) {
        read_metadata();
      } else {
        in_.error_at(at, {"\"__metadata__\" stands twice"});
      }
    }
    in_.end();
    check_names();
    check_cover();
    if (options_.verify) verify();
    return std::move(result_);
  }

 private:
  static constexpr std::size_t prefix = 8;

  MIEN_COLD [[noreturn]] void error(std::initializer_list<Piece> message) const {
    fail<FormatError>({what_, ": ", join(message)});
  }

  std::string_view header_of(std::span<const std::byte> bytes) const {
    const std::size_t size = bytes.size();
    if (size < prefix) error({"has ", size, " bytes: too short for a safetensors file"});
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), prefix);
    if (length > options_.max_header_bytes) {
      error({"is no safetensors file, or its header of ", length, " bytes is over the limit of ",
             options_.max_header_bytes});
    }
    if (length > size - prefix) {
      error({"is cut off: a header of ", length, " bytes is announced, but only ", size - prefix, " follow"});
    }
    return {reinterpret_cast<const char*>(bytes.data()) + prefix, static_cast<std::size_t>(length)};
  }

  /// Where the next token begins.
  std::size_t here() {
    in_.peek();
    return in_.position();
  }

  std::int64_t whole_number() {
    const std::size_t at = here();
    const JsonNumber number = in_.number();
    if (!number.is_integer || number.integer < 0) in_.error_at(at, {"expected a whole number of at least 0"});
    return number.integer;
  }

  MIEN_COLD void read_metadata() {
    std::vector<std::string> keys;
    in_.expect('{');
    bool more = !in_.accept('}');
    for (; more; more = in_.more('}')) {
      if (keys.size() == options_.max_metadata) {
        in_.error({"more than ", options_.max_metadata, " entries in the metadata"});
      }
      keys.push_back(in_.string());
      in_.expect(':');
      const std::size_t at = here();
      if (keys.back() == header_checksum_key) header_checksum_at_ = at + 1;
      result_.metadata_.push_back({keys.back(), in_.string()});
    }
    if (const std::string* const twice = find_twice(keys)) error({in_quotes(*twice), " stands twice in the metadata"});
  }

  MIEN_COLD void read_entry(std::string name, std::size_t at) {
    if (result_.entries_.size() == options_.max_tensors) {
      in_.error_at(at, {"more than ", options_.max_tensors, " tensors"});
    }
    if (name.empty() || name.find('\0') != std::string::npos) {
      in_.error_at(at, {"the name of a tensor is empty or holds a NUL character"});
    }
    result_.entries_.push_back({});
    SafetensorsEntry& entry = result_.entries_.back();
    entry.name = std::move(name);
    std::int64_t offsets[2] = {};
    unsigned seen = 0;
    in_.expect('{');
    do {
      const std::size_t field_at = here();
      const std::string field = in_.string();
      in_.expect(':');
      const unsigned bit = field == "dtype" ? 1U : field == "shape" ? 2U : field == "data_offsets" ? 4U : 0U;
      if (bit == 0) in_.error_at(field_at, {"unknown field ", in_quotes(field), " in tensor ", in_quotes(entry.name)});
      if ((seen & bit) != 0)
        in_.error_at(field_at, {in_quotes(field), " stands twice in tensor ", in_quotes(entry.name)});
      seen |= bit;
      if (bit == 1) read_dtype(entry);
      if (bit == 2) read_shape(entry);
      if (bit == 4) read_offsets(offsets);
    } while (in_.more('}'));
    if (seen != 7) in_.error_at(at, {"dtype, shape or data_offsets is missing in tensor ", in_quotes(entry.name)});
    place(entry, offsets[0], offsets[1], at);
  }

  void read_dtype(SafetensorsEntry& entry) {
    const std::size_t at = here();
    const std::string name = in_.string();
    for (std::size_t i = 0; i < dtype_facts.size(); ++i) {
      entry.dtype = static_cast<Dtype>(i);
      if (dtype_facts[i].name == name) return;
    }
    in_.error_at(at, {"unknown dtype ", in_quotes(name), " in tensor ", in_quotes(entry.name)});
  }

  MIEN_COLD void read_shape(SafetensorsEntry& entry) {
    in_.expect('[');
    bool more = !in_.accept(']');
    for (; more; more = in_.more(']')) {
      if (entry.rank == SafetensorsEntry::max_rank) {
        in_.error({"more than ", SafetensorsEntry::max_rank, " extents in tensor ", in_quotes(entry.name)});
      }
      entry.extents[static_cast<std::size_t>(entry.rank++)] = static_cast<index_t>(whole_number());
    }
  }

  MIEN_COLD void read_offsets(std::int64_t* offsets) {
    in_.expect('[');
    offsets[0] = whole_number();
    in_.expect(',');
    offsets[1] = whole_number();
    in_.expect(']');
  }

  /// Checks size and place of an entry in the data, and points it there.
  MIEN_COLD void place(SafetensorsEntry& entry, std::int64_t begin, std::int64_t end, std::size_t at) {
    const std::int64_t bytes = stored_bytes(entry);
    if (bytes == too_large) in_.error_at(at, {entry.describe(), " is larger than can be addressed"});
    if (bytes == broken_byte) in_.error_at(at, {entry.describe(), " ends within a byte"});
    if (begin > end || static_cast<std::uint64_t>(end) > data_.size()) {
      in_.error_at(at, {entry.describe(), " claims bytes ", begin, " to ", end, " of ", data_.size(),
                        "; the file is damaged or cut off"});
    }
    if (end - begin != bytes) {
      in_.error_at(at, {entry.describe(), " takes ", bytes, " bytes, but ", end - begin, " are set aside"});
    }
    entry.bytes = data_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(bytes));
  }

  static const SafetensorsEntry* entries(const void* context) { return static_cast<const SafetensorsEntry*>(context); }

  MIEN_COLD void check_names() {
    const SafetensorsEntry* const all = result_.entries_.data();
    result_.by_name_ =
        sorted_indices(result_.entries_.size(), all, [](const void* context, std::size_t a, std::size_t b) {
          return entries(context)[a].name < entries(context)[b].name;
        });
    const std::vector<std::size_t>& order = result_.by_name_;
    for (std::size_t i = 1; i < order.size(); ++i) {
      const std::string& name = all[order[i]].name;
      if (all[order[i - 1]].name == name) error({"the tensor ", in_quotes(name), " stands twice"});
    }
  }

  /// No hole, no overlap, no rest: nothing can hide in the file, and no byte is read as two tensors.
  MIEN_COLD void check_cover() const {
    const SafetensorsEntry* const all = result_.entries_.data();
    const auto order =
        sorted_indices(result_.entries_.size(), all, [](const void* context, std::size_t a, std::size_t b) {
          const auto &x = entries(context)[a].bytes, &y = entries(context)[b].bytes;
          return x.data() != y.data() ? x.data() < y.data() : x.size() < y.size();
        });
    std::size_t covered = 0;
    for (const std::size_t i : order) {
      const auto start = static_cast<std::size_t>(all[i].bytes.data() - data_.data());
      if (start != covered) {
        error(
            {all[i].describe(), " begins at byte ", start, " of the data, but the tensors before it end at ", covered});
      }
      covered += all[i].bytes.size();
    }
    if (covered != data_.size()) error({data_.size() - covered, " bytes behind the last tensor belong to none"});
  }

  void verify() const {
    if (const std::string* const stored = result_.find_metadata(header_checksum_key)) {
      const auto bytes = std::as_bytes(std::span(header_.data(), header_.size()));
      const std::size_t end = std::min(bytes.size(), header_checksum_at_ + no_checksum.size());
      compare("header", *stored, header_checksum(bytes.first(header_checksum_at_), bytes.subspan(end)));
    }
    if (const std::string* const stored = result_.find_metadata(data_checksum_key)) {
      compare("data", *stored, crc32c(data_));
    }
  }

  MIEN_COLD void compare(const char* part, const std::string& stored, std::uint32_t crc) const {
    if (stored == checksum_text(crc)) return;
    error({"the checksum of its ", part, " is ", checksum_text(crc), ", not ", in_quotes(stored),
           ": the file is damaged. If another program changed it on purpose, let that leave ", data_checksum_key,
           " and ", header_checksum_key, " out of the metadata"});
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

MIEN_COLD MIEN_BODY Safetensors parse_safetensors(std::span<const std::byte> bytes, const SafetensorsOptions& options,
                                                  std::string_view what) {
  return detail::SafetensorsParser(bytes, options, what).parse();
}

#if MIEN_HAS_FILES
MIEN_COLD MIEN_BODY SafetensorsFile::SafetensorsFile(const std::string& path, const SafetensorsOptions& options,
                                                     std::size_t max_bytes)
    : bytes_(read_file(path, max_bytes)), content_(parse_safetensors(bytes_, options, path)) {}
#endif

}  // namespace mien
