// Loads FER2013 from any of its public forms: class folders, fer2013.csv, icml_face_data.csv.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "fer/faces.hpp"
#include "fer/folder.hpp"
#include "mien/core/error.hpp"
#include "mien/core/threads.hpp"
#include "mien/data/csv.hpp"
#include "mien/data/image.hpp"
#include "mien/io/atomic_file.hpp"

namespace mien::fer {

/// A picture or row that was left out, and why.
struct BadItem {
  std::string name;  ///< the file, or "file:line:column"
  std::string reason;
};

struct Fer2013Options {
  std::vector<Split> splits = {Split::training, Split::public_test};
  index_t max_bad = 0;  ///< so many damaged items are left out; one more is an error that lists them
};

/// What was loaded. Splits not asked for are empty.
struct Fer2013 {
  std::array<FaceImages, 3> splits;
  std::vector<BadItem> bad;           ///< at most max_bad, in the order of their names
  std::vector<std::string> warnings;  ///< one line each: how this copy differs from FER2013 as published

  FaceImages& operator[](Split split) { return splits[static_cast<std::size_t>(split)]; }
  const FaceImages& operator[](Split split) const { return splits[static_cast<std::size_t>(split)]; }
};

namespace detail {

inline std::uint64_t picture_hash(std::span<const std::uint8_t> pixels) {
  std::uint64_t hash = 0x9E3779B97F4A7C15ULL;
  for (std::size_t i = 0; i + 8 <= pixels.size(); i += 8) {
    std::uint64_t word = 0;
    for (std::size_t k = 0; k < 8; ++k) word |= std::uint64_t{pixels[i + k]} << (8 * k);
    hash = (hash ^ word) * 0xBF58476D1CE4E5B9ULL;
    hash ^= hash >> 29;
  }
  return hash;
}

/// Puts the pictures in an order that depends on what they show alone: by a hash of the pixels. The numbers in
/// FER2013's file names are no row numbers, so this is how a folder and a CSV of the same pictures come to give the
/// same tensors, shuffles and weights.
inline void sort_by_content(FaceImages& faces) {
  const auto n = static_cast<std::size_t>(faces.size());
  std::vector<std::uint64_t> hashes(n);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = 0; i < n; ++i) hashes[i] = picture_hash(std::as_const(faces).image(static_cast<index_t>(i)));
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (hashes[a] != hashes[b]) return hashes[a] < hashes[b];
    const int pixels = std::memcmp(faces.image(static_cast<index_t>(a)).data(),
                                   faces.image(static_cast<index_t>(b)).data(), static_cast<std::size_t>(face_pixels));
    if (pixels != 0) return pixels < 0;
    if (faces.labels[a] != faces.labels[b]) return faces.labels[a] < faces.labels[b];
    return faces.names[a] < faces.names[b];
  });
  FaceImages sorted;
  sorted.synthetic = faces.synthetic;
  sorted.resize(faces.size());
  for (std::size_t i = 0; i < n; ++i) {
    const auto from = std::as_const(faces).image(static_cast<index_t>(order[i]));
    std::copy(from.begin(), from.end(), sorted.image(static_cast<index_t>(i)).begin());
    sorted.labels[i] = faces.labels[order[i]];
    sorted.names[i] = std::move(faces.names[order[i]]);
  }
  faces = std::move(sorted);
}

/// Counts every bad item and keeps the first few for the message.
class BadItems {
 public:
  explicit BadItems(index_t limit) : limit_(limit) {
    if (limit < 0) fail<ArgumentError>("max_bad is " + std::to_string(limit) + ": expected 0 or more");
  }
  void add(std::string name, std::string reason) {
    if (++count_ <= std::max<index_t>(limit_, 20)) items_.push_back({std::move(name), std::move(reason)});
  }
  /// Throws FormatError when there were more than the limit.
  std::vector<BadItem> finish(const std::string& path) && {
    if (count_ <= limit_) return std::move(items_);
    std::string text = "'" + path + "' has " + std::to_string(count_) + " damaged item" + (count_ == 1 ? "" : "s") +
                       " where " + std::to_string(limit_) + " are allowed (--max-bad):";
    for (std::size_t i = 0; i < std::min<std::size_t>(items_.size(), 20); ++i) {
      text += "\n  " + items_[i].name + ": " + items_[i].reason;
    }
    if (count_ > 20) text += "\n  and " + std::to_string(count_ - 20) + " more";
    fail<FormatError>(text);
  }

 private:
  index_t limit_;
  index_t count_ = 0;
  std::vector<BadItem> items_;
};

/// The split in front of the first '_' of a file's name, else that of the nearest folder named like one.
inline std::optional<Split> split_of_file(const FoundFile& file) {
  const std::string_view name = file.name;
  if (const std::size_t mark = name.find('_'); mark != std::string_view::npos) {
    if (const auto split = split_of(name.substr(0, mark))) return split;
  }
  for (auto folder = file.folders.rbegin(); folder != file.folders.rend(); ++folder)
    if (const auto split = split_of(*folder)) return split;
  return std::nullopt;
}

inline std::optional<int> class_of_file(const FoundFile& file) {
  for (auto folder = file.folders.rbegin(); folder != file.folders.rend(); ++folder)
    if (const auto label = class_of(*folder)) return label;
  return std::nullopt;
}

inline std::string reason_of(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

inline bool is_marked_synthetic(std::span<const std::byte> bytes) {
  return bytes.size() >= synthetic_mark.size() &&
         std::memcmp(bytes.data(), synthetic_mark.data(), synthetic_mark.size()) == 0;
}

inline void load_folder(const std::string& path, const std::vector<FoundFile>& files, const Fer2013Options& options,
                        const Threads& threads, Fer2013& data, BadItems& bad) {
  struct Picture {
    const FoundFile* file;
    int label;
  };
  std::array<std::vector<Picture>, 3> pictures;
  index_t without_split = 0, without_class = 0;
  for (const FoundFile& file : files) {
    const auto split = split_of_file(file);
    const auto label = class_of_file(file);
    if (!split && !has_picture_ending(file.name)) continue;
    if (!split) ++without_split;
    if (!label) ++without_class;
    if (split && label) pictures[static_cast<std::size_t>(*split)].push_back({&file, *label});
  }
  if (pictures[0].empty() && pictures[1].empty() && pictures[2].empty()) {
    fail<FormatError>(
        "'" + path + "' holds no FER2013: expected folders named angry, disgust, fear, happy, sad, " +
        "surprise, neutral with pictures named Training_*, PublicTest_* or PrivateTest_*, or fer2013.csv" +
        (without_split ? "; " + std::to_string(without_split) + " pictures have no split in their name" : ""));
  }
  if (without_split) {
    data.warnings.push_back(std::to_string(without_split) + " pictures below '" + path +
                            "' were left out: their names do not begin with Training_, PublicTest_ or PrivateTest_");
  }
  if (without_class) {
    data.warnings.push_back(std::to_string(without_class) + " pictures below '" + path +
                            "' were left out: no folder around them is named after one of the seven expressions");
  }
  for (const Split split : options.splits) {
    const auto& list = pictures[static_cast<std::size_t>(split)];
    FaceImages& faces = data[split];
    faces.resize(static_cast<index_t>(list.size()));
    std::vector<std::string> reasons(list.size());
    std::vector<char> drawn(list.size());
    threads.parallel_for(static_cast<index_t>(list.size()), [&](index_t i) {
      const auto k = static_cast<std::size_t>(i);
      faces.names[k] = list[k].file->path;
      faces.labels[k] = list[k].label;
      try {
        const ImageLimits limits;
        const std::vector<std::byte> bytes = read_file(list[k].file->path, limits.file_bytes);
        drawn[k] = is_marked_synthetic(bytes);
        const Image image = decode_image(bytes, 1, limits);
        if (image.width != face_side || image.height != face_side) {
          fail<FormatError>("is " + std::to_string(image.width) + "x" + std::to_string(image.height) +
                            " pixels, expected 48x48");
        }
        std::copy(image.pixels.begin(), image.pixels.end(), faces.image(i).begin());
      } catch (const Error& error) {
        reasons[k] = reason_of(error);
      }
    });
    index_t kept = 0;
    for (std::size_t k = 0; k < list.size(); ++k) {
      if (!reasons[k].empty()) {
        bad.add(faces.names[k], reasons[k]);
        continue;
      }
      const auto to = static_cast<std::size_t>(kept);
      if (to != k) {
        const auto from = std::as_const(faces).image(static_cast<index_t>(k));
        std::copy(from.begin(), from.end(), faces.image(kept).begin());
        faces.labels[to] = faces.labels[k];
        faces.names[to] = std::move(faces.names[k]);
      }
      ++kept;
    }
    faces.resize(kept);
    faces.synthetic = std::find(drawn.begin(), drawn.end(), true) != drawn.end();
  }
}

inline void load_csv(const std::string& path, const Fer2013Options& options, Fer2013& data, BadItems& bad) {
  constexpr std::size_t max_bytes = std::size_t{2} << 30;  // FER2013 is 0.3 GB
  const std::vector<std::byte> bytes = read_file(path, max_bytes);
  const std::span<const char> text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  read_fer_csv(
      text, path, face_pixels,
      [&](int emotion, std::string_view usage, std::span<const std::uint8_t> pixels, index_t line) {
        const std::string name = path + ":" + std::to_string(line);
        const auto split = usage.empty() ? std::optional(Split::training) : split_of(usage);
        if (!split) {
          bad.add(name,
                  "usage '" + std::string(usage.substr(0, 40)) + "', expected Training, PublicTest or PrivateTest");
        } else if (emotion < 0 || emotion >= class_count) {
          bad.add(name, "emotion " + std::to_string(emotion) + ", expected 0 to 6");
        } else if (std::find(options.splits.begin(), options.splits.end(), *split) != options.splits.end()) {
          FaceImages& faces = data[*split];
          faces.pixels.insert(faces.pixels.end(), pixels.begin(), pixels.end());
          faces.labels.push_back(emotion);
          faces.names.push_back(name);
        }
      },
      [&](index_t line, index_t column, const std::string& reason) {
        bad.add(path + ":" + std::to_string(line) + ":" + std::to_string(column), reason);
      });
}

/// How the class counts differ from the published ones; empty where they do not.
inline std::string difference_from_official(const FaceImages& faces, Split split) {
  const ClassCounts have = faces.counts(), official = official_counts(split);
  std::string text;
  for (std::size_t k = 0; k < have.size(); ++k) {
    if (have[k] == official[k]) continue;
    text += (text.empty() ? "" : ", ") + std::string(class_names[k]) + " " + std::to_string(have[k]) + " (published " +
            std::to_string(official[k]) + ")";
  }
  return text.empty()
             ? text
             : "this copy differs from FER2013 as published: " + std::string(split_name(split)) + " has " + text;
}

}  // namespace detail

/// Loads the splits asked for from `path`:
///   a folder     of class folders in any depth, the split in front of the file name (train/happy/Training_123.jpg);
///                JPEG, PNG or PGM of 48x48, colour turned gray; without pictures, a fer2013.csv or icml_face_data.csv
///                in it;
///   fer2013.csv  emotion,pixels,Usage; without the last column, all rows are Training;
///   icml_face_data.csv  emotion, Usage, pixels.
/// The same pictures give the same order and tensors from each. Damaged items are left out up to options.max_bad.
/// About 2.5 s of processor time for 32,298 JPEG files, shared by the threads.
///
/// Throws FileError for a path that is missing or cannot be read, FormatError for too many damaged items, for one that
/// is no FER2013, and for a split that is empty or of one class only.
inline Fer2013 load_fer2013(const std::string& path, const Fer2013Options& options, const Threads& threads) {
  if (path.empty()) fail<FileError>("no path to FER2013 was given; name its folder or CSV file");
  Fer2013 data;
  detail::BadItems bad(options.max_bad);
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) {
    detail::load_csv(path, options, data, bad);
  } else {
    const std::vector<FoundFile> files = list_files(path);
    const auto csv = std::find_if(files.begin(), files.end(), [](const FoundFile& file) {
      return file.name == "fer2013.csv" || file.name == "icml_face_data.csv";
    });
    const bool pictures = std::any_of(files.begin(), files.end(), [](const FoundFile& file) {
      return detail::split_of_file(file) && detail::class_of_file(file);
    });
    if (!pictures && csv != files.end()) {
      detail::load_csv(csv->path, options, data, bad);
    } else {
      detail::load_folder(path, files, options, threads, data, bad);
    }
  }
  data.bad = std::move(bad).finish(path);
  for (const Split split : options.splits) {
    FaceImages& faces = data[split];
    const std::string name(split_name(split));
    if (faces.size() == 0) fail<FormatError>("'" + path + "' holds no pictures of the split " + name);
    const ClassCounts counts = faces.counts();
    if (std::count(counts.begin(), counts.end(), 0) == class_count - 1) {
      fail<FormatError>("'" + path + "' holds only one class in the split " + name + " (" +
                        std::string(class_names[static_cast<std::size_t>(faces.labels[0])]) +
                        "); expected the seven expressions");
    }
    detail::sort_by_content(faces);
    if (faces.synthetic) {
      data.warnings.push_back(name + " holds synthetic faces drawn by mien, not photographs");
    } else if (std::string text = detail::difference_from_official(faces, split); !text.empty()) {
      data.warnings.push_back(text);
    }
  }
  return data;
}

/// The indices of `faces` whose pixels also stand in `training`, whatever the label there. FER2013's PublicTest has 280
/// such pictures, its PrivateTest 288: figures on the rest are the honest ones. Compares hashes, then pixels.
inline std::vector<index_t> copies_in(const FaceImages& faces, const FaceImages& training) {
  std::vector<std::pair<std::uint64_t, index_t>> known;
  for (index_t i = 0; i < training.size(); ++i) known.emplace_back(detail::picture_hash(training.image(i)), i);
  std::sort(known.begin(), known.end());
  std::vector<index_t> copies;
  for (index_t i = 0; i < faces.size(); ++i) {
    const auto picture = faces.image(i);
    const std::uint64_t hash = detail::picture_hash(picture);
    auto at = std::lower_bound(known.begin(), known.end(), std::pair(hash, index_t{0}));
    for (; at != known.end() && at->first == hash; ++at) {
      const auto other = training.image(at->second);
      if (std::equal(picture.begin(), picture.end(), other.begin())) {
        copies.push_back(i);
        break;
      }
    }
  }
  return copies;
}

/// The pictures of `faces` at `indices`, in that order.
inline FaceImages select(const FaceImages& faces, std::span<const index_t> indices) {
  FaceImages chosen;
  chosen.synthetic = faces.synthetic;
  chosen.resize(static_cast<index_t>(indices.size()));
  for (std::size_t k = 0; k < indices.size(); ++k) {
    if (indices[k] < 0 || indices[k] >= faces.size())
      fail<ArgumentError>("select: no picture " + std::to_string(indices[k]));
    const auto from = faces.image(indices[k]);
    std::copy(from.begin(), from.end(), chosen.image(static_cast<index_t>(k)).begin());
    chosen.labels[k] = faces.labels[static_cast<std::size_t>(indices[k])];
    chosen.names[k] = faces.names[static_cast<std::size_t>(indices[k])];
  }
  return chosen;
}

/// `faces` without those at `indices` (ascending, as copies_in gives them).
inline FaceImages without(const FaceImages& faces, std::span<const index_t> indices) {
  std::vector<index_t> rest;
  std::size_t next = 0;
  for (index_t i = 0; i < faces.size(); ++i) {
    if (next < indices.size() && indices[next] == i) {
      ++next;
    } else {
      rest.push_back(i);
    }
  }
  return select(faces, rest);
}

}  // namespace mien::fer
