#include "fer/report.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "fer/synthetic_faces.hpp"

namespace {

using namespace mien;
using namespace mien::fer;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// Every tag that is opened is closed, in order; void elements and SVG's self-closing ones aside. Also that no raw '<'
/// stands in an attribute.
std::string unbalanced(const std::string& html) {
  std::vector<std::string> open;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const std::size_t end = html.find('>', at);
    if (end == std::string::npos) return "unfinished tag";
    const std::string tag = html.substr(at + 1, end - at - 1);
    if (tag.empty() || tag[0] == '!' || tag.back() == '/') continue;
    const std::string name = tag.substr(tag[0] == '/', tag.find_first_of(" \n") - (tag[0] == '/'));
    if (tag.find('<') != std::string::npos) return "'<' inside " + name;
    if (name == "meta" || name == "img" || name == "br" || name == "col") continue;
    if (tag[0] != '/') {
      open.push_back(name);
    } else {
      const std::string closed = tag.substr(1);
      if (open.empty() || open.back() != closed)
        return "</" + closed + "> closes " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
    }
    if (name == "style" && tag[0] != '/') at = html.find("</style", at) - 1;
  }
  return open.empty() ? "" : open.back() + " stays open";
}

std::vector<EpochReport> history() {
  std::vector<EpochReport> rows;
  for (int epoch = 1; epoch <= 5; ++epoch) {
    EpochReport row;
    row.epoch = epoch;
    row.train_loss = 2.0 / epoch;
    row.train_accuracy = 0.15 * epoch;
    row.validation_loss = 1.0 + std::abs(epoch - 3);
    row.validation_accuracy = 0.6 - 0.05 * std::abs(epoch - 4);
    row.learning_rate = 1e-4;
    row.seconds = 12.5;
    row.images_per_second = 1234;
    rows.push_back(row);
  }
  return rows;
}

/// Three angry faces: two read rightly, one as happy; one sad face read as neutral.
Evaluation evaluation() {
  Evaluation result(class_count);
  Tensor<float> p(Shape{4, class_count});
  p[0 * 7 + 0] = p[1 * 7 + 0] = p[2 * 7 + 3] = p[3 * 7 + 6] = 1.0f;
  result.add_probabilities(p.view(), std::vector<int>{0, 0, 0, 4});
  return result;
}

Report full_report() {
  Report report;
  report.title = "A <b>title</b> & more";
  report.subtitle = "sub";
  report.history = history();
  report.evaluations = {{"PublicTest", evaluation()}, {"clean <set>", evaluation()}};
  report.settings = {{"Data", "/tmp/\"quoted\"/<script>alert(1)</script>"}};
  report.machine = {{"Processor", "test"}};
  const FaceImages faces = synthetic_faces({.persons = 1}, Threads(1));
  for (int k = 0; k < 2; ++k) {
    const auto image = faces.image(k);
    report.faces.push_back({{image.begin(), image.end()}, 0, 3 * k, 0.875, "file'<1>"});
  }
  return report;
}

TEST_CASE("escape: markup, quotes, bytes that are no UTF-8") {
  using fer::detail::escape;
  CHECK(escape("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#39;");
  CHECK(escape("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x99\x82") ==
        "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x99\x82");
  const std::string bad = "\xEF\xBF\xBD";
  CHECK(escape(std::string("\0x\x1B", 3)) == bad + "x" + bad);
  CHECK(escape("\xFF") == bad);
  CHECK(escape("\xC3") == bad);                      // cut
  CHECK(escape("\xC0\xBC") == bad + bad);            // overlong '<'
  CHECK(escape("\xE0\x80\xBC") == bad + bad + bad);  // overlong again
  CHECK(escape("\xED\xA0\x80") == bad + bad + bad);  // a surrogate
  CHECK(escape("\xF4\x90\x80\x80").substr(0, 3) == bad);
  CHECK(escape("\xC3<") == bad + "&lt;");
}

TEST_CASE("numbers as text") {
  using namespace mien::fer::detail;
  CHECK(fixed(1.005, 1) == "1.0");
  CHECK(fixed(-2.25, 3) == "-2.250");
  CHECK(fixed(std::nan(""), 2) == "\xE2\x80\x93");
  CHECK(fixed(1e300, 2) == "\xE2\x80\x93");
  CHECK(percent(0.634, 1) == "63.4\xE2\x80\xAF%");
  CHECK(general(1e-4, 3) == "0.0001");
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(28709) == "28,709");
  CHECK(grouped(1234567) == "1,234,567");
  CHECK(grouped(-28709) == "-28,709");
  CHECK(nice_step(0.13) == doctest::Approx(0.2));
  CHECK(nice_step(0.2) == doctest::Approx(0.2));
  CHECK(nice_step(7) == doctest::Approx(10));
}

TEST_CASE("report: self-contained, escaped, complete") {
  const std::string html = report_html(full_report());
  CHECK(unbalanced(html) == "");
  CHECK(contains(html, "A &lt;b&gt;title&lt;/b&gt; &amp; more"));
  CHECK_FALSE(contains(html, "<script"));
  CHECK_FALSE(contains(html, "http:"));
  CHECK_FALSE(contains(html, "https:"));
  CHECK_FALSE(contains(html, "url("));
  CHECK(occurrences(html, "<svg") == 2);
  CHECK(occurrences(html, "role=\"img\"") == 2);
  CHECK(contains(html, "validation ends at 3.000, best 1.000 in epoch 3."));
  CHECK(contains(html, "validation ends at 55.00\xE2\x80\xAF%, best 60.00\xE2\x80\xAF% in epoch 4."));
  CHECK(occurrences(html, "data:image/png;base64,") == 2);
  CHECK(contains(html, "alt=\"Face showing angry, read rightly with 88\xE2\x80\xAF%\""));
  CHECK(contains(html, "alt=\"Face showing angry, read as happy with 88\xE2\x80\xAF%\""));
  CHECK(contains(html, "file&#39;&lt;1&gt;"));
  CHECK(contains(html, "clean &lt;set&gt;"));
  // Accuracy 2 of 4; the rows of the matrix: angry 2 of 3 right, 1 of 3 happy.
  CHECK(contains(html, "50.0\xE2\x80\xAF%"));
  CHECK(contains(html, "67\xE2\x80\xAF%<small>2</small>"));
  CHECK(contains(html, "33\xE2\x80\xAF%<small>1</small>"));
  // Angry: precision 1, recall 2/3, F1 0.8, three faces.
  CHECK(contains(html, "<td>100.0\xE2\x80\xAF%</td><td>66.7\xE2\x80\xAF%</td>"));
  CHECK(contains(html, "0.800</td><td>3</td>"));
  CHECK_FALSE(contains(html, "Synthetic faces"));
}

TEST_CASE("report: synthetic data and warnings are said at the top") {
  Report report = full_report();
  report.synthetic = true;
  report.warnings = {"this copy differs <"};
  const std::string html = report_html(report);
  const std::size_t end = html.find("</header>");
  REQUIRE(end != std::string::npos);
  CHECK(html.find("Synthetic faces") < end);
  CHECK(html.find("this copy differs &lt;") < end);
  CHECK(unbalanced(html) == "");
}

TEST_CASE("report: empty, one epoch, no validation, values that are not finite") {
  CHECK(unbalanced(report_html({})) == "");
  Report report;
  report.history = {history().front()};
  CHECK(unbalanced(report_html(report)) == "");
  CHECK(occurrences(report_html(report), "<circle") == 4);
  report.history = history();
  for (EpochReport& row : report.history) row.validation_loss = row.validation_accuracy = 0;
  CHECK_FALSE(contains(report_html(report), "validation ends"));
  CHECK(contains(report_html(report), "training ends at"));
  report.history = history();
  report.history[2].train_loss = std::numeric_limits<double>::infinity();
  report.history[3].validation_loss = std::nan("");
  const std::string html = report_html(report);
  CHECK(unbalanced(html) == "");
  CHECK_FALSE(contains(html, "nan"));
  CHECK_FALSE(contains(html, "inf"));
  // Equal values have no range.
  for (EpochReport& row : report.history) row = history().front();
  CHECK(unbalanced(report_html(report)) == "");
  Evaluation none(class_count);
  report.evaluations = {{"nothing", none}};
  CHECK(unbalanced(report_html(report)) == "");
}

TEST_CASE("report: arguments that do not fit") {
  Report report;
  report.evaluations = {{"six", Evaluation(6)}};
  CHECK_THROWS_AS(report_html(report), ArgumentError);
  report = full_report();
  report.faces[0].truth = 7;
  CHECK_THROWS_AS(report_html(report), ArgumentError);
  report = full_report();
  report.faces[0].pixels.resize(10);
  CHECK_THROWS_AS(report_html(report), ArgumentError);
  CHECK_THROWS_AS(write_report("/nowhere/at/all/report.html", full_report()), FileError);
}

TEST_CASE("choose_faces: first right ones, surest wrong ones") {
  const FaceImages faces = synthetic_faces({.persons = 4}, Threads(1));  // labels 0..6, four times
  std::vector<float> p(static_cast<std::size_t>(faces.size() * class_count), 0.0f);
  const auto read = [&](std::size_t i, std::size_t as, float probability) { p[i * class_count + as] = probability; };
  for (std::size_t i = 0; i < 28; ++i) read(i, i % 7, 0.9f);
  // Of the angry faces (0, 7, 14, 21), three are misread.
  for (const std::size_t i : {0U, 7U, 21U}) read(i, 0, 0.0f);
  read(0, 3, 0.5f);
  read(7, 4, 0.7f);
  read(21, 5, 0.6f);
  const auto chosen = choose_faces(faces, p, 2);
  REQUIRE(chosen.size() == 1 + 6 * 2 + 2);
  CHECK(chosen[0].truth == 0);
  CHECK(chosen[0].predicted == 0);
  CHECK(chosen[0].name == faces.names[14]);
  CHECK(chosen[13].predicted == 4);
  CHECK(chosen[14].predicted == 5);
  CHECK(chosen[14].probability == doctest::Approx(0.6));
  CHECK(chosen[14].pixels == std::vector<std::uint8_t>(faces.image(21).begin(), faces.image(21).end()));
  CHECK_THROWS_AS(choose_faces(faces, std::span<const float>(p).first(7)), ShapeError);
}

TEST_CASE("history.csv: what was written is read back exactly") {
  std::vector<EpochReport> rows = history();
  rows[1].learning_rate = 0.1 + 0.2;
  const std::string text = history_csv(rows);
  CHECK(text.substr(0, text.find(',')) == "epoch");
  std::string windows;
  for (const char c : text) windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  for (const std::string& form : {text, windows, text.substr(0, text.size() - 1)}) {
    const auto read = parse_history(form, "h.csv");
    REQUIRE(read.size() == rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      CHECK(read[i].epoch == rows[i].epoch);
      CHECK(read[i].train_loss == rows[i].train_loss);
      CHECK(read[i].validation_accuracy == rows[i].validation_accuracy);
      CHECK(read[i].learning_rate == rows[i].learning_rate);
      CHECK(read[i].images_per_second == rows[i].images_per_second);
    }
  }
  CHECK(parse_history(std::string(history_columns) + "\n", "h.csv").empty());
  const std::string head = std::string(history_columns) + "\n";
  for (const std::string& bad :
       {std::string(), std::string("epoch\n"), head + "1,2\n", head + "\n", head + "0,1,1,1,1,1,1,1,1\n",
        head + "1,1,1,1,1,1,1,1,x\n", head + "1,1,1,1,1,1,1,1,1,1\n", head + "1,1,1,1,1,1,1,1,\n"}) {
    CHECK_THROWS_AS(parse_history(bad, "h.csv"), FormatError);
  }
}

TEST_CASE("machine table: no empty rows") {
  const Table table = machine_table();
  CHECK(table.size() >= 3);
  for (const auto& [name, value] : table) {
    CHECK_FALSE(name.empty());
    CHECK_FALSE(value.empty());
  }
}

}  // namespace
