// safetensors: strict reading (every crafted file of tests/data/safetensors), conversion, and writing that comes back.
#include "mien/io/safetensors.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "mien/io/json.hpp"

using mien::ArgumentError;
using mien::bfloat16;
using mien::FormatError;
using mien::Json;
using mien::JsonView;
using mien::Safetensors;
using mien::SafetensorsEntry;
using mien::SafetensorsMetadata;
using mien::Shape;
using mien::ShapeError;
using mien::Tensor;

namespace {

using Bytes = std::vector<std::byte>;

/// Test data lie beside this file.
std::string data_path(const std::string& name) {
  const std::string here = __FILE__;
  return here.substr(0, here.rfind('/') + 1) + "data/safetensors/" + name;
}

Bytes file(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  Bytes bytes(8 + header.size() + data_bytes);
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

Bytes from_hex(const std::string& hex) {
  Bytes bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

/// The message with which `bytes` are refused, "" if accepted. Anything but a FormatError escapes and fails the test.
std::string refusal(std::span<const std::byte> bytes, const mien::SafetensorsOptions& options = {}) {
  try {
    mien::parse_safetensors(bytes, options);
    return "";
  } catch (const FormatError& error) {
    return error.what();
  }
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

template <class T>
Tensor<T> counted(const Shape& shape, double first = -2) {
  Tensor<T> tensor(shape);
  for (mien::index_t i = 0; i < tensor.size(); ++i) {
    if constexpr (std::is_same_v<T, bfloat16>) {
      tensor[i] = bfloat16(static_cast<float>(first + static_cast<double>(i)));
    } else {
      tensor[i] = static_cast<T>(first + static_cast<double>(i));
    }
  }
  return tensor;
}

/// A small file as mien writes it, with every kind of tensor that it writes.
struct Sample {
  Tensor<float> weight = counted<float>({2, 1, 3, 1});
  Tensor<bfloat16> coarse = counted<bfloat16>({3});
  Tensor<double> fine = counted<double>({2});
  Tensor<std::int64_t> count = counted<std::int64_t>(Shape{}, 41);
  Tensor<float> none = Tensor<float>(Shape{0, 4});
  std::vector<SafetensorsEntry> entries = {
      SafetensorsEntry::of("conv.weight", weight), SafetensorsEntry::of("b\xc3\xa9\"", coarse),
      SafetensorsEntry::of("fine", fine), SafetensorsEntry::of("count", count), SafetensorsEntry::of("a.none", none)};
  SafetensorsMetadata metadata = {{"network", "{\"layers\":[\"\\u0000\n\"]}"}, {"classes", "angry,happy"}};
  Bytes bytes = mien::safetensors_bytes(entries, metadata);
};

bool same_content(const Safetensors& a, const Safetensors& b) {
  if (a.entries().size() != b.entries().size()) return false;
  for (std::size_t i = 0; i < a.entries().size(); ++i) {
    const SafetensorsEntry &x = a.entries()[i], &y = b.entries()[i];
    if (x.name != y.name || x.dtype != y.dtype || x.rank != y.rank || x.extents != y.extents) return false;
    if (!std::equal(x.bytes.begin(), x.bytes.end(), y.bytes.begin(), y.bytes.end())) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("safetensors: every crafted file is accepted or refused as its table says") {
  const Bytes text = mien::read_file(data_path("cases.json"), 1 << 20);
  const Json cases = Json::parse({reinterpret_cast<const char*>(text.data()), text.size()});
  const JsonView list(cases);
  REQUIRE(list.size() == 66);
  std::string differing;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string& name = list[i]["name"].as_string();
    const std::string& expected = list[i]["error"].as_string();
    const Bytes bytes = from_hex(list[i]["hex"].as_string());
    const std::string got = refusal(bytes);
    INFO(name, ": ", got);
    CHECK(got.empty() == expected.empty());
    CHECK(has(got, expected));
    // Stricter than the reference, never laxer; each difference is in the table with its reason.
    if (got.empty()) CHECK(list[i]["reference"].as_bool());
    if (got.empty() != list[i]["reference"].as_bool()) differing += name + "; ";
    CHECK((got.empty() != list[i]["reference"].as_bool()) == !list[i]["why"].as_string().empty());
  }
  CHECK(differing ==
        "tensor twice, same; tensor twice, second valid; name twice in metadata; metadata null; unknown field; "
        "shape [0, 2^63, 2^63]; name empty; name with NUL; unknown field nested 120; shape of 1000 extents; "
        "tensor as an array; ");
}

TEST_CASE("safetensors: more crafted files") {
  const std::string f32 = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  CHECK(has(refusal(Bytes(7)), "has 7 bytes: too short"));
  CHECK(has(refusal({}), "has 0 bytes: too short"));
  CHECK(has(refusal(file("{\"t\":" + f32 + ",\"t\":" + R"({"dtype":"F32","shape":[0],"data_offsets":[8,8]}})", 8)),
            "\"t\" stands twice"));
  CHECK(has(refusal(file(R"({"t":{"dtype":"F32","shape":[0,9223372036854775807,2],"data_offsets":[0,0]}})", 0)),
            "larger than can be addressed"));
  CHECK(has(refusal(file(R"({"t":{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16]}})", 16)),
            "larger than can be addressed"));
  CHECK(has(refusal(file(R"({"t":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4)),
            "more than 8 extents"));
  CHECK(has(refusal(file(R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8)),
            "takes 12 bytes, but 8 are set aside"));
  CHECK(has(refusal(file(R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,9223372036854775807]}})", 8)), "claims"));
  CHECK(has(refusal(file(R"({"t":{}})", 0)), "expected a string"));
  // The path, where one is given, stands first.
  try {
    mien::parse_safetensors(file("[", 0), {}, "dir/model.safetensors");
    FAIL("accepted");
  } catch (const FormatError& error) {
    CHECK(std::string(error.what()).rfind("dir/model.safetensors: ", 0) == 0);
  }
}

TEST_CASE("safetensors: limits") {
  const auto many = [](int tensors) {
    std::string header = "{";
    for (int i = 0; i < tensors; ++i) {
      header += (i > 0 ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    }
    return file(header + "}", 0);
  };
  CHECK(refusal(many(100'000)).empty());
  CHECK(has(refusal(many(100'001)), "more than 100000 tensors"));
  CHECK(has(refusal(file(std::string(10'000'001, ' '), 0)), "over the limit of 10000000"));
  CHECK(has(refusal(file(std::string(10'000'000, '['), 0)), "expected '{'"));
  CHECK(refusal(file("{}" + std::string(10'000'000, ' '), 0), {.max_header_bytes = 100'000'000}).empty());
  std::string metadata = "{\"__metadata__\":{";
  for (int i = 0; i < 10'001; ++i) metadata += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
  CHECK(has(refusal(file(metadata + "}}", 0)), "more than 10000 entries"));
}

TEST_CASE("safetensors: a file of the reference writer is read, and written back in the same order") {
  const mien::SafetensorsFile read(data_path("reference.safetensors"));
  const Safetensors& content = read.content();
  REQUIRE(content.entries().size() == 10);
  REQUIRE(content.find_metadata("format") != nullptr);
  CHECK(*content.find_metadata("format") == "np");
  CHECK(content.find("nothing") == nullptr);
  CHECK(content.find_metadata("nothing") == nullptr);

  const Tensor<float> weight = mien::read_tensor<float>(*content.find("features.0.weight"));
  CHECK(weight.shape() == Shape{2, 3, 1, 1});
  for (mien::index_t i = 0; i < 6; ++i) CHECK(weight[i] == static_cast<float>(i - 2));
  CHECK(mien::read_tensor<double>(*content.find("wide"))[2] == 0);
  CHECK(mien::read_tensor<float>(*content.find("wide"))[0] == -2);
  CHECK(static_cast<float>(mien::read_tensor<bfloat16>(*content.find("half"))[3]) == 1);
  CHECK(mien::read_tensor<float>(*content.find("half"))[0] == -2);
  CHECK(mien::read_tensor<float>(*content.find("empty")).shape() == Shape{0, 4});

  const SafetensorsEntry& tracked = *content.find("bn.num_batches_tracked");
  CHECK(tracked.describe() == "\"bn.num_batches_tracked\": I64 ()");
  CHECK(tracked.shape() == Shape{});
  CHECK(mien::read_tensor<std::int64_t>(tracked)[0] == -2);
  CHECK(mien::read_tensor<std::int64_t>(*content.find("short"))[0] == -2);
  CHECK(mien::read_tensor<std::int64_t>(*content.find("bytes"))[4] == 4);
  CHECK(mien::read_tensor<std::int64_t>(*content.find("flags"))[1] == 1);
  CHECK_THROWS_AS(mien::read_tensor<float>(tracked), FormatError);
  CHECK_THROWS_AS(mien::read_tensor<std::int64_t>(*content.find("wide")), FormatError);

  // Listed, but refused by name when read.
  const SafetensorsEntry& rank6 = *content.find("rank6");
  CHECK(rank6.rank == 6);
  try {
    mien::read_tensor<float>(rank6);
    FAIL("a tensor of rank 6 was read");
  } catch (const FormatError& error) {
    CHECK(has(error.what(), "\"rank6\": F32 (1, 1, 1, 1, 1, 2) has more than 5 extents"));
  }
  std::vector<float> short_buffer(5);
  CHECK_THROWS_AS(mien::read_tensor<float>(*content.find("features.0.weight"), std::span(short_buffer)), ShapeError);

  std::vector<SafetensorsEntry> shuffled(content.entries().rbegin(), content.entries().rend());
  const Bytes again = mien::safetensors_bytes(shuffled, content.metadata());
  CHECK(same_content(mien::parse_safetensors(again), content));
  std::uint64_t header = 0;
  std::memcpy(&header, again.data(), 8);
  CHECK(header % 8 == 0);
}

TEST_CASE("safetensors: what is written comes back") {
  const Sample sample;
  const Safetensors content = mien::parse_safetensors(sample.bytes);
  REQUIRE(content.entries().size() == 5);
  // Widest first, then by name.
  const char* const order[] = {"count", "fine", "a.none", "conv.weight", "b\xc3\xa9\""};
  for (std::size_t i = 0; i < 5; ++i) CHECK(content.entries()[i].name == order[i]);
  for (const SafetensorsEntry& entry : sample.entries) {
    const SafetensorsEntry* const found = content.find(entry.name);
    REQUIRE(found != nullptr);
    CHECK(found->dtype == entry.dtype);
    CHECK(found->shape() == entry.shape());
    CHECK(std::equal(found->bytes.begin(), found->bytes.end(), entry.bytes.begin(), entry.bytes.end()));
  }
  CHECK(*content.find_metadata("network") == sample.metadata[0].second);
  CHECK(content.find_metadata("mien.crc32c")->size() == 8);
  // Writing what was read, checksums included, gives the same bytes.
  CHECK(mien::safetensors_bytes(content.entries(), content.metadata()) == sample.bytes);
  CHECK(mien::parse_safetensors(mien::safetensors_bytes({})).entries().empty());
}

TEST_CASE("safetensors: a file cut at any byte is refused") {
  const Sample sample;
  for (std::size_t length = 0; length < sample.bytes.size(); ++length) {
    const Bytes cut(sample.bytes.begin(), sample.bytes.begin() + static_cast<std::ptrdiff_t>(length));
    CHECK_FALSE(refusal(cut).empty());
    CHECK_FALSE(refusal(cut, {.verify = false}).empty());
  }
  Bytes longer = sample.bytes;
  longer.push_back(std::byte{0});
  CHECK_FALSE(refusal(longer).empty());
}

TEST_CASE("safetensors: every flipped bit is noticed, or changes nothing but the name of a checksum") {
  const Sample sample;
  const Safetensors content = mien::parse_safetensors(sample.bytes);
  int harmless = 0;
  for (std::size_t bit = 0; bit < sample.bytes.size() * 8; ++bit) {
    Bytes flipped = sample.bytes;
    flipped[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    if (!refusal(flipped).empty()) continue;
    CAPTURE(bit);
    const Safetensors other = mien::parse_safetensors(flipped);
    REQUIRE(same_content(other, content));
    REQUIRE(*other.find_metadata("network") == *content.find_metadata("network"));
    REQUIRE(*other.find_metadata("classes") == *content.find_metadata("classes"));
    REQUIRE(other.find_metadata("mien.header_crc32c") == nullptr);
    ++harmless;
  }
  CHECK(harmless <= 8 * 18);
  // Without the comparison a flipped bit in the data goes unnoticed, as in any file of another writer.
  Bytes flipped = sample.bytes;
  flipped.back() ^= std::byte{1};
  CHECK(has(refusal(flipped), "the checksum of its data is"));
  CHECK(refusal(flipped, {.verify = false}).empty());
}

TEST_CASE("safetensors: writing refuses what could not be read") {
  const Tensor<float> tensor = counted<float>({2});
  const auto write = [](std::vector<SafetensorsEntry> entries, const SafetensorsMetadata& metadata = {}) {
    return mien::safetensors_bytes(entries, metadata);
  };
  for (const char* const name : {"", "__metadata__", "\xff", "a\xed\xa0\x80"}) {
    CHECK_THROWS_AS(write({SafetensorsEntry::of(name, tensor)}), ArgumentError);
  }
  CHECK_THROWS_AS(write({SafetensorsEntry::of(std::string("a\0b", 3), tensor)}), ArgumentError);
  CHECK_THROWS_AS(write({SafetensorsEntry::of("t", tensor), SafetensorsEntry::of("t", tensor)}), ArgumentError);
  CHECK_THROWS_AS(write({}, {{"a", "1"}, {"a", "2"}}), ArgumentError);
  CHECK_THROWS_AS(write({}, {{"a", "\xff"}}), ArgumentError);
  SafetensorsEntry entry = SafetensorsEntry::of("t", tensor);
  entry.extents[0] = 3;
  CHECK_THROWS_AS(write({entry}), ArgumentError);
  entry.extents[0] = -2;
  CHECK_THROWS_AS(write({entry}), ArgumentError);
  entry.rank = 2;
  entry.extents = {std::numeric_limits<mien::index_t>::max(), std::numeric_limits<mien::index_t>::max()};
  CHECK_THROWS_AS(write({entry}), ArgumentError);
  entry.rank = 9;
  CHECK_THROWS_AS(write({entry}), ArgumentError);
}

TEST_CASE("safetensors: conversions") {
  // All 65,536 halves, by the definition of IEEE 754: sign * 1.f * 2^(e-15), subnormals f * 2^-24.
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float got = mien::detail::half_to_float(static_cast<std::uint16_t>(bits));
    const int exponent = static_cast<int>(bits >> 10 & 31U);
    const double fraction = bits & 1023U;
    double expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1 + fraction / 1024, exponent - 15);
    if (exponent == 31) expected = fraction == 0 ? INFINITY : NAN;
    if ((bits & 0x8000U) != 0) expected = -expected;
    REQUIRE((std::isnan(expected) ? std::isnan(got) : static_cast<double>(got) == expected));
    REQUIRE(std::signbit(got) == ((bits & 0x8000U) != 0));
  }
  const auto through = [](const auto& tensor, auto wanted) {
    using T = decltype(wanted);
    const SafetensorsEntry entry = SafetensorsEntry::of("t", tensor);
    // At an odd address, as an unaligned file has it.
    Bytes odd(entry.bytes.size() + 1);
    std::copy(entry.bytes.begin(), entry.bytes.end(), odd.begin() + 1);
    SafetensorsEntry moved = entry;
    moved.bytes = std::span(odd).subspan(1);
    return mien::read_tensor<T>(moved);
  };
  Tensor<double> doubles(Shape{4});
  doubles[0] = 1e300;
  doubles[1] = 0.1;
  doubles[2] = -0.0;
  doubles[3] = NAN;
  const Tensor<float> floats = through(doubles, 0.0F);
  CHECK(floats[0] == INFINITY);
  CHECK(floats[1] == 0.1F);
  CHECK(std::signbit(floats[2]));
  CHECK(std::isnan(floats[3]));
  CHECK(through(doubles, 0.0)[1] == 0.1);
  CHECK(through(doubles, bfloat16())[1].bits == bfloat16(0.1F).bits);
  CHECK(through(floats, 0.0)[1] == static_cast<double>(0.1F));
  CHECK(through(floats, bfloat16())[1].bits == bfloat16(0.1F).bits);
  const Tensor<bfloat16> coarse = counted<bfloat16>({5});
  CHECK(through(coarse, 0.0F)[4] == 2);
  CHECK(through(coarse, 0.0)[0] == -2);
  CHECK(through(coarse, bfloat16())[0].bits == coarse[0].bits);
}

TEST_CASE("crc32c: known values") {
  const auto crc = [](const std::string& text) { return mien::crc32c(std::as_bytes(std::span(text))); };
  CHECK(crc("") == 0);
  CHECK(crc("123456789") == 0xe3069283U);            // the check value of CRC-32C
  CHECK(crc(std::string(32, '\0')) == 0x8a9136aaU);  // RFC 3720, B.4
  CHECK(crc(std::string(32, '\xff')) == 0x62a8ab43U);
  std::string text = "a model's bytes, in pieces of any length";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const auto bytes = std::as_bytes(std::span(text));
    CHECK(mien::crc32c(bytes.subspan(cut), mien::crc32c(bytes.first(cut))) == crc(text));
  }
}
