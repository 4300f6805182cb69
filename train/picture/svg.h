// What all pictures are made of: text and shapes in SVG, colours, legends.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace glint::picture {

struct Box {
  double left, top, width, height;
  double right() const { return left + width; }
  double bottom() const { return top + height; }
};

inline constexpr double kTextHeight = 12;
// About the pixels that a browser's sans-serif takes.
double text_width(std::string_view words);
// As much of it as fits, with "…" for the rest.
std::string shortened(const std::string& words, double width);
std::string escaped(std::string_view words);

// Series n has colour n % kColours and dash n % kDashes: 28 that differ. Okabe and Ito's colours ("Color Universal
// Design", 2008), which colour-blind people tell apart, without the yellow; black is white on a dark page.
inline constexpr int kColours = 7, kDashes = 4;
struct Style {
  int colour = 0, dash = 0;
  bool pale = false;
};
Style style_of(size_t n);
std::string stroke_class(int colour);                            // class="s0": strokes with it
std::string fill_class(int colour, std::string_view more = "");  // class="f0": fills with it; more classes
std::string on_fill(int colour);                                 // of text on such a fill
std::string dash_attribute(int dash);
std::string stroke_of(const Style& style);  // all of a line

class Svg {
 public:
  // style: more attributes, such as class="dim".
  void text(double x, double y, std::string_view anchor, std::string_view words, std::string_view style = "");
  void upright_text(double x, double y, std::string_view words, std::string_view style = "");  // reads upwards
  void rect(const Box& box, std::string_view style, std::string_view tooltip = "");
  void path(std::string_view d, std::string_view style, std::string_view tooltip = "");
  void line(double x1, double y1, double x2, double y2, std::string_view style);
  // A circle, square, triangle, diamond or cross: by the number.
  void marker(double x, double y, size_t shape, std::string_view style, std::string_view tooltip = "");
  // What is drawn until end_clip() is cut off at the box.
  void begin_clip(const Box& box);
  void end_clip() { body_ += "</svg>\n"; }
  // The whole picture.
  std::string finish(double width, double height, std::string_view title) const;

 private:
  void element(const std::string& start, std::string_view name, std::string_view tooltip);
  std::string body_;
};

// "12.3": a coordinate.
std::string coordinate(double value);

// Entries one after the other, in rows of `width`: for each a line, or a filled square.
struct LegendEntry {
  std::string name;
  Style style;
  bool filled = false, mark = false;  // mark: the line across a bar
  int marker = -1;                    // the shape on the line; -1: none
};
// Adds an entry unless there is one of its name.
void add_to_legend(std::vector<LegendEntry>& legend, const LegendEntry& entry);
// Returns its height.
double draw_legend(Svg& svg, double left, double top, double width, const std::vector<LegendEntry>& entries);

// Panels in rows: where each begins, and how large all are together.
class Rows {
 public:
  Rows(int per_row, double gap) : per_row_(std::max(1, per_row)), gap_(gap) {}
  // The place of the next panel of this size.
  std::pair<double, double> place(double width, double height);
  double width() const { return width_; }
  double bottom() const { return top_ + row_height_; }

 private:
  int per_row_, in_row_ = 0;
  double gap_, left_ = 0, top_ = 0, row_height_ = 0, width_ = 0;
};

}  // namespace glint::picture
