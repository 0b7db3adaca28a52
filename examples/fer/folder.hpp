// Finds pictures in folders named after expressions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "fer/classes.hpp"
#include "mien/core/error.hpp"

namespace mien::fer {

/// One file below a folder: where it is, and the names of the folders between.
struct FoundFile {
  std::string path;                  ///< as given, the root in front
  std::vector<std::string> folders;  ///< from just below the root to the one that holds the file
  std::string name;                  ///< the file's own
};

/// Whether a file's name ends like a picture's: .jpg, .jpeg, .png, .pgm, .ppm in any letter case.
inline bool has_picture_ending(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  const std::string ending = detail::lower(name.substr(dot));
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png" || ending == ".pgm" || ending == ".ppm";
}

/// Files whose names end like pictures of kinds that are not read: so that they are not passed over in silence.
struct OtherPictures {
  std::size_t count = 0;
  std::string first;

  void add(const FoundFile& file) {
    const std::size_t dot = file.name.rfind('.');
    if (dot == std::string::npos) return;
    const std::string ending = detail::lower(file.name.substr(dot));
    for (const char* one : {".heic", ".heif", ".avif", ".webp", ".bmp", ".gif", ".tif", ".tiff"}) {
      if (ending == one && count++ == 0) first = file.path;
    }
  }

  /// What to say of them behind the folder's name; empty where there are none.
  std::string text() const {
    if (count == 0) return "";
    return ": " + std::to_string(count) + " files like '" + first +
           "' are left out, as their kind is not read; make JPEG or PNG of them";
  }
};

namespace detail {

inline void list_below(const std::filesystem::path& folder, std::vector<std::string>& inside,
                       std::set<std::filesystem::path>& visited, std::vector<FoundFile>& found) {
  namespace fs = std::filesystem;
  // A link back to a folder above would never end; the limit on depth is for the stack.
  std::error_code error;
  if (inside.size() > 16 || !visited.insert(fs::weakly_canonical(folder, error)).second) return;
  std::vector<fs::path> below;
  fs::directory_iterator entry(folder, error), end;
  for (; !error && entry != end; entry.increment(error)) below.push_back(entry->path());
  if (error) {
    fail<FileError>("cannot list the folder '" + folder.string() + "': " + error.message() + "; check its permissions");
  }
  std::sort(below.begin(), below.end());  // the system's order is anybody's guess
  for (const fs::path& path : below) {
    const std::string name = path.filename().string();
    if (name.empty() || name.front() == '.') continue;
    const fs::file_status status = fs::status(path, error);
    if (error == std::errc::permission_denied) {
      fail<FileError>("cannot look at '" + path.string() + "': " + error.message() +
                      "; check its folder's permissions");
    }
    if (fs::is_directory(status)) {
      inside.push_back(name);
      list_below(path, inside, visited, found);
      inside.pop_back();
    } else if (fs::is_regular_file(status)) {
      found.push_back({path.string(), inside, name});
    }
  }
}

}  // namespace detail

/// All regular files below `root`, in the order of their names, hidden ones left out; links are followed, each folder
/// once. Throws FileError when `root` is missing, no folder, or one below it cannot be read.
inline std::vector<FoundFile> list_files(const std::string& root) {
  std::error_code error;
  const auto status = std::filesystem::status(root, error);
  if (root.empty() || !std::filesystem::exists(status)) {
    fail<FileError>("there is no '" + root + "'" + (error && !root.empty() ? ": " + error.message() : "") +
                    "; check the path");
  }
  if (!std::filesystem::is_directory(status)) fail<FileError>("'" + root + "' is no folder");
  std::vector<FoundFile> found;
  std::vector<std::string> inside;
  std::set<std::filesystem::path> visited;
  detail::list_below(root, inside, visited, found);
  return found;
}

}  // namespace mien::fer
