#include "train/report/report.h"

#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "train/picture/picture.h"

namespace glint {

using nlohmann::ordered_json;

namespace {

struct Curve {
  const char* what;  // behind the run's name, where a chart has several
  MetricsValue value;
  bool pale = false;
};
struct RunChart {
  const char* title;
  const char* unit;  // the name of the y axis
  std::vector<Curve> curves;
};

const std::vector<RunChart>& charts() {
  static const std::vector<RunChart> all = {
      {"Loss",
       "loss, nats per token",
       {{" training", &MetricsLine::loss, true}, {" validation", &MetricsLine::val_loss}}},
      {"Throughput", "tokens per second", {{"", &MetricsLine::tokens_per_s}}},
      {"Gradient norm", "norm before clipping", {{"", &MetricsLine::grad_norm}}},
      {"Learning rate", "learning rate", {{"", &MetricsLine::lr}}},
      {"Model FLOPs utilization", "share of the device's peak", {{"", &MetricsLine::mfu}}}};
  return all;
}

picture::LinePanel panel_of(const RunChart& chart, const std::vector<RunHistory>& runs) {
  picture::LinePanel panel;
  panel.title = chart.title;
  panel.x.name = "step";
  panel.y.name = chart.unit;
  for (size_t run = 0; run < runs.size(); ++run) {
    for (const Curve& curve : chart.curves) {
      const Series series = series_of(runs[run], curve.value);
      if (series.steps.empty()) continue;
      const int number = static_cast<int>(run);
      panel.lines.push_back({.name = runs[run].name + (*curve.what ? ":" : "") + curve.what,
                             .x = series.steps,
                             .y = series.values,
                             .style = {.colour = number, .dash = number / 7, .pale = curve.pale}});
    }
  }
  return panel;
}

std::string draw(picture::LinePanel panel, bool logarithmic) {
  panel.y.logarithmic = logarithmic;
  return picture::draw_lines({panel}, {.width = 430, .height = 250, .labels = 46});  // legible on a phone too
}

// JSON that may stand in a script element of HTML and of XML.
std::string in_script(const ordered_json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', false, ordered_json::error_handler_t::replace)) {
    if (c == '<') text += "\\u003c";
    else if (c == '&') text += "\\u0026";
    else text += c;
  }
  return text;
}

}  // namespace

std::string loss_picture(const std::vector<RunHistory>& runs) {
  const picture::LinePanel panel = panel_of(charts().front(), runs);
  GLINT_REQUIRE(!panel.lines.empty(), "these runs have no losses yet");
  return picture::draw_lines({panel});
}

std::string figures(const std::vector<RunHistory>& runs) {
  std::string html;
  for (const RunChart& chart : charts()) {
    const picture::LinePanel panel = panel_of(chart, runs);
    if (panel.lines.empty()) continue;
    ordered_json data = ordered_json::array();
    for (const picture::Line& line : panel.lines) data.push_back({{"name", line.name}, {"x", line.x}, {"y", line.y}});
    html += str_cat("<figure>\n<div class=\"linear\">", draw(panel, false), "</div>\n<div class=\"log\">",
                    draw(panel, true), "</div>\n<script type=\"application/json\">", in_script(data),
                    "</script>\n</figure>\n");
  }
  return html;
}

}  // namespace glint
