// The pictures that a program is asked to read: files and folders on its command line, and where drawings of them go.
#pragma once

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <unistd.h>

#include "fer/folder.hpp"
#include "mien/core/error.hpp"

namespace mien::fer {

/// One picture to read.
struct Picture {
  std::string path;  ///< as given; of a picture in a folder, the folder in front
  std::string name;  ///< of a picture in a folder, its path below it; else its file's own name
};

/// Files as they are, whether they exist or not, and of folders all that end like a picture, also further below, in the
/// order of their names; a warning on standard error counts pictures of kinds that are not read. Throws FormatError for
/// a folder without pictures, FileError for one that cannot be listed.
inline std::vector<Picture> list_pictures(const std::vector<std::string>& arguments) {
  std::vector<Picture> pictures;
  for (const std::string& argument : arguments) {
    std::error_code error;
    if (!std::filesystem::is_directory(argument, error)) {
      pictures.push_back({argument, std::filesystem::path(argument).filename().string()});
      continue;
    }
    const std::size_t before = pictures.size();
    OtherPictures others;
    for (const FoundFile& file : list_files(argument)) {
      others.add(file);
      if (!has_picture_ending(file.name)) continue;
      std::string name;
      for (const std::string& folder : file.folders) name += folder + "/";
      pictures.push_back({file.path, name + file.name});
    }
    if (pictures.size() == before) {
      fail<FormatError>("'" + argument + "' has no pictures (.jpg, .jpeg, .png, .pgm, .ppm)" + others.text());
    }
    if (others.count > 0) std::fprintf(stderr, "warning: '%s'%s\n", argument.c_str(), others.text().c_str());
  }
  return pictures;
}

/// Throws ArgumentError where writing a drawing to `out` would destroy a photograph: `picture` itself, or a file that
/// is no PNG, as where a list of photographs follows --draw; FileError where its folder is not there.
inline void check_drawing(const std::string& out, const std::string& picture) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path folder = fs::path(out).parent_path();
  if (!folder.empty() && !fs::is_directory(folder, error)) {
    fail<FileError>("cannot write '" + out + "': there is no folder '" + folder.string() + "'");
  }
  if (fs::equivalent(out, picture, error)) {
    fail<ArgumentError>("'" + out + "' is the photograph itself: name another file for its drawing");
  }
  if (!fs::is_regular_file(out, error) || fs::file_size(out, error) == 0) return;
  constexpr std::string_view png = "\x89PNG\r\n\x1A\n";
  std::string start(png.size(), '\0');
  std::ifstream file(out, std::ios::binary);
  if (!file.read(start.data(), static_cast<std::streamsize>(start.size())) || start != png) {
    fail<ArgumentError>("'" + out + "' is there and is no drawing (a PNG): name another file");
  }
}

/// Where the drawing of each picture goes: `out` itself for a single file, else NAME.png below the folder `out`, which
/// is made, as are those below it. No two share a name, and none is one of the pictures. Throws FileError where a
/// folder cannot be made, ArgumentError as check_drawing().
inline std::vector<std::string> drawing_paths(const std::string& out, const std::vector<Picture>& pictures,
                                              bool single_file) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (single_file && !fs::is_directory(out, error)) {
    check_drawing(out, pictures[0].path);
    return {out};
  }
  std::vector<std::string> paths;
  std::set<std::string> taken;
  std::set<fs::path> originals;
  for (const Picture& picture : pictures) originals.insert(fs::weakly_canonical(picture.path, error));
  const auto is_free = [&](const fs::path& path) {
    return taken.insert(path.string()).second && originals.count(fs::weakly_canonical(path, error)) == 0;
  };
  for (const Picture& picture : pictures) {
    fs::path path = fs::path(out) / (picture.name + ".png");
    for (int n = 2; !is_free(path); ++n) {
      path = fs::path(out) / (picture.name + "-" + std::to_string(n) + ".png");
    }
    fs::create_directories(path.parent_path(), error);
    if (error) {
      fail<FileError>("cannot make the folder '" + path.parent_path().string() + "' for drawings: " + error.message());
    }
    paths.push_back(path.string());
  }
  return paths;
}

/// How far a program has come with its pictures: on a terminal a bar, redrawn ten times a second; elsewhere nothing.
class PictureProgress {
 public:
  explicit PictureProgress(std::size_t pictures, std::FILE* file = stderr)
      : file_(file), pictures_(pictures), terminal_(pictures > 1 && isatty(fileno(file)) != 0) {}
  ~PictureProgress() { clear(); }
  PictureProgress(const PictureProgress&) = delete;
  PictureProgress& operator=(const PictureProgress&) = delete;

  /// One picture more is done.
  void step() {
    ++done_;
    if (!terminal_) return;
    const auto now = std::chrono::steady_clock::now();
    if (done_ < pictures_ && now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    const double share = static_cast<double>(done_) / static_cast<double>(pictures_);
    const double spent = std::chrono::duration<double>(now - started_).count();
    const auto left = static_cast<int>(spent / share - spent);
    constexpr int width = 24;
    std::string bar(static_cast<std::size_t>(share * width), '#');
    bar.resize(width, '.');
    std::fprintf(file_, "\r%zu/%zu [%s] %3.0f%%  %.1f pictures/s  %d:%02d left \033[K", done_, pictures_, bar.c_str(),
                 100 * share, static_cast<double>(done_) / spent, left / 60, left % 60);
    std::fflush(file_);
  }

  /// Takes the bar away, so that a line can be printed.
  void clear() {
    if (terminal_ && done_ > 0) std::fprintf(file_, "\r\033[K");
    if (terminal_) std::fflush(file_);
  }

 private:
  std::FILE* file_;
  std::size_t pictures_;
  std::size_t done_ = 0;
  bool terminal_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now(), drawn_{};
};

}  // namespace mien::fer
