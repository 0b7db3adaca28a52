#include "fer/fer2013.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "fer/png.hpp"
#include "fer/synthetic_export.hpp"
#include "temporary_folder.hpp"

namespace {

namespace fs = std::filesystem;
using namespace mien;
using namespace mien::fer;

using Folder = test::TemporaryFolder;

void write(const std::string& path, const std::string& bytes) { test::write_file(path, bytes); }

const FaceImages& training_faces() {
  static const FaceImages faces = synthetic_faces({.seed = 9, .persons = 4, .takes = 2}, Threads(1));
  return faces;
}
const FaceImages& public_faces() {
  static const FaceImages faces = synthetic_faces({.seed = 9, .first_person = 50, .persons = 3}, Threads(1));
  return faces;
}

/// As photographs: not marked as drawn.
void write_tree(const Folder& folder) {
  FaceImages training = training_faces(), others = public_faces();
  training.synthetic = others.synthetic = false;
  export_split(training, folder / "train", Split::training, Threads(1));
  export_split(others, folder / "test", Split::public_test, Threads(1));
}

std::string pixel_text(std::span<const std::uint8_t> pixels) {
  std::string text;
  for (const std::uint8_t value : pixels) text += (text.empty() ? "" : " ") + std::to_string(value);
  return text;
}

/// Both splits as rows, PublicTest first, so that the order of rows differs from that of the folder.
std::string csv(bool icml) {
  std::string text = icml ? "emotion, Usage, pixels\n" : "emotion,pixels,Usage\n";
  const auto add = [&](const FaceImages& faces, const std::string& usage) {
    for (index_t i = faces.size() - 1; i >= 0; --i) {
      const std::string emotion = std::to_string(faces.labels[static_cast<std::size_t>(i)]);
      const std::string pixels = pixel_text(faces.image(i));
      text += icml ? emotion + "," + usage + "," + pixels + "\n" : emotion + "," + pixels + "," + usage + "\n";
    }
  };
  add(public_faces(), "PublicTest");
  add(training_faces(), "Training");
  return text;
}

std::string message_of(const std::string& path, const Fer2013Options& options = {}) {
  try {
    load_fer2013(path, options, Threads(1));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_CASE("fer2013: a folder and both CSV styles give the same tensors") {
  const Folder folder;
  write_tree(folder);
  write(folder / "a/fer2013.csv", csv(false));
  write(folder / "b/icml_face_data.csv", csv(true));
  const Fer2013 tree = load_fer2013(folder.path(), {}, Threads(1));
  REQUIRE(tree[Split::training].size() == training_faces().size());
  REQUIRE(tree[Split::public_test].size() == public_faces().size());
  CHECK(tree[Split::private_test].size() == 0);
  CHECK(tree[Split::training].counts() == training_faces().counts());
  CHECK(tree.bad.empty());
  // Every picture came with its own label.
  for (index_t i = 0; i < training_faces().size(); ++i) {
    const auto wanted = training_faces().image(i);
    bool found = false;
    for (index_t k = 0; k < tree[Split::training].size() && !found; ++k) {
      const auto have = tree[Split::training].image(k);
      found = std::equal(have.begin(), have.end(), wanted.begin()) &&
              tree[Split::training].labels[static_cast<std::size_t>(k)] ==
                  training_faces().labels[static_cast<std::size_t>(i)];
    }
    CHECK(found);
  }
  write(folder / "a/cover.png", "a stray picture is no data set");
  for (const char* path : {"a/fer2013.csv", "b/icml_face_data.csv", "a", "b"}) {
    const Fer2013 table = load_fer2013(folder / path, {}, Threads(3));
    for (const Split split : all_splits) {
      CHECK(table[split].pixels == tree[split].pixels);
      CHECK(table[split].labels == tree[split].labels);
    }
  }
  CHECK(load_fer2013(folder.path(), {}, Threads(3))[Split::training].names == tree[Split::training].names);
}

TEST_CASE("fer2013: a copy that differs is named, not refused") {
  const Folder folder;
  write_tree(folder);
  const Fer2013 data = load_fer2013(folder.path(), {}, Threads(1));
  REQUIRE(data.warnings.size() == 2);
  CHECK(contains(data.warnings[0], "Training has angry 8 (published 3995), disgust 8 (published 436)"));
  CHECK(contains(data.warnings[1], "PublicTest has angry 3 (published 467)"));
}

TEST_CASE("fer2013: other folder names, deeper trees, files that are none of ours") {
  const Folder folder;
  const std::string pgm = encode_pgm(training_faces().image(0)), other = encode_pgm(training_faces().image(1));
  write(folder / "x/y/Anger/more/Training_1.PGM", pgm);
  write(folder / "x/Surprised/Training_2.pgm", other);
  write(folder / "x/Surprised/Thumbs.db", "nothing");
  write(folder / "x/Surprised/.hidden.pgm", "nothing");
  write(folder / "readme.txt", "nothing");
  write(folder / "contempt/Training_3.pgm", pgm);
  write(folder / "sad/unnamed.pgm", pgm);
  write(folder / "training/sad/named_by_folder.pgm", pgm);
  fs::create_directory_symlink(folder.path(), folder / "x/loop");
  const Fer2013 data = load_fer2013(folder.path(), {.splits = {Split::training}}, Threads(1));
  const ClassCounts expected = {1, 0, 0, 0, 1, 1, 0};
  CHECK(data[Split::training].counts() == expected);
  REQUIRE(data.warnings.size() == 3);
  CHECK(contains(data.warnings[0], "1 pictures below"));
  CHECK(contains(data.warnings[0], "Training_"));
  CHECK(contains(data.warnings[1], "seven expressions"));
}

TEST_CASE("fer2013: damaged pictures are named, and left out only up to the limit") {
  const Folder folder;
  write_tree(folder);
  const std::string good = encode_pgm(training_faces().image(0));
  write(folder / "train/happy/Training_9001.jpg", "");
  write(folder / "train/happy/Training_9002.png", "no picture at all");
  write(folder / "train/sad/Training_9003.pgm", good.substr(0, good.size() - 1));
  write(folder / "train/sad/Training_9004.png", encode_png(std::vector<std::uint8_t>(1, 7), 1, 1));
  write(folder / "train/sad/Training_9005.png", encode_png(std::vector<std::uint8_t>(47 * 48, 7), 47, 48));
  write(folder / "train/sad/Training_9006.pgm", "P5\n60000 60000\n255\nx");

  const std::string refused = message_of(folder.path());
  CHECK(contains(refused, "6 damaged items where 0 are allowed"));
  for (int n = 9001; n <= 9006; ++n) CHECK(contains(refused, "Training_" + std::to_string(n)));
  CHECK(contains(refused, "1x1"));
  CHECK(contains(refused, "47x48"));
  CHECK(contains(message_of(folder.path(), {.max_bad = 5}), "6 damaged items where 5 are allowed"));

  const Fer2013 data = load_fer2013(folder.path(), {.max_bad = 6}, Threads(2));
  CHECK(data.bad.size() == 6);
  Folder clean;
  write_tree(clean);
  const Fer2013 undamaged = load_fer2013(clean.path(), {}, Threads(1));
  CHECK(data[Split::training].pixels == undamaged[Split::training].pixels);
  CHECK(data[Split::training].labels == undamaged[Split::training].labels);
}

TEST_CASE("fer2013: damaged rows") {
  const Folder folder;
  const std::string rows = csv(false);
  const std::string pixels = pixel_text(training_faces().image(0));
  const auto load_with = [&](const std::string& extra, index_t max_bad) {
    write(folder / "t.csv", rows + extra);
    return load_fer2013(folder / "t.csv", {.max_bad = max_bad}, Threads(1));
  };
  const index_t n = load_with("", 0)[Split::training].size();
  for (const std::string& bad :
       {"3," + pixels + " 1,Training\n", "3," + pixels.substr(0, pixels.rfind(' ')) + ",Training\n",
        "9," + pixels + ",Training\n", "-1," + pixels + ",Training\n", "3," + pixels + ",Elsewhere\n",
        "3,256" + pixels.substr(pixels.find(' ')) + ",Training\n", "3," + pixels.substr(0, 100)}) {
    CHECK_THROWS_AS(load_with(bad, 0), FormatError);
    const Fer2013 data = load_with(bad, 1);
    CHECK(data[Split::training].size() == n);
    REQUIRE(data.bad.size() == 1);
    CHECK(contains(data.bad[0].name, "t.csv:" + std::to_string(2 + training_faces().size() + public_faces().size())));
    CHECK(!data.bad[0].reason.empty());
  }
  // CRLF and a byte order mark are no damage.
  std::string windows = "\xEF\xBB\xBF";
  for (const char c : rows) windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  write(folder / "w.csv", windows);
  CHECK(load_fer2013(folder / "w.csv", {}, Threads(1))[Split::training].pixels ==
        load_with("", 0)[Split::training].pixels);
  write(folder / "m.csv", "emotion,Usage\n3,Training\n");
  CHECK_THROWS_AS(load_fer2013(folder / "m.csv", {}, Threads(1)), FormatError);
  write(folder / "e.csv", "");
  CHECK_THROWS_AS(load_fer2013(folder / "e.csv", {}, Threads(1)), FormatError);
}

TEST_CASE("fer2013: bad paths and incomplete sets") {
  const Folder folder;
  CHECK_THROWS_AS(load_fer2013("", {}, Threads(1)), FileError);
  CHECK_THROWS_AS(load_fer2013(folder / "missing", {}, Threads(1)), FileError);
  CHECK(contains(message_of(folder.path()), "expected folders named angry"));
  CHECK_THROWS_AS(load_fer2013("/dev/null", {}, Threads(1)), FileError);
  write_tree(folder);
  CHECK(contains(message_of(folder.path(), {.splits = {Split::private_test}}), "no pictures of the split PrivateTest"));
  CHECK_THROWS_AS(load_fer2013(folder.path(), {.max_bad = -1}, Threads(1)), ArgumentError);
  const Folder single;
  write(single / "happy/Training_1.pgm", encode_pgm(training_faces().image(3)));
  CHECK(contains(message_of(single.path(), {.splits = {Split::training}}), "only one class"));
}

TEST_CASE("fer2013: copies of training pictures, whatever their label") {
  FaceImages faces = select(training_faces(), std::vector<index_t>{3, 8, 20});
  faces.labels[1] = (faces.labels[1] + 1) % class_count;
  faces.image(2)[100] ^= 1;  // nearly the same is not the same
  CHECK(copies_in(faces, training_faces()) == std::vector<index_t>{0, 1});
  CHECK(copies_in(public_faces(), training_faces()).empty());
  const FaceImages rest = without(faces, std::vector<index_t>{0, 1});
  REQUIRE(rest.size() == 1);
  CHECK(rest.names[0] == faces.names[2]);
  CHECK(std::equal(rest.pixels.begin(), rest.pixels.end(), faces.image(2).begin()));
  CHECK_THROWS_AS(select(faces, std::vector<index_t>{3}), ArgumentError);
}

TEST_CASE("synthetic faces are known as such when they are read back") {
  const Folder folder;
  export_split(training_faces(), folder.path() + "/train", Split::training, Threads(1));
  export_split(public_faces(), folder.path() + "/test", Split::public_test, Threads(1));
  const Fer2013 data = load_fer2013(folder.path(), {}, Threads(1));
  CHECK(data[Split::training].synthetic);
  CHECK(data[Split::public_test].synthetic);
  REQUIRE(data.warnings.size() == 2);
  CHECK(contains(data.warnings[0], "synthetic faces drawn by mien"));
}

TEST_CASE("synthetic persons as folders") {
  const Folder folder;
  export_persons({.seed = 2, .first_person = 7, .persons = 2, .takes = 3}, folder.path(), Threads(1));
  const auto files = list_files(folder.path());
  CHECK(files.size() == 2 * 3 * 7);
  CHECK(files.front().path == folder.path() + "/person7/angry/take1-1.pgm");
  std::vector<std::uint8_t> expected(face_pixels);
  render_face(2, 8, 3, 2, expected);
  const Image image = decode_image(read_file(folder / "person8/happy/take3-1.pgm", 10000), 1);
  CHECK(image.pixels == expected);
}

TEST_CASE("png: pictures come back from the decoder, also those of several stored blocks") {
  for (const auto& [width, height] : {std::pair<index_t, index_t>{48, 48}, {1, 1}, {300, 500}, {65, 1008}}) {
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width * height));
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * i / 7);
    const std::string png = encode_png(pixels, width, height);
    const Image image = decode_image(std::as_bytes(std::span<const char>(png.data(), png.size())), 1);
    CHECK(image.width == width);
    CHECK(image.height == height);
    CHECK(image.pixels == pixels);
  }
}

TEST_CASE("fer2013: the real data set") {
  const char* path = std::getenv("MIEN_FER2013");
  if (!path) {
    MESSAGE("skipped: set MIEN_FER2013 to the folder of FER2013");
    return;
  }
  const Fer2013 data = load_fer2013(path, {}, Threads(0));
  CHECK(data.warnings.empty());
  CHECK(data[Split::training].counts() == official_counts(Split::training));
  CHECK(data[Split::public_test].counts() == official_counts(Split::public_test));
  // Counted independently, by identical files: 280 of PublicTest also stand in Training.
  const auto copies = copies_in(data[Split::public_test], data[Split::training]);
  CHECK(copies.size() == 280);
  CHECK(without(data[Split::public_test], copies).size() == 3309);
}

}  // namespace
