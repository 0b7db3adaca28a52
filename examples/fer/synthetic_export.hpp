// Writes synthetic faces as folders of PGM files: a small FER2013-like tree, or the pictures of single persons.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "fer/synthetic_faces.hpp"
#include "mien/core/error.hpp"

namespace mien::fer {

/// The bytes of a binary PGM file (P5, 8 bits) of a 48x48 picture; `drawn` by mien, its comment says so.
inline std::string encode_pgm(std::span<const std::uint8_t> pixels, bool drawn = false) {
  std::string bytes(drawn ? synthetic_mark : "P5\n");
  bytes += "48 48\n255\n";
  bytes.append(reinterpret_cast<const char*>(pixels.data()), static_cast<std::size_t>(face_pixels));
  return bytes;
}

namespace detail {
inline void write_faces(const FaceImages& faces, const Threads& threads, const std::vector<std::string>& folders,
                        const std::vector<std::string>& files) {
  for (const std::string& folder : folders) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) fail<FileError>("cannot create the folder '" + folder + "': " + error.message());
  }
  threads.parallel_for(faces.size(), [&](index_t i) {
    const std::string& path = files[static_cast<std::size_t>(i)];
    const std::string bytes = encode_pgm(faces.image(i), faces.synthetic);
    std::FILE* file = std::fopen(path.c_str(), "wb");
    const bool written = file && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    if (!file || std::fclose(file) != 0 || !written) {
      fail<FileError>("cannot write '" + path + "': " + std::strerror(errno));
    }
  });
}
}  // namespace detail

/// Writes `folder`/<class>/<split>_<n>.pgm for every face, n counting from 0, so that
/// export_split(faces, DIR + "/train", Split::training) and export_split(others, DIR + "/test", Split::public_test)
/// make a tree that load_fer2013(DIR) reads. Throws FileError.
inline void export_split(const FaceImages& faces, const std::string& folder, Split split, const Threads& threads) {
  std::vector<std::string> folders, files;
  for (const std::string_view name : class_names) folders.push_back(folder + "/" + std::string(name));
  for (index_t i = 0; i < faces.size(); ++i) {
    files.push_back(folders[static_cast<std::size_t>(faces.labels[static_cast<std::size_t>(i)])] + "/" +
                    std::string(split_name(split)) + "_" + std::to_string(i) + ".pgm");
  }
  detail::write_faces(faces, threads, folders, files);
}

/// Writes `folder`/person<N>/<class>/take<T>-1.pgm: each person of `options` with all takes, as the program personalize
/// wants them. Throws FileError.
inline void export_persons(const SyntheticOptions& options, const std::string& folder, const Threads& threads) {
  const FaceImages faces = synthetic_faces(options, threads);
  const index_t per_person = static_cast<index_t>(options.takes) * class_count;
  std::vector<std::string> folders, files;
  for (index_t i = 0; i < faces.size(); ++i) {
    const std::string person = folder + "/person" + std::to_string(options.first_person + i / per_person) + "/" +
                               std::string(class_names[static_cast<std::size_t>(i % class_count)]);
    if (i % per_person < class_count) folders.push_back(person);
    files.push_back(person + "/take" + std::to_string(options.first_take + i % per_person / class_count + 1) +
                    "-1.pgm");
  }
  detail::write_faces(faces, threads, folders, files);
}

/// `folder`/fer, a tree like FER2013's with the faces that train_fer trains on without data, and `folder`/persons: five
/// other persons with six takes each. Throws FileError, also if one of them is there: faces of two exports must not
/// mix.
inline void export_all(const std::string& folder, std::uint64_t seed, index_t persons, const Threads& threads) {
  for (const char* part : {"/fer", "/persons"}) {
    std::error_code error;
    if (std::filesystem::exists(folder + part, error)) {
      fail<FileError>("'" + folder + part + "' is already there: remove it, or choose another folder");
    }
  }
  export_split(synthetic_faces({.seed = seed, .persons = persons}, threads), folder + "/fer/train", Split::training,
               threads);
  export_split(
      synthetic_faces({.seed = seed, .first_person = 500'000, .persons = std::max<index_t>(40, persons / 6)}, threads),
      folder + "/fer/test", Split::public_test, threads);
  export_persons({.seed = seed, .first_person = 900'000, .persons = 5, .takes = 6, .habit = 2.5f}, folder + "/persons",
                 threads);
}

}  // namespace mien::fer
