// The report of a training run: one HTML file that needs nothing else.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fer/faces.hpp"
#include "fer/history.hpp"
#include "fer/machine.hpp"
#include "fer/png.hpp"
#include "fer/report_chart.hpp"
#include "fer/report_html.hpp"
#include "mien/core/error.hpp"
#include "mien/io/atomic_file.hpp"
#include "mien/train/metrics.hpp"

namespace mien::fer {

/// Figures on one set of pictures. The evaluation must be one of seven classes.
struct ReportEvaluation {
  std::string name;  ///< "PublicTest"
  Evaluation evaluation;
};

/// A picture with what the network made of it.
struct ReportFace {
  std::vector<std::uint8_t> pixels;  ///< 48x48
  int truth = 0;
  int predicted = 0;
  double probability = 0;  ///< of the predicted class
  std::string name;        ///< shown when pointed at
};

/// All that the report shows. Empty parts are left out. Any text may be given: it is escaped.
struct Report {
  std::string title = "Facial expression network";
  std::string subtitle;
  bool synthetic = false;                     ///< says at the top that the faces are drawn ones
  std::vector<std::string> warnings;          ///< such as those of load_fer2013
  std::vector<EpochReport> history;           ///< in the order of epochs
  std::vector<ReportEvaluation> evaluations;  ///< the first in full, the others beside it
  std::vector<ReportFace> faces;
  Table settings;
  Table machine = machine_table();
};

/// Some faces for a report from class probabilities (n x 7, row by row): per true class the first `per_class` that were
/// read rightly, and the `per_class` mistakes the network was surest of. Throws ShapeError for another number of
/// values.
inline std::vector<ReportFace> choose_faces(const FaceImages& faces, std::span<const float> probabilities,
                                            int per_class = 2) {
  if (static_cast<index_t>(probabilities.size()) != faces.size() * class_count) {
    fail<ShapeError>("choose_faces: " + std::to_string(probabilities.size()) + " probabilities for " +
                     std::to_string(faces.size()) + " faces of seven classes");
  }
  struct Read {
    index_t index;
    int predicted;
    float probability;
  };
  std::vector<ReportFace> chosen;
  const auto take = [&](std::span<const Read> list, int truth) {
    for (std::size_t k = 0; k < list.size() && k < static_cast<std::size_t>(std::max(0, per_class)); ++k) {
      const auto image = faces.image(list[k].index);
      chosen.push_back({{image.begin(), image.end()},
                        truth,
                        list[k].predicted,
                        list[k].probability,
                        faces.names[static_cast<std::size_t>(list[k].index)]});
    }
  };
  std::vector<std::vector<Read>> right(class_count), wrong(class_count);
  for (index_t i = 0; i < faces.size(); ++i) {
    const auto row = probabilities.subspan(static_cast<std::size_t>(i * class_count), class_count);
    const auto best = std::max_element(row.begin(), row.end());
    const int truth = faces.labels[static_cast<std::size_t>(i)], predicted = static_cast<int>(best - row.begin());
    (truth == predicted ? right : wrong)[static_cast<std::size_t>(truth)].push_back({i, predicted, *best});
  }
  for (int k = 0; k < class_count; ++k) take(right[static_cast<std::size_t>(k)], k);
  for (int k = 0; k < class_count; ++k) {
    auto& list = wrong[static_cast<std::size_t>(k)];
    std::stable_sort(list.begin(), list.end(),
                     [](const Read& a, const Read& b) { return a.probability > b.probability; });
    take(list, k);
  }
  return chosen;
}

namespace detail {

inline std::string class_title(index_t k) { return std::string(class_names[static_cast<std::size_t>(k)]); }

inline std::string tile(const std::string& name, const std::string& value, const std::string& note) {
  return "<div class=\"tile\"><dt>" + escape(name) + "</dt><dd>" + value +
         (note.empty() ? "" : "<small>" + escape(note) + "</small>") + "</dd></div>";
}

inline std::string report_tiles(const ReportEvaluation& shown) {
  const Metrics m = shown.evaluation.metrics();
  return "<dl class=\"tiles\">" + tile("Accuracy", percent(m.accuracy), "of " + grouped(m.count) + " faces") +
         tile("Macro F1", fixed(m.macro_f1, 3), "mean over the classes") +
         tile("Loss", fixed(m.loss, 3), "mean cross entropy") +
         tile("Calibration error", percent(m.calibration_error), "0 would be ideal") + "</dl>\n";
}

inline std::string evaluations_table(std::span<const ReportEvaluation> evaluations) {
  std::string rows;
  for (const ReportEvaluation& e : evaluations) {
    const Metrics m = e.evaluation.metrics();
    rows += "<tr><th scope=\"row\">" + escape(e.name) + "</th><td>" + grouped(m.count) + "</td><td>" +
            percent(m.accuracy, 2) + "</td><td>" + fixed(m.macro_f1, 3) + "</td><td>" + fixed(m.loss, 3) + "</td><td>" +
            percent(m.calibration_error) + "</td></tr>";
  }
  return "<section class=\"card\"><h2>All sets</h2><div class=\"scroll\"><table><thead><tr><th scope=\"col\">set</th>"
         "<th scope=\"col\">faces</th><th scope=\"col\">accuracy</th><th scope=\"col\">macro F1</th><th "
         "scope=\"col\">loss</th><th scope=\"col\">calibration</th></tr></thead><tbody>" +
         rows + "</tbody></table></div></section>\n";
}

inline std::string report_curves(std::span<const EpochReport> history) {
  Chart loss{"Loss", {}, {{"validation", "v", {}}, {"training", "t", {}}}, false, false, 0};
  Chart accuracy{"Accuracy", {}, {{"validation", "v", {}}, {"training", "t", {}}}, true, true, 0};
  // fit gives 0 where there is no validation set: a line that is not drawn.
  const bool validated = std::any_of(history.begin(), history.end(), [](const EpochReport& row) {
    return row.validation_loss != 0.0 || row.validation_accuracy != 0.0;
  });
  const auto measured = [&](double value) { return validated ? value : std::nan(""); };
  std::string rows;
  for (const EpochReport& row : history) {
    const auto epoch = static_cast<double>(row.epoch);
    loss.x.push_back(epoch);
    accuracy.x.push_back(epoch);
    loss.lines[0].values.push_back(measured(row.validation_loss));
    loss.lines[1].values.push_back(row.train_loss);
    accuracy.lines[0].values.push_back(measured(row.validation_accuracy));
    accuracy.lines[1].values.push_back(row.train_accuracy);
    rows += "<tr><th scope=\"row\">" + std::to_string(row.epoch) + "</th>";
    for (const std::string& cell :
         {fixed(row.train_loss, 4), percent(row.train_accuracy, 2), fixed(measured(row.validation_loss), 4),
          percent(measured(row.validation_accuracy), 2), general(row.learning_rate, 3), fixed(row.seconds, 1),
          fixed(row.images_per_second, 0)}) {
      rows += "<td>" + cell + "</td>";
    }
    rows += "</tr>";
  }
  const std::string hint =
      validated ? "<p class=\"soft\">The dotted upright line marks the best epoch on the validation set.</p>" : "";
  return "<section class=\"card\"><h2>Learning curves</h2>" + hint + "<div class=\"two\">" + draw_chart(loss) +
         draw_chart(accuracy) +
         "</div><details><summary>Every epoch in figures</summary><div class=\"scroll\"><table><thead><tr><th "
         "scope=\"col\">epoch</th><th scope=\"col\">training loss</th><th scope=\"col\">accuracy</th><th "
         "scope=\"col\">validation loss</th><th scope=\"col\">accuracy</th><th scope=\"col\">learning rate</th><th "
         "scope=\"col\">seconds</th><th scope=\"col\">images/s</th></tr></thead><tbody>" +
         rows + "</tbody></table></div></details></section>\n";
}

/// A matrix of which every cell shows the share of its row large and the count small.
inline std::string confusion_table(const Evaluation& e) {
  std::string head = "<td class=\"none\"></td>", body;
  for (index_t k = 0; k < class_count; ++k) {
    head += "<th scope=\"col\"><span class=\"wide\">" + class_title(k) +
            "</span><span class=\"narrow\"><abbr title=\"" + class_title(k) + "\">" + class_title(k).substr(0, 3) +
            "</abbr></span></th>";
  }
  for (index_t truth = 0; truth < class_count; ++truth) {
    const index_t support = e.of_class(truth).support;
    body += "<tr><th scope=\"row\"><span class=\"wide\">" + class_title(truth) +
            "</span><span class=\"narrow\"><abbr title=\"" + class_title(truth) + "\">" +
            class_title(truth).substr(0, 3) + "</abbr></span></th>";
    for (index_t predicted = 0; predicted < class_count; ++predicted) {
      const index_t count = e.confusion(truth, predicted);
      const double share = support > 0 ? static_cast<double>(count) / static_cast<double>(support) : 0.0;
      const bool diagonal = truth == predicted;
      if (count == 0 && !diagonal) {
        body += "<td class=\"none\">0</td>";
        continue;
      }
      body += "<td class=\"" + std::string(diagonal ? "d" : "") + (diagonal && share > 0.78 ? " hot" : "") +
              "\" style=\"--a:" + fixed(0.06 + 0.94 * (diagonal ? share : std::pow(share, 0.7)), 3) + "\">" +
              percent(share, 0) + "<small>" + grouped(count) + "</small></td>";
    }
    body += "</tr>";
  }
  return "<table class=\"matrix\"><caption>Rows: what is shown; columns: what the network reads. Large: share of the "
         "row; "
         "small: number of faces.</caption><colgroup><col class=\"name\"><col span=\"7\"></colgroup><thead><tr>" +
         head + "</tr></thead><tbody>" + body +
         "</tbody></table><div class=\"key\"><span><i></i>read rightly</span><span class=\"w\"><i></i>taken for "
         "another "
         "expression</span></div>";
}

inline std::string class_table(const Evaluation& e) {
  const auto bar = [](double share) {
    return "<span class=\"bar\" aria-hidden=\"true\"><i style=\"width:" + fixed(100 * share, 1) + "%\"></i></span>";
  };
  std::string rows;
  double precision = 0, recall = 0, present = 0;
  for (index_t k = 0; k < class_count; ++k) {
    const ClassMetrics m = e.of_class(k);
    if (m.support > 0) {
      precision += m.precision;
      recall += m.recall;
      present += 1;
    }
    rows += "<tr><th scope=\"row\">" + class_title(k) + "</th><td>" + percent(m.precision) + "</td><td>" +
            percent(m.recall) + "</td><td>" + bar(m.f1) + fixed(m.f1, 3) + "</td><td>" + grouped(m.support) +
            "</td></tr>";
  }
  const double n = std::max(1.0, present);
  return "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">class</th><th scope=\"col\">precision</th><th "
         "scope=\"col\">recall</th><th scope=\"col\">F1</th><th scope=\"col\">faces</th></tr></thead><tbody>" +
         rows + "<tr class=\"total\"><th scope=\"row\">mean</th><td>" + percent(precision / n) + "</td><td>" +
         percent(recall / n) + "</td><td>" + bar(e.macro_f1()) + fixed(e.macro_f1(), 3) + "</td><td>" +
         grouped(e.count()) + "</td></tr></tbody></table></div>";
}

inline std::string evaluation_parts(const ReportEvaluation& shown) {
  const std::string on = " \xC2\xB7 " + escape(shown.name);
  return "<section class=\"card\"><h2>What is taken for what" + on + "</h2>" + confusion_table(shown.evaluation) +
         "</section>\n<section class=\"card\"><h2>Class by class" + on + "</h2>" + class_table(shown.evaluation) +
         "<p class=\"soft\" style=\"margin:12px 0 0\">Precision: how many of the faces read as this class show it. "
         "Recall: "
         "how many of those that show it are read so. F1: their harmonic mean.</p></section>\n";
}

inline std::string face_gallery(std::span<const ReportFace> faces, bool right) {
  std::string items;
  for (const ReportFace& face : faces) {
    if ((face.truth == face.predicted) != right) continue;
    if (face.truth < 0 || face.truth >= class_count || face.predicted < 0 || face.predicted >= class_count) {
      fail<ArgumentError>("report: a face of class " + std::to_string(face.truth) + ", read as " +
                          std::to_string(face.predicted));
    }
    const std::string truth = class_title(face.truth), read = class_title(face.predicted);
    const std::string sure = percent(face.probability, 0);
    const std::string said = right ? "Face showing " + truth + ", read rightly with " + sure
                                   : "Face showing " + truth + ", read as " + read + " with " + sure;
    items += "<li><figure><img width=\"48\" height=\"48\" loading=\"lazy\" alt=\"" + said + "\" title=\"" +
             escape(face.name) + "\" src=\"data:image/png;base64," +
             base64(encode_png(face.pixels, face_side, face_side)) + "\"><figcaption>" +
             (right ? "<b>" + truth + "</b> " + sure : "<b>" + truth + "</b><br>read as " + read + ", " + sure) +
             "</figcaption></figure></li>";
  }
  if (items.empty()) return "";
  return std::string(right ? "<h3>Read rightly</h3><ul class=\"faces\">"
                           : "<h3>Read wrongly</h3><ul class=\"faces no\">") +
         items + "</ul>";
}

inline std::string pair_table(const char* title, const Table& table) {
  std::string rows;
  for (const auto& [name, value] : table) {
    rows += "<tr><th scope=\"row\">" + escape(name) + "</th><td>" + escape(value) + "</td></tr>";
  }
  return "<section class=\"card\"><h2>" + std::string(title) + "</h2><table class=\"pairs\"><tbody>" + rows +
         "</tbody></table></section>";
}

}  // namespace detail

/// The report as HTML. Throws ArgumentError for an evaluation that is not of seven classes, a face of another class or
/// of another size.
inline std::string report_html(const Report& report) {
  using detail::escape;
  for (const ReportEvaluation& e : report.evaluations) {
    if (e.evaluation.classes() != class_count) {
      fail<ArgumentError>("report: an evaluation of " + std::to_string(e.evaluation.classes()) +
                          " classes, expected 7");
    }
  }
  std::string html =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>" +
      escape(report.title) + "</title>\n<style>" + std::string(detail::report_style) +
      "</style>\n</head>\n<body>\n<header><h1>" + escape(report.title) + "</h1>";
  if (!report.subtitle.empty()) html += "<p class=\"soft\">" + escape(report.subtitle) + "</p>";
  if (report.synthetic) {
    html +=
        "<div class=\"banner\" role=\"note\"><strong>Synthetic faces</strong>Trained and measured on faces drawn by a "
        "program, not on photographs. These figures show that the software works; they say nothing about real "
        "faces.</div>";
  }
  for (const std::string& warning : report.warnings) {
    html += "<div class=\"banner\" role=\"note\"><strong>Note on the data</strong>" + escape(warning) + "</div>";
  }
  html += "</header>\n<main>\n";
  if (!report.evaluations.empty()) html += detail::report_tiles(report.evaluations.front());
  if (report.evaluations.size() > 1) html += detail::evaluations_table(report.evaluations);
  if (!report.history.empty()) html += detail::report_curves(report.history);
  if (!report.evaluations.empty()) html += detail::evaluation_parts(report.evaluations.front());
  if (!report.faces.empty()) {
    html +=
        "<section class=\"card\"><h2>Some faces</h2><p class=\"soft\">What each shows, and how sure the network is of "
        "its reading. The wrong ones are the mistakes it was surest of.</p>" +
        detail::face_gallery(report.faces, true) + detail::face_gallery(report.faces, false) + "</section>\n";
  }
  for (std::size_t k = 1; k < report.evaluations.size(); ++k) {
    html += "<details><summary>Details \xC2\xB7 " + escape(report.evaluations[k].name) + "</summary>" +
            detail::evaluation_parts(report.evaluations[k]) + "</details>\n";
  }
  html += "<div class=\"two\">";
  if (!report.settings.empty()) html += detail::pair_table("Settings", report.settings);
  if (!report.machine.empty()) html += detail::pair_table("Machine", report.machine);
  html += "</div>\n</main>\n<footer><p>Made by mien " MIEN_VERSION
          ". The network names the expression a face displays, not what the person feels; do not use it to judge "
          "people.</p>"
          "</footer>\n</body>\n</html>\n";
  return html;
}

/// Replaces `path` by the report, atomically. Throws FileError, and what report_html throws.
inline void write_report(const std::string& path, const Report& report) {
  write_file_atomically(path, report_html(report));
}

}  // namespace mien::fer
