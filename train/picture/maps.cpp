#include <algorithm>

#include "kernels/check.h"
#include "train/picture/axis.h"
#include "train/picture/picture.h"

namespace glint::picture {

namespace {

constexpr double kHeadHeight = kTitleHeight + 18;  // the title, and the names of sections

// The whole name, else what follows its last '.', else nothing.
std::string fitting_name(const std::string& name, double width) {
  if (text_width(name) <= width) return name;
  const std::string last = name.substr(name.rfind('.') + 1);
  return text_width(last) <= width ? last : "";
}

void draw_name(Svg& svg, const Block& block, const Box& at) {
  constexpr double kMargin = 4;
  const double x = at.left + at.width / 2, y = at.top + at.height / 2;
  if (const std::string name = fitting_name(block.name, at.width - kMargin);
      !name.empty() && at.height >= kTextHeight + 1) {
    svg.text(x, y + 4, "middle", name, on_fill(block.kind));
  } else if (const std::string upright = fitting_name(block.name, at.height - kMargin);
             !upright.empty() && at.width >= kTextHeight + 2) {
    svg.upright_text(x + 4, y, upright, on_fill(block.kind));
  }
}

}  // namespace

std::string draw_maps(const std::vector<BlockMap>& panels, const Layout& layout) {
  const double width = layout.width > 0 ? layout.width : 900, height = layout.height > 0 ? layout.height : 460;
  Svg svg;
  Rows rows(layout.per_row > 0 ? layout.per_row : 1, 10);
  std::vector<LegendEntry> legend;
  double left = 0;
  for (const BlockMap& map : panels) {
    Scale y(map.y);
    for (const Block& block : map.blocks) y.include(block.top), y.include(block.bottom);
    y.fit(height, 0);
    left = std::max(left, label_width(y.ticks(kYTicks)) + 30);
  }
  for (const BlockMap& map : panels) {
    const auto [at_x, at_y] = rows.place(left + width + kRightMargin, kHeadHeight + height + kXAxisHeight);
    const Box box = {at_x + left, at_y + kHeadHeight, width, height};
    Scale x(map.x), y(map.y);
    for (const Block& block : map.blocks) {
      x.include(block.left), x.include(block.right);
      y.include(block.bottom), y.include(block.top);
    }
    x.fit(box.left, box.right());
    y.fit(box.bottom(), box.top);
    svg.text(box.left, box.top - 28, "start", map.title, "class=\"title\"");
    draw_x_axis(svg, box, x, map.x.name);
    draw_y_axis(svg, box, y, map.y.name);
    const auto place = [&](const Block& block) {
      const double left_edge = x.at(block.left), top = y.at(block.top);
      return Box{left_edge, top, x.at(block.right) - left_edge, y.at(block.bottom) - top};
    };
    svg.begin_clip(box);
    for (const Block& block : map.blocks)
      svg.rect(place(block), fill_class(block.kind, "edge") + " stroke-width=\"0.7\"",
               block.tooltip.empty() ? block.name : block.tooltip);
    svg.end_clip();
    for (const auto& [value, name] : map.sections) {
      svg.line(x.at(value), box.top - 16, x.at(value), box.bottom(), "class=\"ink\" stroke-dasharray=\"4 3\"");
      svg.text(x.at(value) + 4, box.top - 8, "start", name);
    }
    for (const Block& block : map.blocks) draw_name(svg, block, place(block));
    for (size_t n = 0; n < map.kinds.size(); ++n) add_to_legend(legend, {map.kinds[n], {static_cast<int>(n), 0}, true});
  }
  const double bottom = rows.bottom() + 6;
  const double legend_height = draw_legend(svg, left, bottom, rows.width() - left, legend);
  return svg.finish(rows.width(), bottom + legend_height + 8, panels.empty() ? "" : panels[0].title);
}

}  // namespace glint::picture
