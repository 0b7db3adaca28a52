// Entries of safetensors and their checksums: definitions for mien/io/safetensors.hpp. Private.
#pragma once

#include "mien/io/safetensors.hpp"

namespace mien {

MIEN_COLD MIEN_BODY std::string SafetensorsEntry::describe() const {
  std::string text = detail::join({detail::in_quotes(name), ": ", dtype_name(dtype), " ("});
  for (int i = 0; i < rank; ++i) text += detail::join({i > 0 ? ", " : "", extents[static_cast<std::size_t>(i)]});
  text += ')';
  return text;
}

MIEN_COLD MIEN_BODY Shape SafetensorsEntry::shape() const {
  if (rank > Shape::max_rank) {
    fail<FormatError>(
        {describe(), " has more than ", Shape::max_rank, " extents and cannot be read; reshape it before saving"});
  }
  // The parser bounds the product of the extents that are not zero; Shape's own bound is narrower.
  const index_t limit = std::numeric_limits<index_t>::max() / 64;
  Shape shape;
  for (int i = 0; i < rank; ++i) {
    const index_t extent = extents[static_cast<std::size_t>(i)];
    if (extent < 0 || (extent > 0 && shape.size() > limit / extent)) {
      fail<FormatError>({describe(), " has extents too large to be held"});
    }
    shape.push_back(extent);
  }
  return shape;
}

namespace detail {

MIEN_COLD MIEN_BODY void check_readable(const SafetensorsEntry& entry, std::size_t elements) {
  if (static_cast<index_t>(elements) != entry.shape().size()) {
    fail<ShapeError>({entry.describe(), " does not have the ", elements, " elements asked for"});
  }
  if (entry.bytes.size() * 8 != elements * static_cast<std::size_t>(dtype_bits(entry.dtype))) {
    fail<ArgumentError>({entry.describe(), " views ", entry.bytes.size(), " bytes, which do not fit"});
  }
}

}  // namespace detail

MIEN_COLD MIEN_BODY const SafetensorsEntry* Safetensors::find(std::string_view name) const {
  std::size_t first = 0;
  for (std::size_t count = by_name_.size(); count > 0;) {  // the first name that is not before `name` is among these
    const std::size_t half = count / 2;
    const bool before = entries_[by_name_[first + half]].name < name;
    first += before ? half + 1 : 0;
    count = before ? count - half - 1 : half;
  }
  if (first == by_name_.size() || entries_[by_name_[first]].name != name) return nullptr;
  return &entries_[by_name_[first]];
}

MIEN_COLD MIEN_BODY const std::string* Safetensors::find_metadata(std::string_view name) const {
  for (const auto& [key, value] : metadata_)
    if (key == name) return &value;
  return nullptr;
}

namespace detail {

MIEN_COLD MIEN_BODY std::string checksum_text(std::uint32_t crc) {
  std::string text;
  append_hex(text, crc, 8);
  return text;
}

MIEN_COLD MIEN_BODY std::uint32_t header_checksum(std::span<const std::byte> before,
                                                  std::span<const std::byte> behind) {
  const auto zeros = std::as_bytes(std::span(no_checksum.data(), no_checksum.size()));
  return crc32c(behind, crc32c(zeros, crc32c(before)));
}

MIEN_COLD MIEN_BODY std::int64_t stored_bytes(const SafetensorsEntry& entry) {
  std::uint64_t bits = static_cast<std::uint64_t>(dtype_bits(entry.dtype));
  bool empty = false;
  for (std::size_t i = 0; i < static_cast<std::size_t>(entry.rank); ++i) {
    const auto extent = static_cast<std::uint64_t>(entry.extents[i]);
    empty = empty || extent == 0;
    if (extent > 0 && bits > (std::uint64_t{1} << 63) / extent) return too_large;
    bits *= extent > 0 ? extent : 1;
  }
  if (empty) return 0;
  return bits % 8 != 0 ? broken_byte : static_cast<std::int64_t>(bits / 8);
}

}  // namespace detail
}  // namespace mien
