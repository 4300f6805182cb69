// Charts as SVG, for studies.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace glint {

struct ChartLine {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x, y > 0
};
struct Chart {
  std::string title;
  std::vector<ChartLine> lines;
};

// Charts side by side over the same logarithmic axes, with one legend: line n has the same colour in each.
std::string draw_charts(const std::vector<Chart>& charts, const std::string& x_name, const std::string& y_name);

}  // namespace glint
