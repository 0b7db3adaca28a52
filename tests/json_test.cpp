// The JSON value: what it accepts, what it refuses and where, and that everything it writes comes back equal.
#include "mien/io/json.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "mien/core/random.hpp"
#include "mien/io/support.hpp"

using mien::ArgumentError;
using mien::FormatError;
using mien::Json;
using mien::JsonLimits;
using mien::JsonView;
using mien::NumericError;

namespace {

/// The message with which parsing fails, or "accepted".
std::string refusal(const std::string& text, const JsonLimits& limits = {}) {
  try {
    Json::parse(text, limits);
    return "accepted";
  } catch (const FormatError& error) {
    return error.what();
  }
}

/// The message of the error that `f` throws, or "no error".
template <class F>
std::string message_of(F f) {
  try {
    f();
    return "no error";
  } catch (const mien::Error& error) {
    return error.what();
  }
}

std::string repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("json reads every kind and keeps the order of members") {
  const Json doc = Json::parse(" {\"z\": null, \"a\": [true, false, -7, 1.5e3, \"x\"], \"m\": {}, \"e\": []}\r\n\t");
  CHECK(JsonView(doc).size() == 4);
  CHECK(JsonView(doc).name(0) == "z");
  CHECK(JsonView(doc).name(1) == "a");
  CHECK(doc["z"].is_null());
  CHECK(doc["a"][0].as_bool());
  CHECK_FALSE(doc["a"][1].as_bool());
  CHECK(doc["a"][2].as_integer() == -7);
  CHECK(doc["a"][3].as_number() == 1500);
  CHECK(doc["a"][4].as_string() == "x");
  CHECK(doc["m"].size() == 0);
  CHECK(doc["e"].size() == 0);
  CHECK(doc.write() == R"({"z":null,"a":[true,false,-7,1500.0,"x"],"m":{},"e":[]})");
  CHECK(Json::parse(doc.write(2)) == doc);
  CHECK(Json::parse("[1,\n{\"a\":2}]").write(2) == "[\n  1,\n  {\n    \"a\": 2\n  }\n]");
}

TEST_CASE("json refuses what RFC 8259 refuses, and names the byte") {
  const char* const wrong[] = {"",
                               " ",
                               "{",
                               "}",
                               "[",
                               "]",
                               "[1",
                               "[1,",
                               "[1,]",
                               "[,1]",
                               "{,}",
                               "{\"a\"}",
                               "{\"a\":}",
                               "{\"a\":1,}",
                               "{a:1}",
                               "{'a':1}",
                               "{1:2}",
                               "[1 2]",
                               "[1]]",
                               "[1]x",
                               "tru",
                               "nul",
                               "True",
                               "NaN",
                               "Infinity",
                               "-Infinity",
                               "+1",
                               "-",
                               "01",
                               "-01",
                               "1.",
                               ".5",
                               "1e",
                               "1e+",
                               "0x10",
                               "1_000",
                               "\"",
                               "\"\\",
                               "\"\\x41\"",
                               "\"\\u12\"",
                               "\"\\u12g4\"",
                               "\"a\nb\"",
                               "\"a\tb\"",
                               "// c\n1",
                               "/**/1",
                               "\"\\ud800\"",
                               "\"\\udc00\"",
                               "\"\\ud800\\u0041\"",
                               "\"\\ud800\\ud800\"",
                               "\xef\xbb\xbf{}",
                               "[1]\x01",
                               "1e400",
                               "-1e400",
                               "9223372036854775808",
                               "-9223372036854775809",
                               "18446744073709551616"};
  for (const char* const text : wrong) {
    CAPTURE(text);
    const std::string message = refusal(text);
    CHECK(message.substr(0, 6) == "JSON: ");
    CHECK(has(message, "(byte "));
  }
  CHECK(refusal(std::string("{}\0", 3)) == "JSON: the text goes on behind its end with \"\\x00\" (byte 2)");
  CHECK(refusal(std::string("\0", 1)) == "JSON: expected a value, found \"\\x00\" (byte 0)");
  CHECK(refusal("[1, x]") == "JSON: expected a value, found \"x\" (byte 4)");
  CHECK(refusal("{\"a\": 1 \"b\": 2}") == "JSON: expected ',' or '}', found \"\\\"\" (byte 8)");
  CHECK(has(refusal("{\"a\":1,\"b\":2,\"a\":3}"), "\"a\" stands twice"));
  CHECK(has(refusal("{\"a\":1,\"\\u0061\":3}"), "\"a\" stands twice"));
}

TEST_CASE("json checks UTF-8 and decodes escapes") {
  CHECK(Json::parse(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00")") ==
        Json("\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"));
  CHECK(Json::parse("\"\\u0000\"") == Json(std::string(1, '\0')));
  for (const char* const good : {"\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
                                 "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(Json::parse("\"" + std::string(good) + "\"") == Json(good));
  }
  // Overlong, surrogates, beyond U+10FFFF, stray and missing continuation bytes.
  for (const char* const bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc2", "\xe2\x82", "\xf0\x9f\x98", "\xe2\x28\xa1"}) {
    CAPTURE(bad);
    CHECK(has(refusal("[\"a" + std::string(bad) + "\"]"), "malformed UTF-8 in a string (byte 3)"));
    CHECK(Json::parse(Json("a" + std::string(bad)).write()) != Json("a" + std::string(bad)));  // replaced, still JSON
  }
}

TEST_CASE("json limits bytes, depth and nodes") {
  CHECK(refusal(repeat("[", 128) + repeat("]", 128)) == "accepted");
  CHECK(has(refusal(repeat("[", 129) + repeat("]", 129)), "nested deeper than 128 (byte 128)"));
  CHECK(has(refusal(repeat("{\"a\":", 129)), "nested deeper than 128"));
  CHECK(has(refusal(std::string(1 << 20, '[')), "nested deeper than 128"));
  CHECK(has(refusal(std::string((1 << 20) + 1, ' ')), "more than the 1048576 allowed"));
  CHECK(has(refusal("[[1]]", {.depth = 1}), "nested deeper than 1"));
  CHECK(refusal("[1,2]", {.nodes = 3}) == "accepted");
  CHECK(has(refusal("[1,2,3]", {.nodes = 3}), "more than 3 values"));
  CHECK(has(refusal("[" + repeat("0,", 100'000) + "0]"), "more than 100000 values"));
  CHECK_THROWS_AS(Json::parse("1", {.depth = 129}), ArgumentError);
}

TEST_CASE("json values cannot be built deeper than they can be copied") {
  Json value = 1;
  for (int i = 0; i < Json::max_depth; ++i) value = Json::array({value});
  CHECK(Json::parse(value.write()) == value);
  const Json copy = value;
  CHECK(copy == value);
  CHECK_THROWS_AS(Json::array({value}), ArgumentError);
  CHECK_THROWS_AS(Json().push_back(value), ArgumentError);
  CHECK_THROWS_AS(Json().set("a", value), ArgumentError);
}

TEST_CASE("json keeps 64-bit integers exactly") {
  for (const std::int64_t value : {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min(),
                                   std::int64_t{9007199254740993}, std::int64_t{0}, std::int64_t{-1}}) {
    const Json doc = Json::parse(std::to_string(value));
    CHECK(doc.is(Json::Kind::integer));
    CHECK(JsonView(doc).as_integer() == value);
    CHECK(doc.write() == std::to_string(value));
  }
  CHECK_THROWS_AS(Json(std::uint64_t{1} << 63), ArgumentError);
  CHECK(Json(std::uint64_t{7}) == Json(7));
}

TEST_CASE("json doubles come back bit for bit and stay doubles") {
  std::vector<double> values = {0.0,
                                -0.0,
                                1.0,
                                0.1,
                                1e22,
                                1e23,
                                -1e-7,
                                123456789012345680.0,
                                5e-324,
                                2.5e-310,
                                2.2250738585072014e-308,
                                1.7976931348623157e308,
                                0.1F,
                                1e16};
  const mien::Random random(7, mien::Stream::user);
  for (std::uint64_t i = 0; values.size() < 20'000; ++i) {
    const std::uint64_t bits = std::uint64_t{random.bits(2 * i)} << 32 | random.bits(2 * i + 1);
    const double value = std::bit_cast<double>(bits);
    if (std::isfinite(value)) values.push_back(value);
  }
  for (const double value : values) {
    const std::string text = Json(value).write();
    const Json back = Json::parse(text);
    CAPTURE(text);
    REQUIRE(back.is(Json::Kind::number));
    REQUIRE(std::bit_cast<std::uint64_t>(JsonView(back).as_number()) == std::bit_cast<std::uint64_t>(value));
  }
  CHECK(Json(2.0).write() == "2.0");
  CHECK(Json(0.1).write() == "0.1");
  CHECK(Json::parse("-0").write() == "-0.0");
  CHECK(has(refusal("1e-400"), "beyond the range"));
  CHECK_THROWS_AS(Json(std::nan("")).write(), NumericError);
  CHECK_THROWS_AS(Json::array({1, -INFINITY}).write(), NumericError);
}

TEST_CASE("json getters check kind and range and name the place") {
  const Json doc = Json::parse(
      R"({"layers": [{}, {}, {}, {"kernel": "3", "groups": 0, "rate": 1.5, "big": 3000000000, "odd name": 1}], "f": false})");
  const JsonView layer = doc["layers"][3];
  CHECK(message_of([&] { layer["kernel"].as_integer(); }) == "layers[3].kernel: expected an integer, got string");
  CHECK(message_of([&] { layer["rate"].as_integer(); }) == "layers[3].rate: expected an integer, got number");
  CHECK(message_of([&] { layer["groups"].as_integer(1, 64); }) == "layers[3].groups: 0 lies outside 1 to 64");
  CHECK(message_of([&] { layer["big"].as_integer(0, 2147483647); }) ==
        "layers[3].big: 3000000000 lies outside 0 to 2147483647");
  CHECK(message_of([&] { layer["rate"].as_number(0, 1); }) == "layers[3].rate: 1.5 lies outside 0.0 to 1.0");
  CHECK(message_of([&] { layer["odd name"].as_string(); }) == "layers[3].odd name: expected a string, got integer");
  CHECK(message_of([&] { layer["padding"]; }) == "layers[3]: \"padding\" is missing");
  CHECK(message_of([&] { layer[std::size_t{9}]; }) == "layers[3]: has 5 elements, no 9");
  CHECK(message_of([&] {
          layer.allow_only({"kernel", "groups", "rate", "big"});
        }) == "layers[3]: unknown member \"odd name\"");
  CHECK(message_of([&] { layer.allow_only({"kernel", "groups", "rate", "big", "odd name", "more"}); }) == "no error");
  CHECK(message_of([&] { doc["f"]["x"]; }) == "f: expected an object, got boolean");
  CHECK(message_of([&] { doc["f"].size(); }) == "f: expected an array, got boolean");
  CHECK(message_of([&] { JsonView(doc).as_bool(); }) == "the document: expected a boolean, got object");
  CHECK(message_of([&] { doc["f"].as_number(); }) == "f: expected a number, got boolean");
  CHECK(message_of([&] { layer["groups"].error("must divide the channels"); }) ==
        "layers[3].groups: must divide the channels");
  CHECK(layer["groups"].as_number() == 0);
  CHECK(layer.contains("kernel"));
  CHECK_FALSE(layer.contains("stride"));
  CHECK_FALSE(doc["f"].contains("stride"));
}

TEST_CASE("json lists") {
  const Json doc = Json::parse(R"({"i": [1, 2], "n": [1, 2.5], "s": ["a", "b"], "mixed": [1, "a"]})");
  CHECK(doc["i"].as_integers() == std::vector<std::int64_t>{1, 2});
  CHECK(doc["n"].as_numbers() == std::vector<double>{1, 2.5});
  CHECK(doc["s"].as_strings() == std::vector<std::string>{"a", "b"});
  CHECK(message_of([&] { doc["mixed"].as_integers(); }) == "mixed[1]: expected an integer, got string");
  CHECK(message_of([&] { doc["mixed"].as_strings(); }) == "mixed[0]: expected a string, got integer");
  CHECK(Json::array_of(std::vector<float>{0.5F, 1.F}).write() == "[0.5,1.0]");
  CHECK(Json::array_of(std::vector<std::string>{"a"}).write() == "[\"a\"]");
}

TEST_CASE("json is built in order, members replaced in place") {
  Json report = Json::object({{"accuracy", 0.5}, {"classes", Json::array({"angry", "happy"})}, {"none", nullptr}});
  report.set("count", 3).set("accuracy", 0.75).set("ok", true);
  CHECK(report.write() == R"({"accuracy":0.75,"classes":["angry","happy"],"none":null,"count":3,"ok":true})");
  CHECK(Json::parse(report.write()) == report);
  CHECK(Json("\x01\x1f\x7f\"\\\n").write() == "\"\\u0001\\u001f\x7f\\\"\\\\\\n\"");
  CHECK_THROWS_AS(Json(1).push_back(2), ArgumentError);
  CHECK_THROWS_AS(Json(1).set("a", 2), ArgumentError);
  CHECK_THROWS_AS(Json::array().set("a", 2), ArgumentError);
  CHECK_THROWS_AS(Json::object().push_back(2), ArgumentError);
  CHECK_THROWS_AS(Json::object({{"a", 1}, {"a", 2}}), ArgumentError);
}

TEST_CASE("json errors show no control characters") {
  const std::string message = refusal("{\"\\u001b[31m\\u009b\":1,\"\\u001b[31m\\u009b\":2}");
  CHECK(has(message, "\"\\x1b[31m\\xc2\\x9b\" stands twice"));
  CHECK(has(mien::detail::in_quotes(std::string(500, 'a')), "aaa...\""));
  CHECK(mien::detail::in_quotes(std::string(500, 'a')).size() < 110);
}

TEST_CASE("json text cut or changed at any byte is read or refused, never worse") {
  const std::string text = R"({"a":[1,-2.5e-3,true,null,"\u20ac\n"],"b":{"c":"\ud83d\ude00","d":[[],{}]}})";
  const Json doc = Json::parse(text);
  for (std::size_t length = 0; length < text.size(); ++length) CHECK(refusal(text.substr(0, length)) != "accepted");
  int read = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = text;
      changed[i] = static_cast<char>(value);
      if (refusal(changed) != "accepted") continue;
      const Json other = Json::parse(changed);
      REQUIRE(Json::parse(other.write()) == other);
      ++read;
    }
  }
  CHECK(read > static_cast<int>(text.size()));
}
