// safetensors: named tensors in a file that Python reads too. Read strictly, written atomically.
//
// The format: eight bytes N (little-endian), N bytes of JSON that name each tensor's dtype, shape and place, then the
// tensors' bytes without gaps. https://github.com/huggingface/safetensors#format. Reading is stricter than the
// reference reader where that one is lax; docs/formats.md lists each difference.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "mien/core/config.hpp"
#include "mien/core/error.hpp"
#include "mien/core/tensor.hpp"
#include "mien/io/atomic_file.hpp"
#include "mien/io/crc32c.hpp"
#include "mien/io/dtype.hpp"
#include "mien/io/json_text.hpp"

namespace mien {

/// One tensor of a file: what it is called, its type and shape, and a view of its bytes (of any alignment), which
/// belong to somebody else. Ranks up to 8 are listed; only those that a Shape holds (5) can be read.
struct SafetensorsEntry {
  static constexpr int max_rank = 8;

  std::string name;
  Dtype dtype = Dtype::f32;
  int rank = 0;
  std::array<index_t, max_rank> extents{};
  std::span<const std::byte> bytes;

  /// An entry that views `tensor`, to be written: of float, double, bfloat16 or std::int64_t.
  template <class T>
  static SafetensorsEntry of(std::string name, TensorView<T> tensor) {
    SafetensorsEntry entry;
    entry.name = std::move(name);
    entry.dtype = dtype_of<std::remove_const_t<T>>();
    for (int i = 0; i < tensor.shape().rank(); ++i) {
      entry.extents[static_cast<std::size_t>(entry.rank++)] = tensor.shape()[i];
    }
    entry.bytes = std::as_bytes(tensor.span());
    return entry;
  }
  template <class T>
  static SafetensorsEntry of(std::string name, const Tensor<T>& tensor) {
    return of(std::move(name), tensor.view());
  }
  template <class T>
  static SafetensorsEntry of(std::string name, Tensor<T>&& tensor) = delete;  // would view what is gone

  /// Its shape. Throws FormatError with its name for more than five extents.
  Shape shape() const;
  /// Such as `"conv.weight": F32 (32, 1, 3, 3)`.
  std::string describe() const;
};

namespace detail {
class SafetensorsParser;
}

/// What stands beside the tensors: pairs of strings.
using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

/// Limits and choices of `parse_safetensors`.
struct SafetensorsOptions {
  std::size_t max_header_bytes = 10'000'000;
  std::size_t max_tensors = 100'000;
  std::size_t max_metadata = 10'000;
  /// Compare the checksums that mien writes, where a file has them.
  bool verify = true;
};

/// The content of a file, as views into its bytes.
class Safetensors {
 public:
  /// The tensors in the order of their bytes.
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  const SafetensorsMetadata& metadata() const { return metadata_; }
  /// The tensor of that name, or null. Logarithmic.
  const SafetensorsEntry* find(std::string_view name) const;
  /// The metadata of that name, or null.
  const std::string* find_metadata(std::string_view name) const;

 private:
  friend class detail::SafetensorsParser;
  std::vector<SafetensorsEntry> entries_;
  std::vector<std::size_t> by_name_;
  SafetensorsMetadata metadata_;
};

/// Checks a whole file in memory and lists its tensors; nothing is copied but names and metadata. `bytes` must outlive
/// the result. Throws FormatError, which begins with `what` (the path, say) and names the byte or the tensor, unless:
/// the header is strict JSON with every name once, every tensor has exactly dtype, shape (rank <= 8, its product
/// below 2^63) and data_offsets, and the tensors cover the data without hole, overlap or rest. Verifies checksums.
/// O(n log n) in the number of tensors, plus one pass over the data where it has a checksum.
Safetensors parse_safetensors(std::span<const std::byte> bytes, const SafetensorsOptions& options = {},
                              std::string_view what = "safetensors");

/// Reads one tensor into `out`. T is float, double or bfloat16 (from F32, F64, F16, BF16: rounded to nearest, beyond
/// the range to infinity; F64 to bfloat16 by way of float) or std::int64_t (from integers up to I64, and BOOL).
/// Throws FormatError for other dtypes, ShapeError if the number of elements differs.
template <class T>
void read_tensor(const SafetensorsEntry& entry, std::span<T> out);

/// The same as a new tensor of the stored shape.
template <class T>
Tensor<T> read_tensor(const SafetensorsEntry& entry);

/// The bytes of a file with these tensors: sorted by dtype (widest first) and name as the reference writer does, header
/// padded to eight bytes, and two checksums in the metadata (`mien.crc32c` of the data; `mien.header_crc32c` of the
/// header with its own eight digits as zeros), which replace any of that name. Throws ArgumentError for an empty,
/// reserved or repeated name, malformed UTF-8, and an entry whose bytes do not fit its shape.
std::vector<std::byte> safetensors_bytes(std::span<const SafetensorsEntry> entries,
                                         const SafetensorsMetadata& metadata = {});

#if MIEN_HAS_FILES
/// A file's bytes and its content in one. Moves, but does not copy: the views must keep pointing at the same bytes.
class SafetensorsFile {
 public:
  /// Reads and checks the file at `path`. Throws FileError or FormatError, both with the path.
  explicit SafetensorsFile(const std::string& path, const SafetensorsOptions& options = {},
                           std::size_t max_bytes = std::size_t{1} << 31)
      : bytes_(read_file(path, max_bytes)), content_(parse_safetensors(bytes_, options, path)) {}
  SafetensorsFile(SafetensorsFile&&) = default;
  SafetensorsFile& operator=(SafetensorsFile&&) = default;

  const Safetensors& content() const { return content_; }

 private:
  std::vector<std::byte> bytes_;
  Safetensors content_;
};

/// Writes `safetensors_bytes` to `path` without building them in memory, atomically and durably: see
/// write_file_atomically. Throws ArgumentError or FileError.
void write_safetensors(const std::string& path, std::span<const SafetensorsEntry> entries,
                       const SafetensorsMetadata& metadata = {});
#endif

// ---- definitions: entries ----

inline std::string SafetensorsEntry::describe() const {
  std::string text = detail::quoted(name) + ": " + std::string(dtype_name(dtype)) + " (";
  for (int i = 0; i < rank; ++i) text += (i > 0 ? ", " : "") + std::to_string(extents[static_cast<std::size_t>(i)]);
  return text + ")";
}

inline Shape SafetensorsEntry::shape() const {
  if (rank > Shape::max_rank) {
    fail<FormatError>(describe() + " has more than " + std::to_string(Shape::max_rank) +
                      " extents and cannot be read; reshape it before saving");
  }
  // The parser bounds the product of the extents that are not zero; Shape's own bound is narrower.
  const index_t limit = std::numeric_limits<index_t>::max() / 64;
  Shape shape;
  for (int i = 0; i < rank; ++i) {
    const index_t extent = extents[static_cast<std::size_t>(i)];
    if (extent < 0 || (extent > 0 && shape.size() > limit / extent)) {
      fail<FormatError>(describe() + " has extents too large to be held");
    }
    shape.push_back(extent);
  }
  return shape;
}

template <class T>
void read_tensor(const SafetensorsEntry& entry, std::span<T> out) {
  const Shape shape = entry.shape();
  if (static_cast<index_t>(out.size()) != shape.size()) {
    fail<ShapeError>(entry.describe() + " does not have the " + std::to_string(out.size()) + " elements asked for");
  }
  if (entry.bytes.size() * 8 != out.size() * static_cast<std::size_t>(dtype_bits(entry.dtype))) {
    fail<ArgumentError>(entry.describe() + " views " + std::to_string(entry.bytes.size()) + " bytes");
  }
  if (!detail::read_elements<T>(entry.dtype, entry.bytes, out)) {
    constexpr bool integer = std::is_same_v<T, std::int64_t>;
    fail<FormatError>(entry.describe() + " cannot be read as " +
                      (integer ? "integers" : "floating-point numbers (F32, F64, F16 or BF16)"));
  }
}

template <class T>
Tensor<T> read_tensor(const SafetensorsEntry& entry) {
  Tensor<T> tensor(entry.shape());
  read_tensor<T>(entry, tensor.span());
  return tensor;
}

inline const SafetensorsEntry* Safetensors::find(std::string_view name) const {
  const auto place =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](std::size_t i, std::string_view wanted) { return entries_[i].name < wanted; });
  return place != by_name_.end() && entries_[*place].name == name ? &entries_[*place] : nullptr;
}

inline const std::string* Safetensors::find_metadata(std::string_view name) const {
  for (const auto& [key, value] : metadata_)
    if (key == name) return &value;
  return nullptr;
}

namespace detail {

// The metadata that hold checksums, as eight hexadecimal digits.
inline constexpr std::string_view data_checksum_key = "mien.crc32c";
inline constexpr std::string_view header_checksum_key = "mien.header_crc32c";
inline constexpr std::string_view no_checksum = "00000000";

inline std::string checksum_text(std::uint32_t crc) {
  std::string text;
  append_hex(text, crc, 8);
  return text;
}

}  // namespace detail
}  // namespace mien

#include "mien/io/impl/safetensors_parse.hpp"
#include "mien/io/impl/safetensors_write.hpp"
