// Pictures of persons: who is who, what is held out, where faces are cut out.
#include "fer/persons.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "temporary_folder.hpp"

namespace {

namespace fs = std::filesystem;
using namespace mien;
using namespace mien::fer;

/// With ways to fill it.
class Folder : public test::TemporaryFolder {
 public:
  void write(const std::string& name, const std::string& content) const { test::write_file(*this / name, content); }
  /// A gray picture, each pixel as bright as its column's number.
  void picture(const std::string& name, int width = 48, int height = 48) const {
    std::string pixels;
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) pixels += static_cast<char>(x);
    write(name, "P5\n" + std::to_string(width) + " " + std::to_string(height) + "\n255\n" + pixels);
  }
  /// Two takes of two classes, in pictures that a face of 48x48 can be cut out of.
  void two_takes() const {
    for (const char* name : {"happy/a.pgm", "happy/b.pgm", "sad/a.pgm", "sad/b.pgm"}) picture(name, 200, 100);
  }
};

using Names = std::vector<std::string>;

/// Names below the folder.
Names names(const Folder& folder, const FaceImages& faces) {
  Names result;
  for (const std::string& name : faces.names) result.push_back(name.substr(folder.path().size() + 1));
  return result;
}

std::vector<Person> read(const Folder& folder, index_t shots = 0,
                         const std::map<std::string, PixelBox>* boxes = nullptr, float margin = 0) {
  PersonsReport report;
  return read_persons(folder.path(), boxes, margin, shots, Threads(2), report);
}

template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  FAIL("nothing was thrown");
  return {};
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("persons: the take of a picture") {
  CHECK(take_of("take1-3.jpg") == "take1");
  CHECK(take_of("take1-003.png") == "take1");
  CHECK(take_of("2024-05-06-12.pgm") == "2024-05-06");
  CHECK(take_of("morning.jpg") == "morning");
  CHECK(take_of("morning-light.jpg") == "morning-light");  // no number: a take of its own
  CHECK(take_of("a.b-1.jpg") == "a.b");
  CHECK(take_of("take-.jpg") == "take-");
  CHECK(take_of("-1.jpg") == "-1");
  CHECK(take_of("7.jpg") == "7");
}

TEST_CASE("persons: the last third of the takes of a class, rounded up, is held out") {
  const int expected_held[] = {0, 1, 1, 1, 2, 2, 2, 3};
  for (int takes = 1; takes <= 7; ++takes) {
    CAPTURE(takes);
    const Folder folder;
    folder.picture("angry/x-1.pgm");
    for (int take = 1; take <= takes; ++take)
      for (int n = 1; n <= 2; ++n) folder.picture("happy/t" + std::to_string(take) + "-" + std::to_string(n) + ".pgm");
    const auto persons = read(folder);
    REQUIRE(persons.size() == 1);
    Names adapt, held = {"angry/x-1.pgm"};
    for (int take = 1; take <= takes; ++take)
      for (int n = 1; n <= 2; ++n) {
        Names& side = take > takes - expected_held[takes] ? held : adapt;
        side.push_back("happy/t" + std::to_string(take) + "-" + std::to_string(n) + ".pgm");
      }
    CHECK(names(folder, persons[0].adapt) == adapt);
    CHECK(names(folder, persons[0].held_out) == held);
    for (const int label : persons[0].adapt.labels) CHECK(label == 3);
    CHECK(persons[0].held_out.labels[0] == 0);
    CHECK(persons[0].held_out.labels[1] == 3);
  }
}

TEST_CASE("persons: a take never stands on both sides, whatever its pictures are called") {
  const Folder folder;
  for (const char* name : {"a-1", "a-2", "a-10", "a", "b", "c-x", "a-b-1", "a-b-2", "d-1", "d-2"})
    folder.picture("sad/" + std::string(name) + ".pgm");
  folder.picture("fear/z.pgm");
  const auto persons = read(folder);
  // Takes a, a-b, b, c-x, d: the last two are held out.
  CHECK(names(folder, persons[0].adapt) == Names{"sad/a-1.pgm", "sad/a-10.pgm", "sad/a-2.pgm", "sad/a.pgm",
                                                 "sad/a-b-1.pgm", "sad/a-b-2.pgm", "sad/b.pgm"});
  CHECK(names(folder, persons[0].held_out) == Names{"fear/z.pgm", "sad/c-x.pgm", "sad/d-1.pgm", "sad/d-2.pgm"});
}

TEST_CASE("persons: shots are counted per class and person") {
  const Folder folder;
  for (const char* person : {"ann", "bob"})
    for (const char* expression : {"Happiness", "neutral"})
      for (int take = 1; take <= 3; ++take)
        for (int n = 1; n <= (take == 1 ? 2 : 3); ++n)
          folder.picture(std::string(person) + "/" + expression + "/take" + std::to_string(take) + "-" +
                         std::to_string(n) + ".pgm");
  folder.picture("ann/holiday/take1-1.pgm");  // no expression
  folder.write("ann/neutral/notes.txt", "no picture");
  folder.picture("ann/neutral/.hidden.pgm");
  PersonsReport report;
  const auto persons = read_persons(folder.path(), nullptr, 0, 3, Threads(1), report);
  CHECK(report.pictures == 32);
  CHECK(report.without_box == 0);
  REQUIRE(persons.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string who = i == 0 ? "ann" : "bob";
    CHECK(persons[i].name == who);
    CHECK(names(folder, persons[i].adapt) == Names{who + "/Happiness/take1-1.pgm", who + "/Happiness/take1-2.pgm",
                                                   who + "/Happiness/take2-1.pgm", who + "/neutral/take1-1.pgm",
                                                   who + "/neutral/take1-2.pgm", who + "/neutral/take2-1.pgm"});
    CHECK(persons[i].held_out.size() == 6);  // whatever the shots
  }
  CHECK(read(folder, 0)[0].adapt.size() == 10);
  CHECK(read(folder, 1)[0].adapt.size() == 2);
  CHECK(read(folder, 1000)[0].adapt.size() == 10);
}

TEST_CASE("persons: boxes cut the face out") {
  const Folder folder;
  folder.two_takes();
  folder.write("boxes.csv",
               "\xEF\xBB\xBFy,x,w,h,file,more\r\n10,40,48,48,happy/a.pgm,0\r\n\r\n10,40,32,32,\"happy/b.pgm\",\r\n");
  const auto boxes = read_boxes(folder.path() + "/boxes.csv");
  REQUIRE(boxes.size() == 2);
  CHECK(boxes.at("happy/b.pgm").x == 40);
  CHECK(boxes.at("happy/b.pgm").y == 10);
  CHECK(boxes.at("happy/b.pgm").width == 32);
  PersonsReport report;
  const auto plain = read_persons(folder.path(), &boxes, 0, 0, Threads(1), report);
  CHECK(report.without_box == 2);
  const auto& face = plain[0].adapt;  // happy/a, sad/a
  REQUIRE(face.size() == 2);
  for (int x = 0; x < 48; ++x) CHECK(face.image(0)[static_cast<std::size_t>(x)] == 40 + x);
  // Enlarged by a quarter on every side, 32 becomes 48.
  const auto wide = read(folder, 0, &boxes, 0.25f);
  const auto& other = wide[0].held_out;  // happy/b, sad/b
  for (int x = 0; x < 48; ++x) CHECK(other.image(0)[static_cast<std::size_t>(x)] == 32 + x);
}

TEST_CASE("persons: of several boxes the largest, under a path below the folder or with it in front") {
  const Folder folder;
  folder.two_takes();
  folder.write("boxes.csv", "file,x,y,w,h\nhappy/a.pgm,0,0,20,20\nhappy/a.pgm,40,10.0,48,48.00\nhappy/a.pgm,1,1,9,9\n" +
                                folder.path() + "/sad/a.pgm,44,10,48,48\n");
  const auto boxes = read_boxes(folder.path() + "/boxes.csv");
  PersonsReport report;
  const auto persons = read_persons(folder.path(), &boxes, 0, 0, Threads(1), report);
  CHECK(report.without_box == 2);
  REQUIRE(persons[0].adapt.size() == 2);  // happy/a, sad/a
  CHECK(persons[0].adapt.image(0)[0] == 40);
  CHECK(persons[0].adapt.image(1)[0] == 44);
}

TEST_CASE("persons: boxes that make no sense are refused with file and line") {
  const Folder folder;
  const auto refusal = [&](const std::string& content) {
    folder.write("b.csv", content);
    return message_of<FormatError>([&] { (void)read_boxes(folder.path() + "/b.csv"); });
  };
  CHECK(contains(refusal(""), "empty"));
  CHECK(contains(refusal("file,x,y,w\na,1,2,3\n"), "b.csv:1: no column 'h'"));
  CHECK(contains(refusal("file,x,y,w,h\na,1,2,3\n"), "b.csv:2: too few"));
  CHECK(contains(refusal("file,x,y,w,h\na,1,2,3,4\n\nb,1,2,3,4.5\n"), "b.csv:4: '4.5'"));
  CHECK(contains(refusal("file,x,y,w,h\na,1,2,3,\n"), "b.csv:2"));
  CHECK(contains(refusal("file,x,y,w,h\na,1,2,0,4\n"), "b.csv:2"));
  CHECK(contains(refusal("file,x,y,w,h\na,1,2,3,-4\n"), "b.csv:2"));
  CHECK(contains(refusal("file,x,y,w,h\na,1,2,3,20000\n"), "b.csv:2"));
  CHECK(contains(refusal("file,x,y,w,h\na,9999999999999999999,2,3,4\n"), "b.csv:2"));
  CHECK(contains(refusal("file,x,y,w,h\na,-9223372036854775808,2,3,4\n"), "b.csv:2"));
  CHECK_THROWS_AS(read_boxes(folder.path() + "/none.csv"), FileError);
}

TEST_CASE("persons: folders that hold no person are refused") {
  const auto refusal = [](const Folder& folder) { return message_of<FormatError>([&] { (void)read(folder); }); };
  const Folder phone;
  phone.write("happy/a.HEIC", "no matter what");
  CHECK(contains(refusal(phone), "happy/a.HEIC"));
  const Folder empty;
  CHECK(contains(refusal(empty), "no pictures"));
  const Folder other;
  other.picture("cats/1.pgm");
  other.picture("angry.pgm");
  CHECK(contains(refusal(other), "no pictures"));
  const Folder one;
  one.picture("happy/1.pgm");
  one.picture("joy/2.pgm");  // the same expression
  CHECK(contains(refusal(one), "only one class (happy)"));
  Folder damaged;
  damaged.picture("happy/1.pgm");
  for (const char* content : {"", "no picture", "P5\n60000 60000\n255\n", "P5\n48 48\n255\nshort"}) {
    damaged.write("sad/bad.pgm", content);
    CHECK(contains(refusal(damaged), "sad/bad.pgm"));
  }
  PersonsReport report;
  CHECK_THROWS_AS(read_persons("no/such/folder", nullptr, 0, 0, Threads(1), report), FileError);
}
