// Reading cascades: both formats, and everything that a damaged or hostile file may hold.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>

#include "cascade/xml.hpp"
#include "cascade_cases.hpp"

using namespace mien::cascade;
using mien::FileError;
using mien::FormatError;

namespace {

const std::string new_format = R"(<?xml version="1.0"?>
<opencv_storage>
<cascade type_id="opencv-cascade-classifier"><stageType>BOOST</stageType>
  <featureType>HAAR</featureType>
  <height>20</height>
  <width>24</width>
  <featureParams><maxCatCount>0</maxCatCount></featureParams>
  <stageNum>2</stageNum>
  <stages>
    <!-- stage 0 -->
    <_>
      <stageThreshold>-1.5</stageThreshold>
      <weakClassifiers>
        <_><internalNodes>0 -1 0 2.5e-01</internalNodes><leafValues>1. -1.</leafValues></_>
      </weakClassifiers></_>
    <_>
      <stageThreshold>0.5</stageThreshold>
      <weakClassifiers>
        <_><internalNodes>1 0 1 0.125 <!-- between --> -1 -2 0 -3</internalNodes>
           <leafValues>.5 .25 -.75</leafValues></_>
      </weakClassifiers></_>
  </stages>
  <features>
    <_><rects><_>0 0 24 20 -1.</_><_>0 0 12 20 2.</_></rects></_>
    <_><rects><_>6 0 4 4 -1.</_><_>6 0 4 2 2.</_><_>6 1 2 2 3.</_></rects><tilted>1</tilted></_>
  </features></cascade>
</opencv_storage>
)";

const std::string old_format = R"(<opencv_storage>
<my_detector type_id="opencv-haar-classifier">
  <size>24 20</size>
  <stages>
    <_><trees>
      <_>
        <_><feature><rects><_>0 0 24 20 -1.</_><_>0 0 12 20 2.</_></rects><tilted>0</tilted></feature>
           <threshold>0.25</threshold><left_val>1.0</left_val><right_node>1</right_node></_>
        <_><feature><rects><_>2 2 4 4 -1.</_><_>2 2 4 2 2.</_></rects></feature>
           <threshold>-2.0683e+000</threshold><left_val>-1.</left_val><right_val>3</right_val></_></_></trees>
      <stage_threshold>0.75</stage_threshold><parent>-1</parent><next>-1</next></_>
  </stages></my_detector></opencv_storage>)";

const std::string lbp_format = R"(<opencv_storage><cascade><stageType>BOOST</stageType><featureType>LBP</featureType>
<height>9</height><width>9</width><featureParams><maxCatCount>256</maxCatCount></featureParams>
<stages><_><stageThreshold>0</stageThreshold><weakClassifiers>
<_><internalNodes>0 -1 0 1 -2 3 -4 5 -6 7 -2147483648</internalNodes><leafValues>-1 1</leafValues></_>
</weakClassifiers></_></stages>
<features><_><rect>0 0 3 3</rect></_></features></cascade></opencv_storage>)";

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

/// The error's text; empty if there is none.
std::string error_of(const std::string& text) {
  try {
    parse_cascade(text, "file.xml");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

void refused(const std::string& text, std::string_view what) {
  const std::string error = error_of(text);
  CAPTURE(error);
  CAPTURE(what);
  CHECK(error.find("file.xml") == 0);
  CHECK(error.find(what) != std::string::npos);
  CHECK(error.size() < 400);
}

}  // namespace

TEST_CASE("the new format") {
  const Cascade cascade = parse_cascade(new_format);
  CHECK(cascade.kind() == FeatureKind::haar);
  CHECK(cascade.window() == Size{24, 20});
  REQUIRE(cascade.stages().size() == 2);
  CHECK(cascade.stages()[0].threshold == -1.5F - 1e-5F);
  CHECK(cascade.stages()[1].first_tree == 1);
  REQUIRE(cascade.nodes().size() == 3);
  CHECK(cascade.nodes()[0].threshold == 0.25F);
  CHECK(cascade.nodes()[1].left == 1);
  CHECK(cascade.nodes()[2].threshold == -3.0F);
  REQUIRE(cascade.leaves().size() == 5);
  CHECK(cascade.leaves()[2] == 0.5F);
  CHECK(cascade.leaves()[4] == -0.75F);
  REQUIRE(cascade.haar_features().size() == 2);
  CHECK(cascade.haar_features()[0].rects[1] == Rect{0, 0, 12, 20});
  CHECK(cascade.haar_features()[0].weights[2] == 0.0F);
  CHECK(cascade.haar_features()[1].tilted);
  CHECK(cascade.has_tilted());
  CHECK(cascade.exact_features());
  // Byte order mark and blanks before the root are no matter.
  CHECK_NOTHROW(parse_cascade("\xEF\xBB\xBF  " + new_format.substr(new_format.find("<opencv"))));
}

TEST_CASE("the old format") {
  const Cascade cascade = parse_cascade(old_format);
  CHECK(cascade.window() == Size{24, 20});
  REQUIRE(cascade.nodes().size() == 2);
  CHECK(cascade.nodes()[0].left == 0);
  CHECK(cascade.nodes()[0].right == 1);
  CHECK(cascade.nodes()[1].left == -1);
  CHECK(cascade.nodes()[1].right == -2);
  CHECK(cascade.leaves()[2] == 3.0F);
  CHECK(cascade.stages()[0].threshold == 0.75F - 1e-5F);
  CHECK_FALSE(cascade.has_tilted());
}

TEST_CASE("LBP") {
  const Cascade cascade = parse_cascade(lbp_format);
  CHECK(cascade.kind() == FeatureKind::lbp);
  CHECK(cascade.nodes()[0].subset[1] == 0xFFFFFFFEU);
  CHECK(cascade.nodes()[0].subset[7] == 0x80000000U);
  CHECK(cascade.lbp_features()[0].cell == Rect{0, 0, 3, 3});
}

TEST_CASE("decimals go through double") {
  // Just above the middle of two floats: rounded to double first it is the middle, which then goes to even.
  const Cascade cascade = parse_cascade(replaced(new_format, "2.5e-01", "1.00000005960464477540"));
  CHECK(cascade.nodes()[0].threshold == 1.0F);
}

TEST_CASE("a file cut off anywhere is refused") {
  for (const std::string& text : {new_format, old_format, lbp_format}) {
    const std::size_t end = text.rfind("</opencv_storage>") + 17;
    for (std::size_t length = 0; length < end; ++length) {
      CAPTURE(length);
      CHECK(error_of(text.substr(0, length)) != "");
    }
  }
}

TEST_CASE("what is missing or of another kind is named with its line") {
  refused("", "not well-formed");
  refused("<cascade/>", "root element <cascade> is not <opencv_storage>");
  refused("<opencv_storage></opencv_storage>", "is empty");
  refused("<opencv_storage><x/></opencv_storage>", "neither a cascade");
  refused(replaced(new_format, "BOOST", "FOREST"), "stageType is not BOOST");
  refused(replaced(new_format, "HAAR", "HOG"), "only HAAR and LBP");
  refused(replaced(new_format, "<height>20</height>", ""), "<height> is missing");
  refused(replaced(new_format, "<height>20</height>", "<height></height>"), "<height> ends where");
  refused(replaced(new_format, "<height>20</height>", "<height>20 3</height>"), "more values than expected");
  refused(replaced(new_format, "<height>20</height>", "<height>20.5</height>"), "\"20.5\" is not an integer");
  refused(replaced(new_format, "<height>20</height>", "<height>99999999999</height>"), "is not an integer in range");
  refused(replaced(new_format, "<height>20</height>", "<height>0</height>"), "sides must be 1 to 512");
  refused(replaced(new_format, "<height>20</height>", "<height>100000</height>"), "sides must be 1 to 512");
  refused(replaced(new_format, "<height>20</height>", "<height>2</height>"), "leaves the window of 24x2");
  refused(replaced(new_format, "<height>20</height>", "<height><a>20</a></height>"), "holds elements");
  refused(replaced(new_format, "<maxCatCount>0<", "<maxCatCount>256<"), "maxCatCount 256");
  refused(replaced(new_format, "<stageNum>2<", "<stageNum>10000000<"), "stageNum says 10000000");
  refused(replaced(new_format, "0.125", "0.125x"), "\"0.125x\" is not a number");
  CHECK(error_of(replaced(new_format, "0.125", "0.125x")).find("line 19") != std::string::npos);
  refused(replaced(new_format, "1. -1.", "1."), "<leafValues> ends where");
  refused(replaced(new_format, "1. -1.", "1. -1. 1."), "more values than expected");
  refused(replaced(new_format, "0 -1 0 2.5e-01", "0 -1 0"), "ends where");
  refused(replaced(new_format, "0 -1 0 2.5e-01", " "), "tree without nodes");
  refused(replaced(new_format, "<_>0 0 24 20 -1.</_>", ""), "fewer than two rectangles");
  refused(replaced(new_format, "<_>6 1 2 2 3.</_>", "<_>6 1 2 2 3.</_><_>6 1 2 2 3.</_>"),
          "more than three rectangles");
  refused(replaced(new_format, "<tilted>1<", "<tilted>2<"), "tilted is neither 0 nor 1");
  refused(replaced(old_format, "<stage_threshold>0.75</stage_threshold>", ""), "<stage_threshold> is missing");
  refused(replaced(old_format, "<size>24 20<", "<size>24<"), "<size> ends where");
}

TEST_CASE("numbers that are no numbers") {
  for (const char* value : {"nan", "inf", "-inf", ".Nan", "1e308", "-1e39", "3.5e38", "1e400", "1e-400", "0x10", "+1",
                            "--1", "1,5", "1e", "&#49;", "&lt;"}) {
    CAPTURE(value);
    CHECK(error_of(replaced(new_format, "2.5e-01", value)) != "");
    CHECK(error_of(replaced(new_format, "-1.5", value)) != "");
    CHECK(error_of(replaced(new_format, "1. -1.", std::string(value) + " 1")) != "");
    CHECK(error_of(replaced(new_format, "24 20 -1.", "24 20 " + std::string(value))) != "");
  }
  CHECK(error_of(replaced(new_format, "2.5e-01", "3.4e38")) == "");
}

TEST_CASE("trees cannot loop, nor leave the tree") {
  refused(replaced(new_format, "1 0 1 0.125", "2 0 1 0.125"), "node 0 has child 2 in a tree of 2 nodes");
  refused(replaced(new_format, "1 0 1 0.125", "1 -3 1 0.125"), "node 0 has child -3");
  refused(replaced(new_format, "-1 -2 0 -3", "1 -2 0 -3"), "node 1 has child 1");
  refused(replaced(new_format, "-1 -2 0 -3", "-1 -2147483648 0 -3"), "node 1 has child -2147483648");
  refused(replaced(new_format, "0 -1 0 2.5e-01", "0 -1 2 2.5e-01"), "feature 2 of 2");
  refused(replaced(new_format, "0 -1 0 2.5e-01", "0 -1 -1 2.5e-01"), "feature -1 of 2");
  refused(replaced(old_format, "<right_node>1<", "<right_node>0<"), "right_node must be a later node");
  refused(replaced(old_format, "<right_node>1<", "<right_node>2<"), "node 0 has child 2");
  refused(replaced(old_format, "<right_node>1</right_node>", "<right_val>1</right_val>"), "2 nodes with 4 leaves");
}

TEST_CASE("features stay inside the window") {
  refused(replaced(new_format, "0 0 12 20 2.", "13 0 12 20 2."), "rectangle 13 0 12 20 leaves the window");
  refused(replaced(new_format, "0 0 12 20 2.", "-1 0 12 20 2."), "leaves the window");
  refused(replaced(new_format, "0 0 12 20 2.", "0 0 0 20 2."), "leaves the window");
  refused(replaced(new_format, "0 0 12 20 2.", "2147483647 0 12 20 2."), "leaves the window");
  refused(replaced(new_format, "0 0 12 20 2.", "0 0 12 2147483647 2."), "leaves the window");
  // A tilted rectangle reaches left by its height and down by both sides.
  refused(replaced(new_format, "6 0 4 4 -1.", "3 0 4 4 -1."), "feature 1, rectangle 0");
  refused(replaced(new_format, "6 0 4 4 -1.", "6 14 4 4 -1."), "feature 1, rectangle 0");
  refused(replaced(new_format, "6 0 4 4 -1.", "6 0 19 4 -1."), "leaves the window");
  refused(replaced(lbp_format, "0 0 3 3", "1 0 3 3"), "3x3 cells leave the window");
}

TEST_CASE("tricks with XML") {
  refused("<!DOCTYPE x [<!ENTITY a \"b\">]>" + new_format.substr(new_format.find("<opencv")), "DOCTYPE");
  refused(replaced(new_format, "<height>20</height>", "<height>&twenty;</height>"), "is not an integer");
  refused(replaced(new_format, "<height>20</height>", "<height><![CDATA[20]]></height>"), "ends where");
  refused(replaced(new_format, "HAAR", std::string("HA\0AR", 5)), "zero byte");
  std::string deep = "<opencv_storage>";
  for (int i = 0; i < 200000; ++i) deep += "<a>";
  for (int i = 0; i < 200000; ++i) deep += "</a>";
  refused(deep + "</opencv_storage>", "nested more than 32 deep");
  std::string many = "<opencv_storage>";
  for (int i = 0; i < 1000001; ++i) many += "<a/>";
  refused(many + "</opencv_storage>", "more than a million tags");
  refused(std::string((std::size_t{16} << 20) + 1, ' '), "more than 16 MiB");
  // More stages than are accepted, and more nodes.
  const std::size_t first = new_format.find("<_>"),
                    last = new_format.find("<_>", new_format.find("weakClassifiers></_"));
  std::string stages;
  for (int i = 0; i < 1100; ++i) stages += new_format.substr(first, last - first);
  refused(new_format.substr(0, first) + stages + new_format.substr(last), "more than 1000 stages");
  std::string nodes;
  for (int i = 0; i < 100001; ++i) nodes += "0 -1 0 1 ";
  refused(replaced(new_format, "0 -1 0 2.5e-01", nodes), "more than 100000 nodes");
  // A long name does not become a long message.
  refused("<" + std::string(100000, 'x') + "/>", "root element");
}

TEST_CASE("files that are no files") {
  CHECK_THROWS_AS(load_cascade("no/such/file.xml"), FileError);
  CHECK_THROWS_AS(load_cascade("/"), FileError);
  CHECK_THROWS_AS(load_cascade("/dev/zero"), FormatError);
}

TEST_CASE("a cascade that nobody read from a file is checked as well") {
  CascadeData data;
  data.window = {10, 10};
  CHECK_THROWS_AS(Cascade{data}, FormatError);
  data.stages = {{0, 1, 0.0F}};
  data.trees = {{0, 1, 0}};
  data.nodes = {{0, -1, 0, 0.0F, {}}};
  data.leaves = {1.0F, -1.0F};
  CHECK_THROWS_AS(Cascade{data}, FormatError);
  HaarFeature feature;
  feature.rects = {{{0, 0, 4, 4}, {0, 0, 2, 4}, {}}};
  feature.weights = {-1.0F, 2.0F, 0.0F};
  data.haar = {feature};
  CHECK_NOTHROW(Cascade{data});
  auto broken = data;
  broken.leaves.push_back(0.0F);
  CHECK_THROWS_AS(Cascade{broken}, FormatError);
  broken = data;
  broken.stages[0].first_tree = 1;
  CHECK_THROWS_AS(Cascade{broken}, FormatError);
  broken = data;
  broken.window = {1, 10};
  CHECK_THROWS_AS(Cascade{broken}, FormatError);
  broken = data;
  broken.haar[0].weights[0] = 0.5F;
  CHECK_FALSE(Cascade(broken).exact_features());
  broken.haar[0].weights[0] = 1e9F;
  CHECK_FALSE(Cascade(broken).exact_features());
}

TEST_CASE("the frontal face cascade loads, and how long that takes is said") {
  const std::string path = "/usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml";
  double best = 1e9;
  for (int i = 0; i < 10; ++i) {
    const auto start = std::chrono::steady_clock::now();
    try {
      const Cascade cascade = load_cascade(path);
      REQUIRE(cascade.nodes().size() == 2913);
    } catch (const FileError&) {
      MESSAGE("skipped: ", path, " is not installed (Debian: opencv-data)");
      return;
    }
    best = std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  MESSAGE("best of ten: ", best, " ms, of 10 asked for on a quiet machine");
}
