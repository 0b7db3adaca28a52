// What the programs share: common options, errors as one line and exit status 2, and JSON as the last line.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "fer/classes.hpp"
#include "fer/fer2013.hpp"
#include "mien/data/augmentation.hpp"
#include "mien/io/json.hpp"
#include "mien/io/model_file.hpp"
#include "mien/train/evaluate.hpp"

namespace mien::fer {

/// Checks a seed, and takes zeros off its front: CLI11 would take -1, and what is too large, for the largest number,
/// and 010 for eight.
inline CLI::Validator whole_number() {
  return {[](std::string& text) {
            std::uint64_t value = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
            const bool whole = error == std::errc() && end == text.data() + text.size();
            if (whole) text = std::to_string(value);
            return whole ? std::string() : "'" + text + "' is no whole number from 0 to 18446744073709551615";
          },
          "", "whole number"};
}

/// Options that every program has.
struct CommonOptions {
  int threads = 0;
  std::uint64_t seed = 1;
  bool json = false;

  void add_to(CLI::App& app) {
    app.add_option("--threads", threads, "Number of threads; 0 is one per core")->check(CLI::Range(0, 1024));
    app.add_option("--seed", seed, "Seed of all random numbers; the same seed gives the same bits")
        ->transform(whole_number())
        ->capture_default_str();
    app.add_flag("--json", json, "Print one JSON object as the last line of standard output");
  }
};

/// Checks a path or another text: an empty one (a variable that is not set) must not pass for one that is not given.
inline CLI::Validator not_empty() {
  return {[](std::string& text) { return text.empty() ? std::string("it is empty") : std::string(); }, "", "not empty"};
}

/// Checks that a number lies in [low, high]; unlike CLI11's own checks this refuses nan.
inline CLI::Validator number_in(double low, double high, const char* range) {
  return {[=](std::string& text) {
            double value = NAN;
            const bool inside = CLI::detail::lexical_cast(text, value) && value >= low && value <= high;
            return inside ? std::string() : "'" + text + "' is no number " + range;
          },
          range, "number"};
}

/// Runs `body` and turns what goes wrong into one line on standard error: exit status 2. `body` returns the status.
template <class Body>
int run_program(CLI::App& app, int argc, char** argv, Body&& body) {
  try {
    std::vector<std::string> arguments;  // the last one first, as CLI11 has them
    for (int i = argc - 1; i > 0; --i) {
      arguments.emplace_back(argv[i]);
      // A file's name in brackets: CLI11 takes it for a list of several.
      std::string& last = arguments.back();
      if (last.size() > 1 && last.front() == '[' && last.back() == ']') last.insert(0, "./");
    }
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "%s: %s (see --help)\n", app.get_name().c_str(), error.what());
    return 2;
  }
  try {
    const int status = body();
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
    std::fprintf(stderr, "%s: cannot write to standard output: is the disk full?\n", app.get_name().c_str());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: out of memory\n", app.get_name().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), error.what());
  }
  return 2;
}

inline void print_json(const Json& json) {
  std::printf("%s\n", json.write().c_str());
  std::fflush(stdout);
}

/// Prints the warnings of a data set, and what was left out.
inline void print_warnings(const Fer2013& data) {
  for (const std::string& warning : data.warnings) std::fprintf(stderr, "warning: %s\n", warning.c_str());
  for (const BadItem& item : data.bad) {
    std::fprintf(stderr, "warning: left out %s: %s\n", item.name.c_str(), item.reason.c_str());
  }
}

inline ByteDataset to_dataset(const FaceImages& faces, const Preprocessing& p) {
  return {faces.pixels, {face_side, face_side, 1}, faces.labels, class_count, p.mean, p.deviation};
}

/// A model for the seven expressions in this order; another one is an error.
template <class T = float>
Model<T> load_expression_model(const std::string& path) {
  Model<T> model = load<T>(path);
  const auto& names = model.info.classes;
  if (!std::equal(names.begin(), names.end(), class_names.begin(), class_names.end())) {
    fail<FormatError>(path + ": its classes are not the seven expressions of these programs");
  }
  const Preprocessing& p = model.info.preprocessing;
  if (model.network.input_shape() != Shape{p.crop, p.crop, 1} || p.image_size != face_side ||
      model.network.output_shape() != Shape{class_count}) {
    fail<FormatError>(path + ": its network reads " + model.network.input_shape().to_string() +
                      ", which does not fit its preprocessing (48x48 gray, centre " + std::to_string(p.crop) + ")");
  }
  return model;
}

/// The same faces seen in the ways whose answers are averaged: the centre, or (ten_crop) corners and centre, each also
/// mirrored. For a network that reads all 48 pixels only the mirror is left of them.
class Views {
 public:
  Views(const Dataset& faces, index_t crop, bool ten_crop) {
    std::vector<int> which = {4};
    if (ten_crop) which = crop < face_side ? std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9} : std::vector<int>{4, 9};
    for (const int w : which) views_.push_back(std::make_unique<Cropped>(faces, crop, w));
    for (const auto& view : views_) pointers_.push_back(view.get());
  }
  std::span<const Dataset* const> all() const { return pointers_; }

 private:
  std::vector<std::unique_ptr<Cropped>> views_;
  std::vector<const Dataset*> pointers_;
};

/// Class probabilities (n, 7) of faces, averaged over the views.
template <class T>
std::vector<float> predict(const Sequential<T>& net, const FaceImages& faces, const Preprocessing& p, bool ten_crop,
                           Workspace& workspace) {
  const ByteDataset dataset = to_dataset(faces, p);
  const Views views(dataset, p.crop, ten_crop);
  std::vector<float> probabilities;
  for_each_prediction(net, views.all(), 128, workspace,
                      [&](index_t, TensorView<const float> batch, std::span<const int>) {
                        probabilities.insert(probabilities.end(), batch.begin(), batch.end());
                      });
  return probabilities;
}

/// Figures of predictions (n, 7), those at `left_out` (ascending) not counted.
inline Evaluation score(std::span<const float> probabilities, std::span<const int> labels,
                        std::span<const index_t> left_out = {}) {
  Evaluation result(class_count);
  std::size_t next = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (next < left_out.size() && left_out[next] == static_cast<index_t>(i)) {
      ++next;
      continue;
    }
    result.add_probabilities(TensorView<const float>(probabilities.data() + i * class_count, Shape{1, class_count}),
                             labels.subspan(i, 1));
  }
  return result;
}

inline Json confusion_json(const Evaluation& e) {
  Json rows = Json::array();
  for (index_t t = 0; t < e.classes(); ++t) {
    Json row = Json::array();
    for (index_t k = 0; k < e.classes(); ++k) row.push_back(e.confusion(t, k));
    rows.push_back(std::move(row));
  }
  return rows;
}

inline Json classes_json(const Evaluation& e) {
  Json list = Json::array();
  for (int k = 0; k < class_count; ++k) {
    const ClassMetrics m = e.of_class(k);
    list.push_back(Json::object({{"name", class_names[static_cast<std::size_t>(k)]},
                                 {"precision", m.precision},
                                 {"recall", m.recall},
                                 {"f1", m.f1},
                                 {"support", m.support}}));
  }
  return list;
}

/// Accuracy, per-class table and confusion matrix for people.
inline void print_evaluation(const char* title, const Evaluation& e) {
  std::fprintf(stderr, "\n%s: %td pictures\n  accuracy %.2f %%, macro F1 %.4f, loss %.4f, calibration error %.4f\n",
               title, e.count(), 100 * e.accuracy(), e.macro_f1(), e.loss(), e.calibration_error());
  std::fprintf(stderr, "  %-9s %9s %7s %6s %8s |", "class", "precision", "recall", "F1", "pictures");
  for (const auto name : class_names) std::fprintf(stderr, " %5.5s", std::string(name).c_str());
  for (int t = 0; t < class_count; ++t) {
    const ClassMetrics m = e.of_class(t);
    std::fprintf(stderr, "\n  %-9s %9.3f %7.3f %6.3f %8td |",
                 std::string(class_names[static_cast<std::size_t>(t)]).c_str(), m.precision, m.recall, m.f1, m.support);
    for (int k = 0; k < class_count; ++k) std::fprintf(stderr, " %5td", e.confusion(t, k));
  }
  std::fprintf(stderr, "\n  (rows: truth, columns: prediction)\n");
}

}  // namespace mien::fer
