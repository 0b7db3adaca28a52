// safetensors: named tensors in a file that Python reads too. Read strictly, written atomically.
//
// The format: eight bytes N (little-endian), N bytes of JSON that name each tensor's dtype, shape and place, then the
// tensors' bytes without gaps. https://github.com/huggingface/safetensors#format. Reading is stricter than the
// reference reader where that one is lax; docs/formats.md lists the differences.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
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
#include "mien/io/support.hpp"

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

// The metadata that hold checksums, as eight hexadecimal digits.
inline constexpr std::string_view data_checksum_key = "mien.crc32c";
inline constexpr std::string_view header_checksum_key = "mien.header_crc32c";
inline constexpr std::string_view no_checksum = "00000000";

std::string checksum_text(std::uint32_t crc);

/// Of the header that has `no_checksum` between these two parts.
std::uint32_t header_checksum(std::span<const std::byte> before, std::span<const std::byte> behind);

inline constexpr std::int64_t too_large = -1;
inline constexpr std::int64_t broken_byte = -2;

/// Bytes that an entry's shape (no extent negative) and dtype take, or one of the two above. An overflow is an error
/// even if another extent is zero: whoever multiplies in another order would not see the zero first.
std::int64_t stored_bytes(const SafetensorsEntry& entry);

/// Checks that `entry` can fill `elements` elements.
void check_readable(const SafetensorsEntry& entry, std::size_t elements);

}  // namespace detail

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
  /// The tensors in the order of the header.
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
                           std::size_t max_bytes = std::size_t{1} << 31);
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

// ---- definitions of templates ----

template <class T>
void read_tensor(const SafetensorsEntry& entry, std::span<T> out) {
  detail::check_readable(entry, out.size());
  if (!detail::read_elements<T>(entry.dtype, entry.bytes.data(), out)) {
    constexpr const char* wanted =
        std::is_same_v<T, std::int64_t> ? "integers" : "floating-point numbers (F32, F64, F16 or BF16)";
    fail<FormatError>({entry.describe(), " cannot be read as ", wanted});
  }
}

template <class T>
Tensor<T> read_tensor(const SafetensorsEntry& entry) {
  Tensor<T> tensor(entry.shape());
  read_tensor<T>(entry, tensor.span());
  return tensor;
}

}  // namespace mien

#ifndef MIEN_PRECOMPILED
#include "mien/io/impl/safetensors.hpp"
#endif
