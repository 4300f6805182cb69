// Pictures as SVG, for studies and reports: lines with bands, bars, heatmaps, and maps of blocks. Plain data in, text
// out. Each function draws its panels side by side, in rows of `per_row`, with one legend. Colours follow the reader's
// light or dark scheme; elements have tooltips. The text is a file of its own, or stands in an HTML page as it is.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace glint::picture {

// Round ticks are chosen unless given. What can't be drawn (not finite; not above 0 on a logarithmic axis) is left out.
struct Axis {
  std::string name;  // with its unit: "time, ms"
  bool logarithmic = false;
  std::optional<double> low{}, high{};  // by default those of the data
  std::vector<double> ticks{};
};

// ---- Lines

// Colour and dash by number; -1: the next one that is free. Lines of the same name look the same in all panels.
struct LineStyle {
  int colour = -1, dash = -1;
  bool pale = false;  // thin, and behind the others: a line with much noise
};
struct Line {
  std::string name;
  std::vector<double> x, y;
  std::vector<double> low{}, high{};  // the band around y; empty: none
  LineStyle style{};
};
struct Level {  // a horizontal line: a limit, a known value
  std::string name;
  double y;
};
struct LinePanel {
  std::string title;
  Axis x, y;
  std::vector<Line> lines;
  std::vector<Level> levels{};
};
struct Layout {
  int per_row = 0;               // panels in a row; 0: what suits the kind
  bool same_axes = true;         // of lines: all panels have one range of x and one of y
  double width = 0, height = 0;  // of a panel without its labels; 0: what suits the kind
  double labels = 0;             // of lines: room for those of y, at least, so that several pictures are in line
};
std::string draw_lines(const std::vector<LinePanel>& panels, const Layout& layout = {});

// ---- Bars: horizontal, one below the other; each of one part or several, one after the other

struct Bar {
  std::string name;
  std::vector<double> parts;     // of `BarPanel::parts`
  std::optional<double> mark{};  // a line across the bar: a limit, such as a roofline
  std::string label{};           // behind the bar
};
struct BarPanel {
  std::string title;
  Axis x;
  std::vector<std::string> parts;  // their names
  std::string mark{};              // what the marks are
  std::vector<Bar> bars;
};
std::string draw_bars(const std::vector<BarPanel>& panels, const Layout& layout = {});

// ---- Heatmaps

// `around`: two colours that meet at `middle`; without it one scale from dark to bright.
struct ColourScale {
  std::string name;  // with its unit
  bool logarithmic = false;
  std::optional<double> low{}, high{}, middle{};
};
struct Heatmap {
  std::string title, x_name, y_name;
  std::vector<std::string> columns, rows;
  std::vector<double> values;   // (rows, columns); not finite: an empty cell
  std::string format = "%.3g";  // of the values in the cells, which are shown where they fit
};
// All panels have the same scale.
std::string draw_heatmaps(const std::vector<Heatmap>& panels, const ColourScale& scale, const Layout& layout = {});

// ---- Maps of blocks: rectangles, such as buffers in an arena over time

struct Block {
  std::string name;
  double left, right, bottom, top;
  int kind = 0;  // of `BlockMap::kinds`
  std::string tooltip{};
};
struct BlockMap {
  std::string title;
  Axis x, y;
  std::vector<std::string> kinds;
  std::vector<Block> blocks;
  std::vector<std::pair<double, std::string>> sections{};  // vertical lines: where something begins, and its name
};
std::string draw_maps(const std::vector<BlockMap>& panels, const Layout& layout = {});

}  // namespace glint::picture
