#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <span>

#include "kernels/check.h"
#include "train/picture/axis.h"
#include "train/picture/picture.h"
#include "train/text.h"

namespace glint::picture {

namespace {

constexpr double kLongestRowName = 160;
constexpr size_t kMostTooltips = 4096;  // cells of a panel

using Rgb = std::array<double, 3>;

// viridis (S. van der Walt and N. Smith, matplotlib, 2015): evenly brighter, also to the colour-blind.
constexpr Rgb kViridis[] = {{68, 1, 84},    {72, 40, 120},  {62, 73, 137},  {49, 104, 142}, {38, 130, 142},
                            {31, 158, 137}, {53, 183, 121}, {110, 206, 88}, {181, 222, 43}, {253, 231, 37}};
// PuOr of ColorBrewer (C. Brewer), its "colorblind safe" ones: orange below the middle, purple above.
constexpr Rgb kOrangePurple[] = {{179, 88, 6},    {241, 163, 64},  {254, 224, 182}, {247, 247, 247},
                                 {216, 218, 235}, {153, 142, 195}, {84, 39, 136}};

Rgb colour_at(std::span<const Rgb> stops, double share) {
  const double place = std::clamp(share, 0.0, 1.0) * static_cast<double>(stops.size() - 1);
  const size_t below = std::min(static_cast<size_t>(place), stops.size() - 2);
  Rgb mixed;
  for (size_t c = 0; c < 3; ++c)
    mixed[c] = stops[below][c] + (place - static_cast<double>(below)) * (stops[below + 1][c] - stops[below][c]);
  return mixed;
}

std::string hex(const Rgb& colour) {
  char text[16];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", static_cast<unsigned>(std::lround(colour[0])),
                static_cast<unsigned>(std::lround(colour[1])), static_cast<unsigned>(std::lround(colour[2])));
  return text;
}

bool is_bright(const Rgb& colour) { return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 128; }

// Values to colours; 0 to 1 along the bar.
class Colours {
 public:
  Colours(const std::vector<Heatmap>& panels, const ColourScale& scale)
      : scale_(axis_of(scale)), diverges_(scale.middle) {
    for (const Heatmap& panel : panels)
      for (const double value : panel.values) scale_.include(value);
    scale_.fit(0, 1);
    if (scale.middle) centre(scale);
  }
  bool shows(double value) const { return scale_.shows(value); }
  Rgb of(double value) const { return of_share(scale_.at(value)); }
  Rgb of_share(double share) const { return diverges_ ? colour_at(kOrangePurple, share) : colour_at(kViridis, share); }
  Scale on_bar(double left, double right) const {
    Scale scale = scale_;
    scale.fit(left, right);
    return scale;
  }

 private:
  void centre(const ColourScale& scale) {
    const double middle = *scale.middle, reach = std::max(middle - scale_.low(), scale_.high() - middle);
    Axis axis = axis_of(scale);
    axis.low = middle - (reach > 0 ? reach : 1);  // equal to both sides
    axis.high = 2 * middle - *axis.low;
    scale_ = Scale(axis);
    scale_.fit(0, 1);
  }
  static Axis axis_of(const ColourScale& scale) { return {"", scale.logarithmic, scale.low, scale.high, {}}; }
  Scale scale_;
  bool diverges_;
};

struct Cell {
  double width, height;
};

void draw_cells(Svg& svg, const Heatmap& map, const Box& box, const Cell& cell, const Colours& colours) {
  const size_t columns = map.columns.size();
  double widest = 0;
  for (const double value : map.values) widest = std::max(widest, text_width(formatted(map.format.c_str(), value)));
  const bool with_values = widest + 4 <= cell.width && cell.height >= 14;
  for (size_t n = 0; n < std::min(map.values.size(), map.rows.size() * columns); ++n) {
    const double value = map.values[n];
    if (!colours.shows(value)) continue;
    const size_t row = n / columns, column = n % columns;
    const Box at = {box.left + cell.width * static_cast<double>(column),
                    box.top + cell.height * static_cast<double>(row), cell.width, cell.height};
    const Rgb colour = colours.of(value);
    const std::string tooltip = map.values.size() > kMostTooltips
                                    ? ""
                                    : str_cat(map.y_name, " ", map.rows[row], ", ", map.x_name, " ",
                                              map.columns[column], ": ", formatted(map.format.c_str(), value));
    svg.rect({at.left, at.top, at.width + 0.3, at.height + 0.3},
             str_cat("shape-rendering=\"crispEdges\" fill=\"", hex(colour), "\""), tooltip);
    if (with_values)
      svg.text(at.left + at.width / 2, at.top + at.height / 2 + 4, "middle", formatted(map.format.c_str(), value),
               is_bright(colour) ? "style=\"fill:#000\"" : "style=\"fill:#fff\"");
  }
}

// Names along an edge, as many as fit.
void draw_names(Svg& svg, const Heatmap& map, const Box& box, const Cell& cell) {
  LabelSpace below(5), beside(1);
  for (size_t n = 0; n < map.columns.size(); ++n) {
    const double x = box.left + cell.width * (static_cast<double>(n) + 0.5);
    if (below.take(x, text_width(map.columns[n])))
      svg.text(x, box.bottom() + 15, "middle", map.columns[n], "class=\"dim\"");
  }
  for (size_t n = 0; n < map.rows.size(); ++n) {
    const double y = box.top + cell.height * (static_cast<double>(n) + 0.5);
    if (beside.take(y, kTextHeight))
      svg.text(box.left - 6, y + 4, "end", shortened(map.rows[n], kLongestRowName), "class=\"dim\"");
  }
  svg.text(box.left + box.width / 2, box.bottom() + 33, "middle", map.x_name);
}

void draw_colour_bar(Svg& svg, const Colours& colours, const Box& box, const std::string& name) {
  constexpr int kParts = 64;
  const double part = box.width / kParts;
  for (int n = 0; n < kParts; ++n)
    svg.rect({box.left + n * part, box.top, part + 0.4, box.height},
             str_cat("shape-rendering=\"crispEdges\" fill=\"", hex(colours.of_share((n + 0.5) / kParts)), "\""));
  const Scale scale = colours.on_bar(box.left, box.right());
  LabelSpace space(6);
  for (const auto& [value, label] : scale.ticks(kXTicks)) {
    const double x = scale.at(value);
    if (!space.take(x, text_width(label))) continue;
    svg.line(x, box.bottom(), x, box.bottom() + 4, "class=\"axis\"");
    svg.text(x, box.bottom() + 16, "middle", label, "class=\"dim\"");
  }
  svg.text(box.right() + 14, box.top + 11, "start", name);
}

}  // namespace

std::string draw_heatmaps(const std::vector<Heatmap>& panels, const ColourScale& scale, const Layout& layout) {
  const double most = layout.width > 0 ? layout.width : panels.size() == 1 ? 640 : 330;
  const Colours colours(panels, scale);
  double names = 0;
  for (const Heatmap& map : panels)
    for (const std::string& row : map.rows) names = std::max(names, std::min(kLongestRowName, text_width(row)));
  Svg svg;
  Rows rows(layout.per_row > 0 ? layout.per_row : 2, 10);
  const double left = names + 34;
  for (const Heatmap& map : panels) {
    const double columns = std::max<double>(1, static_cast<double>(map.columns.size())),
                 lines = std::max<double>(1, static_cast<double>(map.rows.size()));
    const double tallest = layout.height > 0 ? layout.height : 480;
    const Cell cell = {std::min(most / columns, 64.0), std::min(tallest / lines, 22.0)};
    const Box size = {0, 0, cell.width * columns, cell.height * lines};
    const double needed = std::max(size.width, text_width(map.title));
    const auto [x, y] = rows.place(left + needed + 14, kTitleHeight + size.height + kXAxisHeight);
    const Box box = {x + left, y + kTitleHeight, size.width, size.height};
    svg.text(box.left, box.top - 10, "start", map.title, "class=\"title\"");
    svg.upright_text(x + 16, box.top + box.height / 2, map.y_name);
    draw_names(svg, map, box, cell);
    draw_cells(svg, map, box, cell, colours);
  }
  const double bottom = rows.bottom() + 8, bar = std::min(300.0, std::max(120.0, rows.width() / 2 - left));
  draw_colour_bar(svg, colours, {left, bottom, bar, 14}, scale.name);
  return svg.finish(std::max(rows.width(), left + bar + 28 + text_width(scale.name)), bottom + 40, scale.name);
}

}  // namespace glint::picture
