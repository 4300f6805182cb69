#include "train/study/mask.h"

#include <cmath>
#include <vector>

#include "kernels/dropout.h"
#include "train/picture/picture.h"

namespace glint {

using nlohmann::ordered_json;

namespace {
constexpr const char* kBand = "expected, with a band of 99%";
}

std::string mask_rates_picture(const ordered_json& rates, double rate) {
  std::vector<picture::LinePanel> panels;
  for (const ordered_json& axis : rates) {
    const std::vector<double> dropped = axis["dropped"];
    std::vector<double> places(dropped.size());
    for (size_t n = 0; n < places.size(); ++n) places[n] = static_cast<double>(n);
    const std::vector<double> ends = {-0.5, places.back() + 0.5}, level = {rate, rate};
    const double half = axis["half_band"];
    const std::string name = axis["axis"];
    panels.push_back({"by " + name,
                      {name, false, {}, {}, places.size() <= 8 ? places : std::vector<double>()},
                      {"share dropped"},
                      {{"measured", places, dropped},
                       {kBand, ends, level, {rate - half, rate - half}, {rate + half, rate + half}}}});
  }
  return picture::draw_lines(panels, {.per_row = 3, .same_axes = false});
}

std::string mask_lags_picture(const ordered_json& lags) {
  std::vector<picture::LinePanel> panels;
  for (const ordered_json& axis : lags) {
    const std::vector<double> values = axis["correlation"], pairs = axis["pairs"];
    picture::Line measured{"measured", {}, values}, band{kBand, {}, std::vector<double>(values.size())};
    for (size_t n = 0; n < values.size(); ++n) {
      measured.x.push_back(static_cast<double>(n + 1));
      band.low.push_back(-2.576 / std::sqrt(pairs[n])), band.high.push_back(2.576 / std::sqrt(pairs[n]));
    }
    band.x = measured.x;
    const std::string name = axis["axis"];
    panels.push_back({"elements of two " + name + "s", {name + "s apart"}, {"correlation"}, {measured, band}});
  }
  return picture::draw_lines(panels);
}

std::string mask_bytes_picture(const ordered_json& bytes) {
  std::vector<picture::LinePanel> panels;
  for (const auto& [key, title] : {std::pair("attention", "attention"), std::pair("rows", "embedding and residual")}) {
    const std::vector<double> counts = bytes[key];
    double all = 0;
    for (const double count : counts) all += count;
    const double half = 2.576 * std::sqrt(255.0 / all);
    picture::Line measured{"measured", {}, {}};
    for (size_t byte = 0; byte < counts.size(); ++byte) {
      measured.x.push_back(static_cast<double>(byte));
      measured.y.push_back(256 * counts[byte] / all - 1);
    }
    panels.push_back({title,
                      {"byte", false, 0, 255, {0, 64, 128, 192, 255}},
                      {"frequency, from 1/256"},
                      {measured, {kBand, {0, 255}, {0, 0}, {-half, -half}, {half, half}}}});
  }
  return picture::draw_lines(panels);
}

std::string mask_8bit_picture() {
  picture::Line rate{"dropped", {}, {}}, mean{"mean of the output", {}, {}};
  for (int n = 1; n <= 60; ++n) {
    const float p = static_cast<float>(0.01 * n);
    const double kept = (keep_rule(p).threshold + 1) / 256.0;
    rate.x.push_back(0.01 * n), rate.y.push_back(100 * (1 - kept - 0.01 * n));
    mean.x.push_back(0.01 * n), mean.y.push_back(100 * (kept / (1 - 0.01 * n) - 1));
  }
  return picture::draw_lines({{"the 8-bit rate", {"p"}, {"distance from p, percentage points"}, {rate}},
                              {"kept share / (1 - p)", {"p"}, {"distance from 1, %"}, {mean}}},
                             {.per_row = 2, .same_axes = false});
}

}  // namespace glint
