// The seven expressions: names, other spellings, and how many pictures of each the official FER2013 holds.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mien::fer {

/// Pictures are 48 x 48 gray bytes, row by row.
inline constexpr int face_side = 48;
inline constexpr int face_pixels = face_side * face_side;

inline constexpr int class_count = 7;
/// The order of every label, logit and confusion matrix; also the numbers of FER2013's `emotion` column.
inline constexpr std::array<std::string_view, class_count> class_names = {"angry", "disgust",  "fear",   "happy",
                                                                          "sad",   "surprise", "neutral"};

/// FER2013's three parts. Training is for training, PublicTest for choosing, PrivateTest for the final figure.
enum class Split { training, public_test, private_test };
inline constexpr std::array<Split, 3> all_splits = {Split::training, Split::public_test, Split::private_test};
/// As in the `Usage` column and in front of the `_` in file names.
inline constexpr std::array<std::string_view, 3> split_names = {"Training", "PublicTest", "PrivateTest"};

constexpr std::string_view split_name(Split split) { return split_names[static_cast<std::size_t>(split)]; }

using ClassCounts = std::array<int, class_count>;

/// Pictures per class of each split in FER2013 as published (28,709, 3,589 and 3,589 in all).
inline constexpr std::array<ClassCounts, 3> official_class_counts = {{{3995, 436, 4097, 7215, 4830, 3171, 4965},
                                                                      {467, 56, 496, 895, 653, 415, 607},
                                                                      {491, 55, 528, 879, 594, 416, 626}}};

constexpr const ClassCounts& official_counts(Split split) {
  return official_class_counts[static_cast<std::size_t>(split)];
}

namespace detail {
inline std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}
}  // namespace detail

/// The class a folder or column name stands for, in any letter case: the names above and the spellings of the public
/// copies of FER2013, CK+, JAFFE and the like. Nothing for a name that is none ("contempt", "train").
inline std::optional<int> class_of(std::string_view name) {
  constexpr static std::array<std::pair<std::string_view, int>, 26> synonyms = {{
      {"angry", 0},     {"anger", 0},   {"ang", 0},      {"disgust", 1}, {"disgusted", 1}, {"dis", 1},
      {"fear", 2},      {"fearful", 2}, {"afraid", 2},   {"scared", 2},  {"happy", 3},     {"happiness", 3},
      {"hap", 3},       {"joy", 3},     {"joyful", 3},   {"sad", 4},     {"sadness", 4},   {"surprise", 5},
      {"surprised", 5}, {"suprise", 5}, {"suprised", 5}, {"sur", 5},     {"neutral", 6},   {"neutrality", 6},
      {"neu", 6},       {"calm", 6},
  }};
  const std::string wanted = detail::lower(name);
  for (const auto& [synonym, label] : synonyms)
    if (wanted == synonym) return label;
  return std::nullopt;
}

/// The split of that name in any letter case ("training", "PublicTest"); nothing for another name.
inline std::optional<Split> split_of(std::string_view name) {
  const std::string wanted = detail::lower(name);
  for (const Split split : all_splits)
    if (wanted == detail::lower(split_name(split))) return split;
  return std::nullopt;
}

}  // namespace mien::fer
