#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/check.h"
#include "train/picture/axis.h"
#include "train/picture/picture.h"

namespace glint::picture {

namespace {

constexpr size_t kMostMarkers = 24;  // of a line; one with more points has none

bool has_markers(const Line& line) { return line.x.size() <= kMostMarkers && !line.style.pale; }

using Styles = std::map<std::string, std::pair<size_t, Style>>;  // of lines by name; first: the shape of markers

Styles styles_of(const std::vector<LinePanel>& panels, std::vector<LegendEntry>& legend) {
  Styles styles;
  for (const LinePanel& panel : panels) {
    for (const Line& line : panel.lines) {
      const size_t n = styles.size();
      Style style = style_of(n);
      if (line.style.colour >= 0) style = {line.style.colour, 0};
      if (line.style.dash >= 0) style.dash = line.style.dash;
      style.pale = line.style.pale;
      if (!styles.emplace(line.name, std::pair(n, style)).second || line.name.empty()) continue;
      legend.push_back({line.name, style});
      if (has_markers(line)) legend.back().marker = static_cast<int>(n);
    }
  }
  return styles;
}

struct Scales {
  explicit Scales(const LinePanel& panel) : x(panel.x), y(panel.y) {
    for (const Line& line : panel.lines) {
      for (size_t i = 0; i < std::min(line.x.size(), line.y.size()); ++i) {
        if (!x.shows(line.x[i]) || !y.shows(line.y[i])) continue;
        x.include(line.x[i]);
        for (const auto* values : {&line.y, &line.low, &line.high})
          if (i < values->size()) y.include((*values)[i]);
      }
    }
    for (const Level& level : panel.levels) y.include(level.y);
  }
  void fit(const Box& box, double x_padding) {
    x.fit(box.left, box.right(), x_padding);
    y.fit(box.bottom(), box.top, 0.04);
  }
  Scale x, y;
};

std::string point(double x, double y) { return coordinate(x) + " " + coordinate(y); }

// Calls draw(first, last) for each run of points that can be drawn.
template <typename Draw>
void for_each_stretch(const Line& line, const Scales& scales, const Draw& draw) {
  const size_t n = std::min(line.x.size(), line.y.size());
  for (size_t first = 0, i = 0; i <= n; ++i) {
    if (i < n && scales.x.shows(line.x[i]) && scales.y.shows(line.y[i])) continue;
    if (i > first) draw(first, i);
    first = i + 1;
  }
}

void draw_band(Svg& svg, const Line& line, const Scales& scales, int colour) {
  for_each_stretch(line, scales, [&](size_t first, size_t last) {
    if (last > line.low.size() || last > line.high.size()) return;
    std::string outline;
    const auto add = [&](size_t i, double y) {  // a bound that can't be drawn: the line itself
      outline +=
          (outline.empty() ? "M" : "L") + point(scales.x.at(line.x[i]), scales.y.at(scales.y.shows(y) ? y : line.y[i]));
    };
    for (size_t i = first; i < last; ++i) add(i, line.high[i]);
    for (size_t i = last; i > first; --i) add(i - 1, line.low[i - 1]);
    svg.path(outline + "z", fill_class(colour) + " fill-opacity=\"0.2\"", line.name);
  });
}

// Lines that lie upon one another take turns: each has its part of every so many pixels, and of the markers.
struct Turn {
  size_t at = 0, of = 1;
};

bool coincide(const Line& a, const Line& b, const Scales& scales) {
  if (a.style.pale || b.style.pale || a.x != b.x || a.y.size() != b.y.size()) return false;
  return std::equal(a.y.begin(), a.y.end(), b.y.begin(), [&](double ya, double yb) {
    if (!scales.y.shows(ya) || !scales.y.shows(yb)) return scales.y.shows(ya) == scales.y.shows(yb);
    return std::abs(scales.y.at(ya) - scales.y.at(yb)) <= 0.5;
  });
}

std::vector<Turn> turns_of(const std::vector<Line>& lines, const Scales& scales) {
  std::vector<Turn> turns(lines.size());
  std::vector<bool> has_turn(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    if (has_turn[i]) continue;
    std::vector<size_t> group = {i};
    for (size_t j = i + 1; j < lines.size(); ++j)
      if (!has_turn[j] && coincide(lines[i], lines[j], scales)) group.push_back(j), has_turn[j] = true;
    for (size_t n = 0; n < group.size(); ++n) turns[group[n]] = {n, group.size()};
  }
  return turns;
}

std::string stroke_with(const Style& style, Turn turn) {
  constexpr size_t kPixels = 12;
  if (turn.of == 1) return stroke_of(style) + " stroke-linecap=\"round\"";
  return str_cat(stroke_of(Style{style.colour}), " stroke-dasharray=\"", kPixels, " ", kPixels * (turn.of - 1),
                 "\" stroke-dashoffset=\"-", kPixels * turn.at, "\"");
}

void draw_line(Svg& svg, const Line& line, const Scales& scales, const std::string& stroke) {
  for_each_stretch(line, scales, [&](size_t first, size_t last) {
    std::string way;
    for (size_t i = first; i < last; ++i)
      way += (i == first ? "M" : "L") + point(scales.x.at(line.x[i]), scales.y.at(line.y[i]));
    if (last == first + 1) way += "h0.1";
    svg.path(way, stroke + " fill=\"none\" stroke-linejoin=\"round\"", line.name);
  });
}

void draw_markers(Svg& svg, const Line& line, const Scales& scales, size_t shape, int colour, Turn turn) {
  if (!has_markers(line)) return;
  for_each_stretch(line, scales, [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      if (i % turn.of != turn.at) continue;
      std::string tooltip = str_cat(line.name, ": ", line.x[i], ", ", line.y[i]);
      if (i < line.low.size() && i < line.high.size()) tooltip += str_cat(" (", line.low[i], " to ", line.high[i], ")");
      svg.marker(scales.x.at(line.x[i]), scales.y.at(line.y[i]), shape, fill_class(colour), tooltip);
    }
  });
}

void draw_panel(Svg& svg, const LinePanel& panel, const Box& box, const Scales& scales, const Styles& styles) {
  svg.text(box.left, box.top - 10, "start", shortened(panel.title, box.width), "class=\"title\"");
  draw_x_axis(svg, box, scales.x, panel.x.name);
  draw_y_axis(svg, box, scales.y, panel.y.name);
  const Box clip = {box.left - 5, box.top - 5, box.width + 10, box.height + 10};
  svg.begin_clip(clip);
  for (const auto& [name, y] : panel.levels)
    svg.line(box.left, scales.y.at(y), box.right(), scales.y.at(y),
             "class=\"ink\" stroke-dasharray=\"1 3\" stroke-width=\"1.5\"");
  for (const Line& line : panel.lines) draw_band(svg, line, scales, styles.at(line.name).second.colour);
  const std::vector<Turn> turns = turns_of(panel.lines, scales);
  const auto& lines = panel.lines;
  for (const bool pale : {true, false})
    for (size_t n = 0; n < lines.size(); ++n)
      if (lines[n].style.pale == pale)
        draw_line(svg, lines[n], scales, stroke_with(styles.at(lines[n].name).second, turns[n]));
  for (size_t n = 0; n < lines.size(); ++n) {
    const auto& [shape, style] = styles.at(lines[n].name);
    draw_markers(svg, lines[n], scales, shape, style.colour, turns[n]);
  }
  for (const auto& [name, y] : panel.levels)
    svg.text(box.right() - 4, scales.y.at(y) - 4, "end", name, "class=\"dim halo\"");
  svg.end_clip();
}

}  // namespace

std::string draw_lines(const std::vector<LinePanel>& panels, const Layout& layout) {
  const double width = layout.width > 0 ? layout.width : panels.size() == 1 ? 640 : 330;
  const double height = layout.height > 0 ? layout.height : 300;
  std::vector<Scales> scales(panels.begin(), panels.end());
  if (layout.same_axes) {
    for (Scales& to : scales)
      for (const Scales& from : scales) to.x.include(from.x), to.y.include(from.y);
  }
  double labels = layout.labels;  // the widest of y
  for (size_t n = 0; n < panels.size(); ++n) {
    Scales fitted = scales[n];
    fitted.fit({0, 0, width, height}, 0);
    labels = std::max(labels, label_width(fitted.y.ticks(kYTicks)));
  }
  std::vector<LegendEntry> legend;
  const Styles styles = styles_of(panels, legend);
  Svg svg;
  Rows rows(layout.per_row > 0 ? layout.per_row : 2, 8);
  const double left = labels + 30;
  for (size_t n = 0; n < panels.size(); ++n) {
    const auto [x, y] = rows.place(left + width + kRightMargin, kTitleHeight + height + kXAxisHeight);
    const Box box = {x + left, y + kTitleHeight, width, height};
    const auto& lines = panels[n].lines;
    scales[n].fit(box, std::all_of(lines.begin(), lines.end(), has_markers) ? 0.02 : 0);
    draw_panel(svg, panels[n], box, scales[n], styles);
  }
  const double bottom = rows.bottom() + 6;
  const double legend_height = draw_legend(svg, left, bottom, rows.width() - left - kRightMargin, legend);
  return svg.finish(rows.width(), bottom + legend_height + 8, panels.empty() ? "" : panels[0].y.name);
}

}  // namespace glint::picture
