// Fuzz target: the bytes of a model file. Whatever they are, they are read or refused by a mien::Error; what is
// accepted keeps the promises of parse_safetensors and comes back when written.
//
//   clang++-16 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -Iinclude
//     tests/fuzz/fuzz_model.cpp -o fuzz_model
//   ASAN_OPTIONS=detect_stack_use_after_return=0:quarantine_size_mb=16:malloc_context_size=4 (twice as fast)
//   ./fuzz_model -dict=tests/fuzz/safetensors.dict -rss_limit_mb=1024 -timeout=5 corpus tests/fuzz/seeds/model
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mien/io/json.hpp"
#include "mien/io/model_file.hpp"
#include "mien/io/safetensors.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using mien::Safetensors;
using mien::SafetensorsEntry;
using Bytes = std::span<const std::byte>;

void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

/// A JSON text is refused, or comes back equal when written.
void check_json(std::string_view text) {
  try {
    const mien::Json value = mien::Json::parse(text);
    const int indent = text.size() % 4 == 0 ? 2 : 0;  // one of the two forms, for speed
    require(mien::Json::parse(value.write(indent)) == value, "a JSON value comes back equal");
    const mien::JsonView view(value);
    if (view.contains("layers")) (void)view["layers"][0]["kernel"].as_integer(1, 11);
  } catch (const mien::Error&) {
  }
}

template <class T>
void read(const SafetensorsEntry& entry) {
  try {
    const mien::Tensor<T> tensor = mien::read_tensor<T>(entry);
    require(tensor.shape() == entry.shape(), "a tensor has the stored shape");
    require(static_cast<std::size_t>(tensor.size()) <= entry.bytes.size(), "a tensor is no larger than its bytes");
  } catch (const mien::FormatError&) {
  }
}

void check_content(const Safetensors& content, Bytes data) {
  std::vector<bool> covered(data.size());
  std::size_t count = 0;
  for (const SafetensorsEntry& entry : content.entries()) {
    for (const std::byte& byte : entry.bytes) {
      const auto at = static_cast<std::size_t>(&byte - data.data());
      require(at < data.size() && !covered[at], "tensors lie in the data and do not overlap");
      covered[at] = true;
    }
    count += entry.bytes.size();
    require(content.find(entry.name) == &entry, "a tensor is found by its name");
    require(!entry.describe().empty(), "a tensor describes itself");
    const bool integer = entry.dtype == mien::Dtype::boolean || mien::dtype_is_integer(entry.dtype);
    if (integer) {
      read<std::int64_t>(entry);
    } else if (entry.dtype != mien::Dtype::f64) {
      read<double>(entry);
      read<mien::bfloat16>(entry);
    } else {
      read<float>(entry);
    }
  }
  require(count == data.size(), "tensors cover the data");

  const std::vector<std::byte> written = mien::safetensors_bytes(content.entries(), content.metadata());
  const Safetensors again = mien::parse_safetensors(written);
  require(again.entries().size() == content.entries().size(), "as many tensors come back");
  for (const SafetensorsEntry& entry : content.entries()) {
    const SafetensorsEntry* const other = again.find(entry.name);
    require(other != nullptr && other->dtype == entry.dtype && other->rank == entry.rank &&
                other->extents == entry.extents &&
                std::equal(other->bytes.begin(), other->bytes.end(), entry.bytes.begin(), entry.bytes.end()),
            "a tensor comes back equal");
  }
  for (const auto& [key, value] : content.metadata()) {
    require(key.rfind("mien.", 0) == 0 || *again.find_metadata(key) == value, "metadata come back equal");
    check_json(value);
  }
}

/// Small, so that a self test takes microseconds.
constexpr mien::ModelLimits small_limits = {
    .sample = 4096, .values = 1 << 15, .multiply_adds = 1e5, .bytes = std::size_t{1} << 20};

/// A whole model is refused by FormatError alone; what is accepted comes back when saved.
void check_model(Bytes bytes) {
  mien::Model<float> model;
  try {
    model = mien::load_model<float>(bytes, "model", small_limits);
  } catch (const mien::FormatError&) {
    return;
  }
  std::vector<std::byte> written;
  try {
    written = mien::model_bytes(model.network, model.info);
  } catch (const mien::Error&) {
    return;  // values that are not finite, or a note that cannot be written
  }
  mien::Model<float> again = mien::load_model<float>(written, "again", small_limits);
  require(mien::network_to_json(again.network) == mien::network_to_json(model.network), "a network comes back equal");
  require(mien::fingerprint(again.network) == mien::fingerprint(model.network), "parameters come back equal");
  require(again.network.frozen_names() == model.network.frozen_names(), "frozen names come back");
}

/// A delta is applied to its base or leaves it as it is.
void check_delta(Bytes bytes) {
  static const mien::Sequential<float> base = [] {
    mien::Sequential<float> net{mien::Dense{2}};
    net.build({2});
    for (auto& p : net.parameters())
      for (float& v : p.value) v = 0;
    return net;
  }();
  static const std::uint32_t mark = mien::fingerprint(base);
  mien::Sequential<float> net = base;
  try {
    mien::apply_delta(net, bytes);
  } catch (const mien::FormatError&) {
    require(mien::fingerprint(net) == mark, "a refused delta changes nothing");
  }
}

/// Length of the header that `bytes` announce, if it fits into them.
std::size_t header_length(Bytes bytes) {
  std::uint64_t length = 0;
  if (bytes.size() < 8) return 0;
  std::memcpy(&length, bytes.data(), 8);
  return length <= bytes.size() - 8 ? static_cast<std::size_t>(length) : 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes bytes = std::as_bytes(std::span(data, size));
  try {
    const Safetensors content = mien::parse_safetensors(bytes, {.verify = false});
    check_content(content, bytes.subspan(8 + header_length(bytes)));
    (void)mien::parse_safetensors(bytes);
    if (content.find_metadata("mien.network") != nullptr) check_model(bytes);
    if (content.find_metadata("mien.delta") != nullptr) check_delta(bytes);
  } catch (const mien::FormatError&) {
    // A header that is accepted has been read as strictly as Json reads.
    check_json({reinterpret_cast<const char*>(data) + std::min<std::size_t>(size, 8), header_length(bytes)});
  }
  return 0;
}

namespace {

/// Puts eight right digits behind `key` in the header, if it has that key with eight digits.
void patch_checksum(std::string& header, std::string_view key, std::string_view digits) {
  const std::size_t at = header.find("\"" + std::string(key) + "\":\"");
  const std::size_t value = at + key.size() + 4;
  if (at == std::string::npos || value + digits.size() > header.size()) return;
  header.replace(value, digits.size(), digits);
}

/// Replaces one number in the header by one at some edge.
void change_number(std::string& header, std::minstd_rand& random) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 1; i < header.size(); ++i) {
    const char before = header[i - 1];
    if (header[i] >= '0' && header[i] <= '9' && (before == '[' || before == ',' || before == ':')) starts.push_back(i);
  }
  if (starts.empty()) return;
  const std::size_t start = starts[random() % starts.size()];
  const std::size_t end = std::min(header.size(), header.find_first_not_of("0123456789", start));
  static constexpr std::string_view edges[] = {"0",
                                               "1",
                                               "2",
                                               "3",
                                               "4",
                                               "5",
                                               "7",
                                               "8",
                                               "12",
                                               "16",
                                               "255",
                                               "65536",
                                               "1048576",
                                               "2147483648",
                                               "4294967296",
                                               "4611686018427387904",
                                               "9223372036854775807",
                                               "9223372036854775808",
                                               "18446744073709551615"};
  header.replace(start, end - start, edges[random() % std::size(edges)]);
}

template <class Container>
void mutate(Container& bytes, std::size_t room) {
  const std::size_t size = bytes.size();
  if (size + room == 0) return;
  bytes.resize(size + room);
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(bytes.data()), size, bytes.size()));
}

}  // namespace

/// Changes the header or the data for themselves and puts the length (and mostly the checksums) right again, so that
/// changes get past the first checks.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  std::minstd_rand random(seed);
  const std::size_t length = header_length(std::as_bytes(std::span(data, size)));
  if (length == 0 || random() % 16 == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::string header(reinterpret_cast<const char*>(data) + 8, length);
  std::vector<std::uint8_t> rest(data + 8 + length, data + size);
  const std::size_t room = max_size - size;
  const unsigned choice = static_cast<unsigned>(random() % 8);
  if (choice < 4) {
    mutate(header, room);
  } else if (choice < 6) {
    change_number(header, random);
  } else if (choice == 6) {
    mutate(rest, room);
  } else {
    rest.resize(random() % (2 * rest.size() + 8));
  }
  if (random() % 8 != 0) {
    const auto crc = [](const auto& bytes) { return mien::crc32c(std::as_bytes(std::span(bytes))); };
    patch_checksum(header, mien::detail::data_checksum_key, mien::detail::checksum_text(crc(rest)));
    patch_checksum(header, mien::detail::header_checksum_key, mien::detail::no_checksum);
    patch_checksum(header, mien::detail::header_checksum_key, mien::detail::checksum_text(crc(header)));
  }
  if (8 + header.size() + rest.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  const std::uint64_t announced = header.size();
  std::memcpy(data, &announced, 8);
  std::copy(header.begin(), header.end(), data + 8);
  std::copy(rest.begin(), rest.end(), data + 8 + header.size());
  return 8 + header.size() + rest.size();
}
