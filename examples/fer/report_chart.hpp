// Line charts of the report as inline SVG.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "fer/report_html.hpp"

namespace mien::fer::detail {

/// One line of a chart; values that are not finite leave a gap.
struct Series {
  std::string name;
  const char* style;  // CSS class: "v" the drawn-through line, "t" the dashed one
  std::vector<double> values;
};

struct Chart {
  std::string title;          // "Loss"
  std::vector<double> x;      // epochs, ascending
  std::vector<Series> lines;  // each as long as x
  bool shares = false;        // values are shares, shown in per cent
  bool higher_is_better = false;
  int best_of = -1;  // the line whose best value is marked
};

/// The smallest of 1, 2, 5, 10, 20, ... times a power of ten that is at least `least`.
inline double nice_step(double least) {
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  return 10.0 * power;
}

/// Index of the line's best finite value, -1 without one.
inline int best_index(const Series& line, bool higher) {
  int best = -1;
  for (int i = 0; i < static_cast<int>(line.values.size()); ++i) {
    const double value = line.values[static_cast<std::size_t>(i)];
    if (!std::isfinite(value)) continue;
    const double known = best < 0 ? 0 : line.values[static_cast<std::size_t>(best)];
    if (best < 0 || (higher ? value > known : value < known)) best = i;
  }
  return best;
}

/// A figure with the chart, its description for those who cannot see it, and a legend. Empty without finite values.
inline std::string draw_chart(const Chart& chart) {
  constexpr double width = 460, height = 270, left = 46, right = 12, top = 12, bottom = 34;
  double low = 1e300, high = -1e300;
  for (const Series& line : chart.lines) {
    for (const double value : line.values) {
      if (!std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (low > high || chart.x.empty()) return "";
  if (high - low < 1e-9 * std::max(1.0, std::abs(high))) {
    low -= 0.05 * std::max(0.1, std::abs(low));
    high += 0.05 * std::max(0.1, std::abs(high));
  }
  const double step = nice_step((high - low) / 5);
  low = std::floor(low / step + 1e-9) * step;
  high = std::ceil(high / step - 1e-9) * step;
  const double first = chart.x.front(), last = std::max(chart.x.back(), first + 1);
  const auto px = [&](double x) { return left + (x - first) / (last - first) * (width - left - right); };
  const auto py = [&](double y) { return top + (high - y) / (high - low) * (height - top - bottom); };
  const auto at = [](double value) { return fixed(value, 1); };
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(chart.shares ? step * 100 : step) + 1e-9)));
  const auto tick = [&](double value) { return chart.shares ? percent(value, decimals) : fixed(value, decimals); };
  const auto figure = [&](double value) { return chart.shares ? percent(value, 2) : fixed(value, 3); };

  std::string svg, described, legend;
  const auto lines = static_cast<int>(std::lround((high - low) / step));
  for (int i = 0; i <= lines; ++i) {
    const double y = low + i * step;
    svg += "<line class=\"grid\" x1=\"" + at(left) + "\" x2=\"" + at(width - right) + "\" y1=\"" + at(py(y)) +
           "\" y2=\"" + at(py(y)) + "\"/><text x=\"" + at(left - 7) + "\" y=\"" + at(py(y) + 4) +
           "\" text-anchor=\"end\">" + tick(std::abs(y) < step / 1e6 ? 0 : y) + "</text>";
  }
  const double stride = std::max(1.0, nice_step((chart.x.back() - first) / 8 + 1e-12));
  const double first_tick = std::ceil(first / stride) * stride;
  for (int i = 0; first_tick + i * stride <= chart.x.back(); ++i) {
    const double x = first_tick + i * stride;
    svg += "<text x=\"" + at(px(x)) + "\" y=\"" + at(height - bottom + 17) + "\" text-anchor=\"middle\">" +
           fixed(x, 0) + "</text>";
  }
  svg += "<text x=\"" + at((left + width - right) / 2) + "\" y=\"" + at(height - 3) +
         "\" text-anchor=\"middle\">epoch</text>";

  if (chart.best_of >= 0) {
    const int best = best_index(chart.lines[static_cast<std::size_t>(chart.best_of)], chart.higher_is_better);
    if (best >= 0) {
      const double x = px(chart.x[static_cast<std::size_t>(best)]);
      svg += "<line class=\"best\" x1=\"" + at(x) + "\" x2=\"" + at(x) + "\" y1=\"" + at(top) + "\" y2=\"" +
             at(height - bottom) + "\"/>";
    }
  }
  for (const Series& line : chart.lines) {
    const int best = best_index(line, chart.higher_is_better);
    if (best < 0) continue;
    std::string path, dots;
    bool drawing = false;
    double final = 0;
    for (std::size_t i = 0; i < line.values.size() && i < chart.x.size(); ++i) {
      const double value = line.values[i];
      if (!std::isfinite(value)) {
        drawing = false;
        continue;
      }
      path += (drawing ? " L" : " M") + at(px(chart.x[i])) + " " + at(py(value));
      drawing = true;
      final = value;
      if (chart.x.size() <= 60) {
        dots += "<circle class=\"" + std::string(line.style) + "\" cx=\"" + at(px(chart.x[i])) + "\" cy=\"" +
                at(py(value)) + "\" r=\"3\"><title>" + escape(line.name) + ", epoch " + fixed(chart.x[i], 0) + ": " +
                figure(value) + "</title></circle>";
      }
    }
    svg += "<path class=\"" + std::string(line.style) + "\" d=\"" + path + "\"/>" + dots;
    const std::string figures =
        figure(final) + (chart.x.size() > 1 ? ", best " + figure(line.values[static_cast<std::size_t>(best)]) +
                                                  " in epoch " + fixed(chart.x[static_cast<std::size_t>(best)], 0)
                                            : "");
    legend += "<li class=\"" + std::string(line.style) + "\"><i></i>" + escape(line.name) + " " + figures + "</li>";
    described += " " + escape(line.name) + " ends at " + figures + ".";
  }
  return "<figure><h3>" + escape(chart.title) + "</h3><svg viewBox=\"0 0 " + fixed(width, 0) + " " + fixed(height, 0) +
         "\" role=\"img\" aria-label=\"" + escape(chart.title) + " by epoch." + described + "\">" + svg +
         "</svg><ul class=\"legend\">" + legend + "</ul></figure>\n";
}

}  // namespace mien::fer::detail
