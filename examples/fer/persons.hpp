// Pictures of persons, sorted into those to adapt on and those held out: takes never stand on both sides.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "fer/boxes.hpp"
#include "fer/face_crop.hpp"
#include "fer/faces.hpp"
#include "fer/fer2013.hpp"
#include "fer/folder.hpp"
#include "mien/data/resize.hpp"
#include "mien/io/atomic_file.hpp"
#include "photo/photo.hpp"

namespace mien::fer {

/// One person's pictures.
struct Person {
  std::string name;
  FaceImages adapt, held_out;
};

/// The take of a picture: its name in front of the last "-<number>"; the whole name where there is none, so that the
/// picture is a take of its own.
inline std::string take_of(const std::string& file) {
  std::string stem = file.substr(0, file.rfind('.'));
  const std::size_t dash = stem.rfind('-');
  if (dash == std::string::npos || dash + 1 == stem.size() || dash == 0) return stem;
  const bool number = std::all_of(stem.begin() + static_cast<std::ptrdiff_t>(dash) + 1, stem.end(),
                                  [](char c) { return c >= '0' && c <= '9'; });
  return number ? stem.substr(0, dash) : stem;
}

/// What read_persons found beside the persons.
struct PersonsReport {
  index_t pictures = 0;
  index_t without_box = 0;  ///< used whole, as no box was given for them
  std::vector<std::string> warnings;
};

/// Reads DIR/<class>/<take>-<n>.jpg|png|pgm of one person, or DIR/<person>/<class>/... of several; of more folders in
/// between, all together are the person. Per class the last third of the takes in name order, rounded up, is held out;
/// of the others the first `shots` pictures are to adapt on (all of them if 0). Pictures are turned upright, cropped by
/// `boxes` (keys are paths below DIR, or with DIR in front), enlarged by `margin` of their side on every side, and
/// brought to 48x48. Throws FileError and FormatError naming the picture.
inline std::vector<Person> read_persons(const std::string& folder, const std::map<std::string, PixelBox>* boxes,
                                        float margin, index_t shots, const Threads& threads, PersonsReport& report) {
  struct Picture {
    const FoundFile* file;
    std::string person, take;
    int label;
  };
  const std::vector<FoundFile> files = list_files(folder);
  std::vector<Picture> pictures;
  OtherPictures others;
  std::vector<const FoundFile*> elsewhere;
  for (const FoundFile& file : files) {
    others.add(file);
    if (!has_picture_ending(file.name)) continue;
    const auto label = file.folders.empty() ? std::nullopt : class_of(file.folders.back());
    if (!label) {
      elsewhere.push_back(&file);
      continue;
    }
    std::string person;
    for (std::size_t i = 0; i + 1 < file.folders.size(); ++i) person += (i > 0 ? "-" : "") + file.folders[i];
    pictures.push_back({&file, person, take_of(file.name), *label});
  }
  if (others.count > 0) report.warnings.push_back("'" + folder + "'" + others.text());
  if (!elsewhere.empty()) {
    report.warnings.push_back("'" + folder + "': " + std::to_string(elsewhere.size()) + " pictures like '" +
                              elsewhere[0]->path + "' are left out, as their folder is not named like an expression");
  }
  if (pictures.empty()) {
    fail<FormatError>("'" + folder + "' has no pictures in folders named like the expressions (" +
                      std::string(class_names[0]) + ", " + std::string(class_names[1]) + ", ...)" + others.text());
  }
  std::stable_sort(pictures.begin(), pictures.end(), [](const Picture& a, const Picture& b) {
    return std::tie(a.person, a.label, a.take, a.file->name) < std::tie(b.person, b.label, b.take, b.file->name);
  });
  const auto same_class = [&](const Picture& p) { return p.label == pictures[0].label; };
  if (std::all_of(pictures.begin(), pictures.end(), same_class)) {
    fail<FormatError>("'" + folder + "' holds only one class (" +
                      std::string(class_names[static_cast<std::size_t>(pictures[0].label)]) +
                      "); at least two expressions are needed");
  }
  report.pictures = static_cast<index_t>(pictures.size());

  FaceImages all;
  all.resize(report.pictures);
  std::vector<int> whole(pictures.size(), 0);
  threads.parallel_for(report.pictures, [&](index_t i) {
    const Picture& p = pictures[static_cast<std::size_t>(i)];
    Image image;
    try {
      image = photo::decode_photo(read_file(p.file->path, photo::PhotoLimits().file_bytes), 1);
    } catch (const Error& error) {
      const std::string text = error.what();
      if (text.find(p.file->path) != std::string::npos) throw;
      fail<FormatError>(p.file->path + ": " + text);
    }
    PixelBox box{0, 0, image.width, image.height};
    if (boxes != nullptr) {
      std::string key;
      for (const std::string& f : p.file->folders) key += f + "/";
      auto found = boxes->find(key + p.file->name);
      if (found == boxes->end()) found = boxes->find(p.file->path);
      if (found == boxes->end()) {
        whole[static_cast<std::size_t>(i)] = 1;
      } else {
        box = with_margin(found->second, margin);
      }
    }
    const Image face = crop_resize(image, box, face_side, face_side);
    std::copy(face.pixels.begin(), face.pixels.end(), all.image(i).begin());
    all.labels[static_cast<std::size_t>(i)] = p.label;
    all.names[static_cast<std::size_t>(i)] = p.file->path;
  });
  for (const int w : whole) report.without_box += w;

  const auto is_person = [](const Picture& p) { return p.person == "person"; };
  const std::string nameless = std::any_of(pictures.begin(), pictures.end(), is_person) ? "person-2" : "person";
  std::vector<Person> persons;
  std::vector<std::string> single_takes;
  for (std::size_t i = 0; i < pictures.size();) {
    std::size_t person_end = i;
    std::vector<index_t> adapt, held_out;
    while (person_end < pictures.size() && pictures[person_end].person == pictures[i].person) {
      std::size_t end = person_end;
      std::vector<std::string> takes;
      for (; end < pictures.size() && pictures[end].person == pictures[i].person &&
             pictures[end].label == pictures[person_end].label;
           ++end) {
        if (takes.empty() || takes.back() != pictures[end].take) takes.push_back(pictures[end].take);
      }
      const std::size_t kept = takes.size() - (takes.size() + 2) / 3;
      if (kept == 0 && end - person_end > 1) {
        single_takes.push_back("the " + std::to_string(end - person_end) + " pictures like '" +
                               pictures[person_end].file->path + "'");
      }
      index_t taken = 0;
      for (std::size_t k = person_end; k < end; ++k) {
        const bool held = kept == 0 || pictures[k].take > takes[kept - 1];
        if (held) {
          held_out.push_back(static_cast<index_t>(k));
        } else if (shots == 0 || taken < shots) {
          adapt.push_back(static_cast<index_t>(k));
          ++taken;
        }
      }
      person_end = end;
    }
    persons.push_back({pictures[i].person.empty() ? nameless : pictures[i].person,
                       fer::select(all, std::span<const index_t>(adapt)),
                       fer::select(all, std::span<const index_t>(held_out))});
    i = person_end;
  }
  if (!single_takes.empty()) {
    const std::string more =
        single_takes.size() > 1 ? ", and those of " + std::to_string(single_takes.size() - 1) + " classes more," : "";
    report.warnings.push_back(single_takes[0] + more +
                              " are one take, so all held out and none adapted on; a take is what stands in front of "
                              "-<number> in a file's name");
  }
  return persons;
}

}  // namespace mien::fer
