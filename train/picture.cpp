#include "train/picture.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "kernels/check.h"

namespace glint {

namespace {

constexpr double kWidth = 300, kHeight = 300, kLeft = 60, kTop = 50;  // of one chart, and the space around it

// Okabe and Ito's colours, which a colour-blind person can tell apart, without the yellow and with a brown.
constexpr const char* kColours[] = {"#000000", "#e69f00", "#56b4e9", "#009e73",
                                    "#d55e00", "#0072b2", "#cc79a7", "#8b5a2b"};
constexpr size_t kColourCount = std::size(kColours);

std::string text(double x, double y, const char* anchor, const std::string& words) {
  std::string safe;
  for (const char c : words) safe += c == '&' ? "&amp;" : c == '<' ? "&lt;" : std::string(1, c);
  return str_cat("<text x=\"", x, "\" y=\"", y, "\" text-anchor=\"", anchor, "\">", safe, "</text>\n");
}

// A logarithmic axis of `length` pixels.
struct LogAxis {
  double low = INFINITY, high = 0, length = 0;

  void include(double value) { low = std::min(low, value), high = std::max(high, value); }
  double at(double value) const { return high > low ? length * std::log(value / low) / std::log(high / low) : 0; }
};

// 1, 2 and 5 times each power of ten in the range; the powers alone if it is wide.
std::vector<double> marks(const LogAxis& axis) {
  std::vector<double> values;
  for (int power = -9; power < 12; ++power) {
    for (const int digit : {1, 2, 5}) {
      const double value = digit * std::pow(10.0, power);
      if (value >= axis.low * 0.999 && value <= axis.high * 1.001 && (digit == 1 || axis.high < 300 * axis.low))
        values.push_back(value);
    }
  }
  return values;
}

}  // namespace

std::string draw_charts(const std::vector<Chart>& charts, const std::string& x_name, const std::string& y_name) {
  LogAxis x{.length = kWidth}, y{.length = kHeight};
  std::set<double> x_marks;
  for (const Chart& chart : charts) {
    for (const ChartLine& line : chart.lines) {
      for (const auto& [a, b] : line.points) x.include(a), y.include(b), x_marks.insert(a);
    }
  }
  const double legend = kLeft + static_cast<double>(charts.size()) * (kWidth + kLeft), bottom = kTop + kHeight;
  std::string svg = str_cat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", legend + 150, " ", bottom + 50,
                            "\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" ",
                            "fill=\"white\"/>\n", text(10, 20, "start", y_name));
  double left = kLeft;
  for (const Chart& chart : charts) {
    svg += text(left + kWidth / 2, kTop - 12, "middle", chart.title);
    svg += text(left + kWidth / 2, bottom + 40, "middle", x_name);
    for (const double value : x_marks) svg += text(left + x.at(value), bottom + 20, "middle", str_cat(value));
    for (const double value : marks(y)) {
      svg += str_cat("<path d=\"M", left, " ", bottom - y.at(value), "h", kWidth, "\" stroke=\"#e3e3e3\"/>\n");
      svg += text(left - 8, bottom - y.at(value) + 4, "end", str_cat(value));
    }
    for (size_t n = 0; n < chart.lines.size(); ++n) {
      const double width = 2 + 0.9 * static_cast<double>(chart.lines.size() - 1 - n);  // those below show too
      svg += str_cat("<polyline fill=\"none\" stroke-width=\"", width, "\" stroke=\"", kColours[n % kColourCount],
                     "\" points=\"");
      for (const auto& [a, b] : chart.lines[n].points) svg += str_cat(left + x.at(a), ",", bottom - y.at(b), " ");
      svg += "\"/>\n";
    }
    left += kWidth + kLeft;
  }
  for (size_t n = 0; !charts.empty() && n < charts[0].lines.size(); ++n) {
    const double row = kTop + 10 + 22 * static_cast<double>(n);
    svg += str_cat("<path stroke-width=\"3\" stroke=\"", kColours[n % kColourCount], "\" d=\"M", legend - 30, " ",
                   row - 4, "h22\"/>\n", text(legend, row, "start", charts[0].lines[n].name));
  }
  return svg + "</svg>\n";
}

}  // namespace glint
