// Writing safetensors: definitions for mien/io/safetensors.hpp. Private.
#pragma once

#include "mien/io/safetensors.hpp"

namespace mien {

namespace detail {

/// Length prefix and header of a file, and the entries in the order of their bytes.
struct SafetensorsLayout {
  std::string head;
  std::vector<const SafetensorsEntry*> order;
};

inline void check_writable(const SafetensorsEntry& entry) {
  if (entry.name.empty() || entry.name == "__metadata__" || entry.name.find('\0') != std::string::npos ||
      !is_utf8(entry.name)) {
    fail<ArgumentError>("a tensor cannot be saved as " + quoted(entry.name) +
                        ": names are UTF-8, not empty, without NUL, and not \"__metadata__\"");
  }
  if (entry.rank < 0 || entry.rank > SafetensorsEntry::max_rank) {
    fail<ArgumentError>("tensor " + quoted(entry.name) + " has rank " + std::to_string(entry.rank) +
                        ": files hold 0 to " + std::to_string(SafetensorsEntry::max_rank));
  }
  std::uint64_t bits = static_cast<std::uint64_t>(dtype_bits(entry.dtype));
  bool fits = true;
  for (int i = 0; i < entry.rank; ++i) {
    const index_t extent = entry.extents[static_cast<std::size_t>(i)];
    fits =
        fits && extent >= 0 && (extent <= 0 || bits <= (std::uint64_t{1} << 63) / static_cast<std::uint64_t>(extent));
    bits = fits ? bits * static_cast<std::uint64_t>(extent) : 0;
  }
  if (!fits || bits % 8 != 0 || bits / 8 != entry.bytes.size()) {
    fail<ArgumentError>(entry.describe() + " does not fit the " + std::to_string(entry.bytes.size()) +
                        " bytes given for it");
  }
}

/// Appends the metadata with both checksums; returns where the digits of the header's begin in `head`.
inline std::size_t append_metadata(std::string& head, const SafetensorsMetadata& metadata, std::uint32_t data_crc) {
  std::vector<std::string_view> keys;
  head += "\"__metadata__\":{";
  const auto put = [&](std::string_view key, std::string_view value) {
    append_json_string(head, key);
    head += ':';
    append_json_string(head, value);
  };
  for (const auto& [key, value] : metadata) {
    if (key == data_checksum_key || key == header_checksum_key) continue;
    if (!is_utf8(key) || !is_utf8(value)) {
      fail<ArgumentError>("the metadata " + quoted(key) + " cannot be saved: it is not UTF-8");
    }
    keys.push_back(key);
    put(key, value);
    head += ',';
  }
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end()) fail<ArgumentError>("the metadata name " + quoted(*twice) + " stands twice");
  put(data_checksum_key, checksum_text(data_crc));
  head += ',';
  put(header_checksum_key, no_checksum);
  const std::size_t digits = head.size() - 1 - no_checksum.size();
  head += '}';
  return digits;
}

inline SafetensorsLayout lay_out_safetensors(std::span<const SafetensorsEntry> entries,
                                             const SafetensorsMetadata& metadata) {
  SafetensorsLayout layout;
  for (const SafetensorsEntry& entry : entries) {
    check_writable(entry);
    layout.order.push_back(&entry);
  }
  std::sort(layout.order.begin(), layout.order.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return a->dtype != b->dtype ? a->dtype > b->dtype : a->name < b->name;
  });
  std::vector<std::string_view> names;
  std::uint32_t data_crc = 0;
  for (const SafetensorsEntry* const entry : layout.order) {
    names.push_back(entry->name);
    data_crc = crc32c(entry->bytes, data_crc);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) fail<ArgumentError>("two tensors are named " + quoted(*twice));

  constexpr std::size_t prefix = 8;
  std::string& head = layout.head;
  head.assign(prefix, '\0');
  head += '{';
  const std::size_t digits = append_metadata(head, metadata, data_crc);
  std::size_t offset = 0;
  for (const SafetensorsEntry* const entry : layout.order) {
    head += ',';
    append_json_string(head, entry->name);
    head.append(":{\"dtype\":\"").append(dtype_name(entry->dtype)).append("\",\"shape\":[");
    for (int i = 0; i < entry->rank; ++i) {
      head.append(i > 0 ? "," : "").append(std::to_string(entry->extents[static_cast<std::size_t>(i)]));
    }
    const std::size_t end = offset + entry->bytes.size();
    head.append("],\"data_offsets\":[").append(std::to_string(offset)).append(",");
    head.append(std::to_string(end)).append("]}");
    offset = end;
  }
  head += '}';
  head.append((8 - head.size() % 8) % 8, ' ');  // so that the data begin at a multiple of eight
  const std::uint64_t length = head.size() - prefix;
  const std::size_t limit = SafetensorsOptions{}.max_header_bytes;
  if (length > limit || entries.size() > SafetensorsOptions{}.max_tensors ||
      metadata.size() + 2 > SafetensorsOptions{}.max_metadata) {
    fail<ArgumentError>("too much for one file: names, shapes and metadata take " + std::to_string(length) +
                        " bytes (at most " + std::to_string(limit) + ") for " + std::to_string(entries.size()) +
                        " tensors (at most " + std::to_string(SafetensorsOptions{}.max_tensors) + ")");
  }
  std::memcpy(head.data(), &length, prefix);
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(head)).subspan(prefix));
  head.replace(digits, no_checksum.size(), checksum_text(crc));
  return layout;
}

}  // namespace detail

inline std::vector<std::byte> safetensors_bytes(std::span<const SafetensorsEntry> entries,
                                                const SafetensorsMetadata& metadata) {
  const detail::SafetensorsLayout layout = detail::lay_out_safetensors(entries, metadata);
  const auto head = std::as_bytes(std::span(layout.head));
  std::vector<std::byte> bytes(head.begin(), head.end());
  for (const SafetensorsEntry* const entry : layout.order) {
    bytes.insert(bytes.end(), entry->bytes.begin(), entry->bytes.end());
  }
  return bytes;
}

#if MIEN_HAS_FILES
inline void write_safetensors(const std::string& path, std::span<const SafetensorsEntry> entries,
                              const SafetensorsMetadata& metadata) {
  const detail::SafetensorsLayout layout = detail::lay_out_safetensors(entries, metadata);
  std::vector<std::span<const std::byte>> chunks{std::as_bytes(std::span(layout.head))};
  for (const SafetensorsEntry* const entry : layout.order) chunks.push_back(entry->bytes);
  write_file_atomically(path, chunks);
}
#endif

}  // namespace mien
