#include "train/picture/svg.h"

#include <cmath>
#include <iterator>

#include "kernels/check.h"

namespace glint::picture {

namespace {

struct Colour {
  const char *light, *dark, *text;  // text: what is readable on it, on a light page
};
constexpr Colour kPalette[kColours] = {{"#0072b2", "#2f93d4", "#fff"}, {"#d55e00", "#d55e00", "#000"},
                                       {"#009e73", "#009e73", "#000"}, {"#cc79a7", "#cc79a7", "#000"},
                                       {"#e69f00", "#e69f00", "#000"}, {"#56b4e9", "#56b4e9", "#000"},
                                       {"#000000", "#f0f0f0", "#fff"}};
constexpr const char* kDashPatterns[kDashes] = {"", "8 3", "2 2.5", "9 3 2 3"};

std::string rules(const char* page, const char* ink, const char* dim, const char* grid, bool dark) {
  std::string css = str_cat(
      ".picture .page{fill:", page, "}.picture text{fill:", ink, "}.picture .dim{fill:", dim,
      "}.picture .grid{stroke:", grid, "}.picture .axis{stroke:", dim, "}.picture .ink{stroke:", ink,
      "}.picture .edge{stroke:", page, "}.picture .halo{stroke:", page,
      ";stroke-width:3px;paint-order:stroke}.picture .pale{stroke-width:1.2;stroke-opacity:", dark ? "0.7}" : "0.45}");
  for (int n = 0; n < kColours; ++n) {
    const char* colour = dark ? kPalette[n].dark : kPalette[n].light;
    const bool turns = std::string_view(kPalette[n].dark) != kPalette[n].light;
    css += str_cat(".picture .s", n, "{stroke:", colour, "}.picture .f", n, "{fill:", colour, "}.picture .t", n,
                   "{fill:", dark && turns ? "#000" : kPalette[n].text, "}");
  }
  return css;
}

std::string style_sheet() {
  return str_cat(
      "<style>.picture{font:12px system-ui,-apple-system,'Segoe UI',sans-serif}.picture .title{font-weight:600}",
      rules("#ffffff", "#1f2328", "#59636e", "#e3e6ea", false), "\n@media (prefers-color-scheme:dark){",
      rules("#0d1117", "#e6edf3", "#9198a1", "#2a3038", true), "}</style>\n");
}

size_t characters(std::string_view words) {
  return static_cast<size_t>(std::count_if(words.begin(), words.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace

double text_width(std::string_view words) {
  double ems = 0;
  for (const char c : words) {
    if ((c & 0xc0) == 0x80) continue;  // the rest of a character in UTF-8
    const std::string_view narrow = "iljtfr.,:;'|!()[]/ ", wide = "mwMW@%";
    ems += narrow.find(c) != narrow.npos ? 0.36 : wide.find(c) != wide.npos ? 0.95 : c >= 'A' && c <= 'Z' ? 0.7 : 0.61;
  }
  return kTextHeight * ems;
}

std::string shortened(const std::string& words, double width) {
  if (text_width(words) <= width) return words;
  std::string start = words;
  while (!start.empty() && text_width(start) + kTextHeight > width) {
    while (!start.empty() && (start.back() & 0xc0) == 0x80) start.pop_back();
    if (!start.empty()) start.pop_back();
  }
  return characters(start) < 2 ? "" : start + "…";
}

std::string escaped(std::string_view words) {
  std::string safe;
  for (const char c : words) {
    if (c == '&') safe += "&amp;";
    else if (c == '<') safe += "&lt;";
    else if (c == '>') safe += "&gt;";
    else if (c == '"') safe += "&quot;";
    else safe += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;  // XML 1.0 has no others
  }
  return safe;
}

std::string coordinate(double value) { return str_cat(std::round(value * 10) / 10); }

Style style_of(size_t n) { return {static_cast<int>(n % kColours), static_cast<int>(n % kDashes)}; }
std::string stroke_class(int colour) { return str_cat("class=\"s", colour % kColours, "\""); }
std::string fill_class(int colour, std::string_view more) {
  return str_cat("class=\"f", colour % kColours, more.empty() ? "" : " ", more, "\"");
}
std::string on_fill(int colour) { return str_cat("class=\"t", colour % kColours, "\""); }
std::string dash_attribute(int dash) {
  const std::string_view pattern = kDashPatterns[dash % kDashes];
  return pattern.empty() ? "" : str_cat(" stroke-dasharray=\"", pattern, "\"");
}

std::string stroke_of(const Style& style) {
  if (style.pale) return str_cat("class=\"s", style.colour % kColours, " pale\"", dash_attribute(style.dash));
  return str_cat(stroke_class(style.colour), dash_attribute(style.dash), " stroke-width=\"1.8\"");
}

void Svg::element(const std::string& start, std::string_view name, std::string_view tooltip) {
  body_ += tooltip.empty() ? start + "/>\n" : str_cat(start, "><title>", escaped(tooltip), "</title></", name, ">\n");
}

void Svg::text(double x, double y, std::string_view anchor, std::string_view words, std::string_view style) {
  body_ += str_cat("<text x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" text-anchor=\"", anchor, "\" ", style,
                   ">", escaped(words), "</text>\n");
}

void Svg::upright_text(double x, double y, std::string_view words, std::string_view style) {
  const std::string turned = str_cat("transform=\"rotate(-90 ", coordinate(x), " ", coordinate(y), ")\" ", style);
  text(x, y, "middle", words, turned);
}

void Svg::rect(const Box& box, std::string_view style, std::string_view tooltip) {
  element(str_cat("<rect x=\"", coordinate(box.left), "\" y=\"", coordinate(box.top), "\" width=\"",
                  coordinate(std::max(0.0, box.width)), "\" height=\"", coordinate(std::max(0.0, box.height)), "\" ",
                  style),
          "rect", tooltip);
}

void Svg::path(std::string_view d, std::string_view style, std::string_view tooltip) {
  element(str_cat("<path d=\"", d, "\" ", style), "path", tooltip);
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view style) {
  path(str_cat("M", coordinate(x1), " ", coordinate(y1), "L", coordinate(x2), " ", coordinate(y2)), style);
}

void Svg::marker(double x, double y, size_t shape, std::string_view style, std::string_view tooltip) {
  static constexpr const char* kShapes[] = {"m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z", "m-3.2 -3.2h6.4v6.4h-6.4z",
                                            "m0 -4.2l4 7h-8z", "m0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
                                            "m-1.3 -4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z"};
  path(str_cat("M", coordinate(x), " ", coordinate(y), kShapes[shape % std::size(kShapes)]), style, tooltip);
}

void Svg::begin_clip(const Box& box) {
  const std::string view =
      str_cat(coordinate(box.left), " ", coordinate(box.top), " ", coordinate(box.width), " ", coordinate(box.height));
  body_ += str_cat("<svg x=\"", coordinate(box.left), "\" y=\"", coordinate(box.top), "\" width=\"",
                   coordinate(box.width), "\" height=\"", coordinate(box.height), "\" viewBox=\"", view, "\">\n");
}

std::string Svg::finish(double width, double height, std::string_view title) const {
  return str_cat("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"picture\" role=\"img\" width=\"", std::ceil(width),
                 "\" height=\"", std::ceil(height), "\" viewBox=\"0 0 ", std::ceil(width), " ", std::ceil(height),
                 "\">\n<title>", escaped(title), "</title>\n", style_sheet(),
                 "<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n", body_, "</svg>\n");
}

void add_to_legend(std::vector<LegendEntry>& legend, const LegendEntry& entry) {
  if (std::none_of(legend.begin(), legend.end(), [&](const LegendEntry& known) { return known.name == entry.name; }))
    legend.push_back(entry);
}

double draw_legend(Svg& svg, double left, double top, double width, const std::vector<LegendEntry>& entries) {
  constexpr double kSign = 28, kGap = 22, kRow = 20;
  double x = left, y = top;
  for (const LegendEntry& entry : entries) {
    const double needed = kSign + text_width(entry.name);
    if (x > left && x + needed > left + width) x = left, y += kRow;
    if (entry.mark) {
      svg.line(x + 11, y + 2, x + 11, y + 16, "class=\"ink\" stroke-width=\"2\"");
    } else if (entry.filled) {
      svg.rect({x + 4, y + 3, 14, 12}, fill_class(entry.style.colour));
    } else {
      svg.line(x, y + 9, x + 22, y + 9, stroke_of(entry.style));
      if (entry.marker >= 0)
        svg.marker(x + 11, y + 9, static_cast<size_t>(entry.marker), fill_class(entry.style.colour));
    }
    svg.text(x + kSign, y + 13, "start", entry.name);
    x += needed + kGap;
  }
  return entries.empty() ? 0 : y - top + kRow;
}

std::pair<double, double> Rows::place(double width, double height) {
  if (in_row_ == per_row_) {
    top_ += row_height_ + gap_;
    left_ = row_height_ = 0, in_row_ = 0;
  }
  const std::pair<double, double> place = {left_, top_};
  in_row_ += 1;
  left_ += width + gap_;
  width_ = std::max(width_, left_ - gap_);
  row_height_ = std::max(row_height_, height);
  return place;
}

}  // namespace glint::picture
