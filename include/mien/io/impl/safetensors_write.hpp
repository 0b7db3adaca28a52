// Writing safetensors: definitions for mien/io/safetensors.hpp. Private.
#pragma once

#include "mien/io/crc32c.hpp"
#include "mien/io/json_text.hpp"
#include "mien/io/safetensors.hpp"
#include "mien/io/support.hpp"

namespace mien {
namespace detail {

/// Length prefix and header of a file, and the places of the given entries in the order of their bytes.
struct SafetensorsLayout {
  std::string head;
  std::vector<std::size_t> order;
};

MIEN_COLD MIEN_BODY void check_writable(const SafetensorsEntry& entry) {
  const std::string& name = entry.name;
  if (name.empty() || name == "__metadata__" || name.find('\0') != std::string::npos || !is_utf8(name)) {
    fail<ArgumentError>({"a tensor cannot be saved as ", in_quotes(name),
                         ": names are UTF-8, not empty, without NUL, and not \"__metadata__\""});
  }
  if (entry.rank < 0 || entry.rank > SafetensorsEntry::max_rank) {
    fail<ArgumentError>(
        {"tensor ", in_quotes(name), " has rank ", entry.rank, ": files hold 0 to ", SafetensorsEntry::max_rank});
  }
  bool fits = true;
  for (std::size_t i = 0; i < static_cast<std::size_t>(entry.rank); ++i) fits = fits && entry.extents[i] >= 0;
  const std::int64_t bytes = fits ? stored_bytes(entry) : too_large;
  if (bytes < 0 || static_cast<std::size_t>(bytes) != entry.bytes.size()) {
    fail<ArgumentError>({entry.describe(), " does not fit the ", entry.bytes.size(), " bytes given for it"});
  }
}

MIEN_COLD MIEN_BODY void append_pair(std::string& head, std::string_view key, std::string_view value) {
  append_json_string(head, key);
  head += ':';
  append_json_string(head, value);
}

/// Appends the metadata with both checksums; returns where the digits of the header's begin in `head`.
MIEN_COLD MIEN_BODY std::size_t append_metadata(std::string& head, const SafetensorsMetadata& metadata,
                                                std::uint32_t data_crc) {
  std::vector<std::string> keys;
  head += "\"__metadata__\":{";
  for (const auto& [key, value] : metadata) {
    if (key == data_checksum_key || key == header_checksum_key) continue;
    if (!is_utf8(key) || !is_utf8(value)) {
      fail<ArgumentError>({"the metadata ", in_quotes(key), " cannot be saved: it is not UTF-8"});
    }
    keys.push_back(key);
    append_pair(head, key, value);
    head += ',';
  }
  if (const std::string* const twice = find_twice(keys)) {
    fail<ArgumentError>({"the metadata name ", in_quotes(*twice), " stands twice"});
  }
  append_pair(head, data_checksum_key, checksum_text(data_crc));
  head += ',';
  append_pair(head, header_checksum_key, no_checksum);
  head += '}';
  return head.size() - 2 - no_checksum.size();
}

MIEN_COLD MIEN_BODY void append_entry(std::string& head, const SafetensorsEntry& entry, std::size_t offset) {
  append_json_string(head, entry.name);
  head += join({":{\"dtype\":\"", dtype_name(entry.dtype), "\",\"shape\":["});
  for (std::size_t i = 0; i < static_cast<std::size_t>(entry.rank); ++i) {
    head += join({i > 0 ? "," : "", entry.extents[i]});
  }
  head += join({"],\"data_offsets\":[", offset, ",", offset + entry.bytes.size(), "]}"});
}

MIEN_COLD MIEN_BODY SafetensorsLayout lay_out_safetensors(std::span<const SafetensorsEntry> entries,
                                                          const SafetensorsMetadata& metadata) {
  SafetensorsLayout layout;
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : entries) {
    check_writable(entry);
    names.push_back(entry.name);
  }
  if (const std::string* const twice = find_twice(names)) {
    fail<ArgumentError>({"two tensors are named ", in_quotes(*twice)});
  }
  layout.order = sorted_indices(entries.size(), entries.data(), [](const void* context, std::size_t i, std::size_t k) {
    const SafetensorsEntry &a = static_cast<const SafetensorsEntry*>(context)[i],
                           &b = static_cast<const SafetensorsEntry*>(context)[k];
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  std::uint32_t data_crc = 0;
  for (const std::size_t i : layout.order) data_crc = crc32c(entries[i].bytes, data_crc);

  constexpr std::size_t prefix = 8;
  std::string& head = layout.head;
  head.assign(prefix, '\0');
  head += '{';
  const std::size_t digits = append_metadata(head, metadata, data_crc);
  std::size_t offset = 0;
  for (const std::size_t i : layout.order) {
    head += ',';
    append_entry(head, entries[i], offset);
    offset += entries[i].bytes.size();
  }
  head += '}';
  while (head.size() % 8 != 0) head += ' ';  // so that the data begin at a multiple of eight
  const std::uint64_t length = head.size() - prefix;
  const SafetensorsOptions limits;
  if (length > limits.max_header_bytes || entries.size() > limits.max_tensors ||
      metadata.size() + 2 > limits.max_metadata) {
    fail<ArgumentError>({"too much for one file: ", entries.size(), " tensors (at most ", limits.max_tensors, ") and ",
                         metadata.size(), " metadata (at most ", limits.max_metadata - 2, ") with names and shapes of ",
                         length, " bytes (at most ", limits.max_header_bytes, ")"});
  }
  std::memcpy(head.data(), &length, prefix);
  const auto bytes = std::as_bytes(std::span(head));
  const std::uint32_t crc = header_checksum(bytes.subspan(prefix, digits - prefix),  //
                                            bytes.subspan(digits + no_checksum.size()));
  const std::string text = checksum_text(crc);
  std::memcpy(head.data() + digits, text.data(), text.size());
  return layout;
}

}  // namespace detail

MIEN_COLD MIEN_BODY std::vector<std::byte> safetensors_bytes(std::span<const SafetensorsEntry> entries,
                                                             const SafetensorsMetadata& metadata) {
  const detail::SafetensorsLayout layout = detail::lay_out_safetensors(entries, metadata);
  std::size_t size = layout.head.size();
  for (const SafetensorsEntry& entry : entries) size += entry.bytes.size();
  std::vector<std::byte> bytes(size);
  std::byte* to = bytes.data();
  std::memcpy(to, layout.head.data(), layout.head.size());
  to += layout.head.size();
  for (const std::size_t i : layout.order) {
    if (!entries[i].bytes.empty()) std::memcpy(to, entries[i].bytes.data(), entries[i].bytes.size());
    to += entries[i].bytes.size();
  }
  return bytes;
}

#if MIEN_HAS_FILES
MIEN_COLD MIEN_BODY void write_safetensors(const std::string& path, std::span<const SafetensorsEntry> entries,
                                           const SafetensorsMetadata& metadata) {
  const detail::SafetensorsLayout layout = detail::lay_out_safetensors(entries, metadata);
  std::vector<std::span<const std::byte>> chunks;
  chunks.push_back(std::as_bytes(std::span(layout.head.data(), layout.head.size())));
  for (const std::size_t i : layout.order) chunks.push_back(entries[i].bytes);
  write_file_atomically(path, chunks);
}
#endif

}  // namespace mien
