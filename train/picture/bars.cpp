#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "train/picture/axis.h"
#include "train/picture/picture.h"

namespace glint::picture {

namespace {

constexpr double kRow = 22, kBar = 14, kLongestName = 230;

double total(const Bar& bar) {
  double sum = 0;
  for (const double part : bar.parts) sum += std::isfinite(part) ? part : 0;
  return sum;
}

Scale bar_scale(const BarPanel& panel) {
  Axis axis = panel.x;
  if (!axis.logarithmic && !axis.low) axis.low = 0;
  Scale scale(axis);
  for (const Bar& bar : panel.bars) {
    scale.include(total(bar));
    if (bar.mark) scale.include(*bar.mark);
  }
  return scale;
}

void draw_bar(Svg& svg, const BarPanel& panel, const Bar& bar, const Box& box, const Scale& scale, double top) {
  const double y = top + (kRow - kBar) / 2;
  const std::string name = shortened(bar.name, kLongestName);
  svg.text(box.left - 8, y + 11, "end", name);
  double value = 0, x = box.left;
  for (size_t n = 0; n < bar.parts.size(); ++n) {
    if (!std::isfinite(bar.parts[n])) continue;
    value += bar.parts[n];
    const double end = scale.shows(value) ? std::max(x, scale.at(value)) : x;
    const std::string part = panel.parts.size() > 1 && n < panel.parts.size() ? ", " + panel.parts[n] : "";
    std::string tooltip = str_cat(bar.name, part, ": ", bar.parts[n]);
    if (!bar.label.empty()) tooltip += " (" + bar.label + ")";
    if (bar.mark) tooltip += str_cat(", ", panel.mark, ": ", *bar.mark);
    svg.rect({x, y, end - x, kBar}, fill_class(static_cast<int>(n)), tooltip);
    if (n > 0) svg.line(x, y, x, y + kBar, "class=\"edge\"");  // tells parts apart without their colours
    x = end;
  }
  double label_at = x;
  if (bar.mark && scale.shows(*bar.mark)) {
    const double mark = scale.at(*bar.mark);
    svg.line(mark, y - 3, mark, y + kBar + 3, "class=\"edge\" stroke-width=\"4\"");
    svg.line(mark, y - 3, mark, y + kBar + 3, "class=\"ink\" stroke-width=\"2\"");
    label_at = std::max(label_at, mark);
  }
  svg.text(label_at + 7, y + 11, "start", bar.label, "class=\"dim\"");
}

}  // namespace

std::string draw_bars(const std::vector<BarPanel>& panels, const Layout& layout) {
  const double width = layout.width > 0 ? layout.width : panels.size() == 1 ? 430 : 260;
  double names = 0, labels = 0;  // the widest
  std::vector<LegendEntry> legend;
  for (const BarPanel& panel : panels) {
    for (const Bar& bar : panel.bars) {
      names = std::max(names, std::min(kLongestName, text_width(bar.name)));
      labels = std::max(labels, text_width(bar.label));
    }
    for (size_t n = 0; n < panel.parts.size(); ++n)
      add_to_legend(legend, {panel.parts[n], {static_cast<int>(n), 0}, true});
  }
  for (const BarPanel& panel : panels)
    if (!panel.mark.empty()) add_to_legend(legend, {panel.mark, {}, false, true});
  Svg svg;
  Rows rows(layout.per_row > 0 ? layout.per_row : 2, 12);
  const double left = names + 18, right = labels + 18;
  for (const BarPanel& panel : panels) {
    const double height = std::max(1.0, static_cast<double>(panel.bars.size())) * kRow;
    const auto [x, y] = rows.place(left + width + right, kTitleHeight + height + kXAxisHeight);
    const Box box = {x + left, y + kTitleHeight, width, height};
    Scale scale = bar_scale(panel);
    scale.fit(box.left, box.right(), panel.x.logarithmic ? 0.05 : 0);
    svg.text(x + 10, y + 16, "start", shortened(panel.title, left + width + right - 10), "class=\"title\"");
    draw_x_axis(svg, box, scale, panel.x.name);
    for (size_t n = 0; n < panel.bars.size(); ++n)
      draw_bar(svg, panel, panel.bars[n], box, scale, box.top + kRow * static_cast<double>(n));
    svg.line(box.left, box.top, box.left, box.bottom(), "class=\"axis\"");
  }
  const double bottom = rows.bottom() + 4;
  const double legend_height = draw_legend(svg, left, bottom, rows.width() - left, legend);
  return svg.finish(rows.width(), bottom + legend_height + 8, panels.empty() ? "" : panels[0].title);
}

}  // namespace glint::picture
