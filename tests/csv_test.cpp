#include "mien/data/csv.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <string>
#include <vector>

using namespace mien;

namespace {

struct Row {
  int emotion;
  std::string usage;
  std::vector<std::uint8_t> pixels;
  index_t line;
  bool operator==(const Row&) const = default;
};

struct Result {
  std::vector<Row> rows;
  std::vector<std::string> errors;
};

Result read(const std::string& text, index_t pixels = 4) {
  Result result;
  read_fer_csv(
      std::span<const char>(text.data(), text.size()), "faces.csv", pixels,
      [&](int emotion, std::string_view usage, std::span<const std::uint8_t> values, index_t line) {
        result.rows.push_back({emotion, std::string(usage), {values.begin(), values.end()}, line});
      },
      [&](index_t line, index_t column, const std::string& reason) {
        result.errors.push_back(csv_location("faces.csv", line, column, reason));
      });
  return result;
}

std::string message(const std::string& text) {
  try {
    read(text);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

const std::vector<Row> expected{{3, "Training", {0, 128, 255, 7}, 2}, {6, "PublicTest", {1, 2, 3, 4}, 3}};

}  // namespace

TEST_CASE("The usual forms of the file give the same rows") {
  CHECK(read("emotion,pixels,Usage\n3,0 128 255 7,Training\n6,1 2 3 4,PublicTest\n").rows == expected);
  CHECK(read("emotion, Usage, pixels\n3,Training,0 128 255 7\n6,PublicTest,1 2 3 4").rows == expected);
  CHECK(read("emotion, Usage, pixels\n3, Training, 0 128 255 7\n6 ,PublicTest , 1 2 3 4 \n").rows == expected);
  CHECK(read("emotion,pixels,Usage\r\n3,0 128 255 7,Training\r\n6,1 2 3 4,PublicTest\r\n").rows == expected);
  CHECK(read("\xef\xbb\xbf"
             "emotion,pixels,Usage\n3,0 128 255 7,Training\n6,1 2 3 4,PublicTest\n")
            .rows == expected);
  CHECK(read("\"emotion\",\"pixels\",\"Usage\"\n\"3\",\"0 128 255 7\",\"Training\"\n6,\" 1  2   3 4 \",PublicTest\n")
            .rows == expected);
  CHECK(read("id,USAGE, Pixels ,x,Emotion,more\n1,Training,0 128 255 7,,3,\n2,PublicTest,1 2 3 4,y,6\n").rows ==
        expected);
  CHECK(read("emotion,pixels\n3,0 128 255 7\n6,\"1 2 3 4\"\n").rows ==
        std::vector<Row>{{3, "", {0, 128, 255, 7}, 2}, {6, "", {1, 2, 3, 4}, 3}});
  // Lines are counted where empty ones stand between.
  const auto spaced = read("emotion,pixels\n\n3,0 128 255 7\n  \r\n\n6,1 2 3 4\n\n");
  REQUIRE(spaced.rows.size() == 2);
  CHECK(spaced.rows[1].line == 6);
  CHECK(spaced.errors.empty());
  CHECK(read("emotion,pixels\n").rows.empty());
}

TEST_CASE("A header without what is needed") {
  CHECK(message("emotion,Usage\n3,Training\n") ==
        "faces.csv:1:1: no column \"pixels\" in the header \"emotion,Usage\"; expected emotion, pixels and perhaps "
        "Usage");
  CHECK(message("").find("no column \"emotion\"") != std::string::npos);
  CHECK(message("3,0 128 255 7,Training\n").find("no column \"emotion\"") != std::string::npos);
  CHECK(message("emotion,pixels,emotion\n").find("faces.csv:1:16: column \"emotion\" stands here a second") == 0);
  CHECK(message("emotion,\"pixels\n3,1\n").find("faces.csv:1:9: a quote that is not closed") == 0);
  CHECK(message(std::string(1 << 20, 'x')).size() < 200);
  CHECK(message(std::string("\x01\xff\0emotion", 10)).find("\"???emotion\"") != std::string::npos);
}

TEST_CASE("Bad rows are named by line and column, and the others read") {
  const std::string head = "emotion,pixels,Usage\n6,1 2 3 4,PublicTest\n", tail = "\n3,0 128 255 7,Training\n";
  const auto error = [&](const std::string& row) {
    const Result result = read(head + row + tail);
    CHECK(result.rows == std::vector<Row>{{6, "PublicTest", {1, 2, 3, 4}, 2}, {3, "Training", {0, 128, 255, 7}, 4}});
    REQUIRE(result.errors.size() == 1);
    return result.errors[0];
  };
  CHECK(error("3,1 2 3,Training") == "faces.csv:3:8: expected 4 pixels, found 3");
  CHECK(error("3,1 2 3 4 5  6,Training") == "faces.csv:3:11: expected 4 pixels, found 6");
  CHECK(error("3,1 2 256 4,Training") == "faces.csv:3:7: pixel \"256\" is no number 0 to 255");
  CHECK(error("3,1 2 99999999999999999999 4,Training") ==
        "faces.csv:3:7: pixel \"99999999999999999999\" is no number 0 to 255");
  CHECK(error("3,1 2 -3 4,Training").find("faces.csv:3:7: pixel \"-3\"") == 0);
  CHECK(error("3,1 2 +3 4,Training").find("faces.csv:3:7: pixel \"+3\"") == 0);
  CHECK(error("3,1 2 3.0 4,Training").find("faces.csv:3:7: pixel \"3.0\"") == 0);
  CHECK(error("3,1 2 0x3 4,Training").find("faces.csv:3:7: pixel \"0x3\"") == 0);
  CHECK(error("3,1 2 1e1 4,Training").find("faces.csv:3:7: pixel \"1e1\"") == 0);
  CHECK(error("3,1;2;3;4,Training").find("faces.csv:3:3: pixel \"1;2;3;4\"") == 0);
  CHECK(error("3,,Training") == "faces.csv:3:3: expected 4 pixels, found 0");
  CHECK(error("9,1 2 3 4,Training") == "faces.csv:3:1: emotion \"9\" is no number 0 to 6");
  CHECK(error("-1,1 2 3 4,Training").find("faces.csv:3:1: emotion \"-1\"") == 0);
  CHECK(error("happy,1 2 3 4,Training").find("faces.csv:3:1: emotion \"happy\"") == 0);
  CHECK(error(",1 2 3 4,Training").find("faces.csv:3:1: emotion \"\"") == 0);
  CHECK(error("3 1 2 3 4 Training").find("faces.csv:3:1: emotion") == 0);
  CHECK(error("3,1 2 3 4") == "faces.csv:3:10: the line ends after 2 of 3 fields: is the file cut off?");
  CHECK(error("3,1 2 3 4,") == "faces.csv:3:11: the field Usage is empty");
  CHECK(error("3,1 2 3 4, ,") == "faces.csv:3:12: the field Usage is empty");
  CHECK(error("3,\"1 2 3 4,Training").find("faces.csv:3:3: a quote that is not closed") == 0);
  CHECK(error("3,\"1 2 3 4\"x,Training").find("faces.csv:3:12: expected a comma") == 0);
  CHECK(error("3,1 2 3 4\r5,Training").find("faces.csv:3:9: pixel \"4?5\"") == 0);
  CHECK(error(std::string(100000, '7')).find("faces.csv:3:4161: a line of 100000 bytes, expected at most 4160") == 0);
}

TEST_CASE("A file cut anywhere gives whole rows and at most one error") {
  const std::string text = "emotion,pixels,Usage\n3,0 128 255 7,Training\n6,1 2 3 4,PublicTest\n";
  for (std::size_t length = 20; length <= text.size(); ++length) {
    const Result result = read(text.substr(0, length));
    CHECK(result.rows.size() <= 2);
    CHECK(result.errors.size() <= 1);
    for (std::size_t i = 0; i < result.rows.size(); ++i) CHECK(result.rows[i].pixels == expected[i].pixels);
  }
}

TEST_CASE("Rows of FER2013's own size") {
  std::string pixels;
  for (int i = 0; i < 2304; ++i) pixels += (i ? " " : "") + std::to_string(i % 256);
  const std::string head = "emotion,pixels,Usage\n";
  CHECK(read(head + "0," + pixels + ",Training\n", 2304).rows.size() == 1);
  CHECK(read(head + "0," + pixels + " 1,Training\n", 2304).errors ==
        std::vector<std::string>{"faces.csv:2:" + std::to_string(pixels.size() + 4) +
                                 ": expected 2304 pixels, found 2305"});
  const std::string less = pixels.substr(0, pixels.rfind(' '));
  CHECK(read(head + "0," + less + ",Training\n", 2304).errors ==
        std::vector<std::string>{"faces.csv:2:" + std::to_string(less.size() + 3) +
                                 ": expected 2304 pixels, found 2303"});
}

TEST_CASE("Arguments out of range") {
  const std::string text = "emotion,pixels\n";
  CHECK_THROWS_AS(read(text, 0), ArgumentError);
  CHECK_THROWS_AS(read(text, index_t{1} << 40), ArgumentError);
}
