// Model files: definitions for mien/io/model_file.hpp. Private.
#pragma once

#include "mien/io/model_file.hpp"

namespace mien::detail {

MIEN_COLD MIEN_BODY void check_info(const ModelInfo& info) {
  const Preprocessing& p = info.preprocessing;
  const auto within = [](float value, float low, float high) { return value >= low && value <= high; };
  if (p.crop < 1 || p.crop > p.image_size || p.image_size > 4096 || !within(p.red, 0, 1) || !within(p.green, 0, 1) ||
      !within(p.blue, 0, 1) || !within(p.mean, -1e6f, 1e6f) || !within(p.deviation, 1e-6f, 1e6f) ||
      !within(p.margin, 0, 10)) {
    fail<ArgumentError>("preprocessing: crop <= image_size wanted, and all in the ranges of Preprocessing");
  }
}

MIEN_COLD MIEN_BODY Json info_to_json(const ModelInfo& info) {
  const Preprocessing& p = info.preprocessing;
  return Json::object({{"name", info.name},
                       {"classes", Json::array_of(info.classes)},
                       {"preprocessing", Json::object({{"image_size", p.image_size},
                                                       {"crop", p.crop},
                                                       {"red", p.red},
                                                       {"green", p.green},
                                                       {"blue", p.blue},
                                                       {"mean", p.mean},
                                                       {"deviation", p.deviation},
                                                       {"margin", p.margin}})}});
}

MIEN_COLD MIEN_BODY ModelInfo info_from_json(JsonView json) {
  json.allow_only({"name", "classes", "preprocessing"});
  ModelInfo info;
  info.name = json["name"].as_string();
  info.classes = json["classes"].as_strings();
  const JsonView p = json["preprocessing"];
  p.allow_only({"image_size", "crop", "red", "green", "blue", "mean", "deviation", "margin"});
  const auto number = [&](const char* name, double low, double high) {
    return static_cast<float>(p[name].as_number(low, high));
  };
  info.preprocessing = {static_cast<index_t>(p["image_size"].as_integer(1, 4096)),
                        static_cast<index_t>(p["crop"].as_integer(1, 4096)),
                        number("red", 0, 1),
                        number("green", 0, 1),
                        number("blue", 0, 1),
                        number("mean", -1e6, 1e6),
                        number("deviation", double{1e-6f}, 1e6),
                        number("margin", 0, 10)};
  if (info.preprocessing.crop > info.preprocessing.image_size) p["crop"].error("larger than image_size");
  return info;
}

MIEN_COLD MIEN_BODY const std::string& need_metadata(const Safetensors& file, const char* key, std::string_view what) {
  const std::string* text = file.find_metadata(key);
  if (text == nullptr) {
    fail<FormatError>(
        {what, ": no \"", key,
         "\" in its metadata: not a model file of mien. Weights alone can be read into a network that you "
         "build: load_parameters()"});
  }
  return *text;
}

}  // namespace mien::detail
