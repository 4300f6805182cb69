// Scales of axes: from values to pixels, and round ticks.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "train/picture/picture.h"
#include "train/picture/svg.h"

namespace glint::picture {

struct Tick {
  double value;
  std::string label;
};

class Scale {
 public:
  explicit Scale(const Axis& axis) : axis_(axis) {}
  bool shows(double value) const {  // what is further out is no measurement
    return std::abs(value) < 1e100 && (!axis_.logarithmic || value > 1e-100);
  }
  void include(double value) {
    if (shows(value)) low_ = std::min(low_, value), high_ = std::max(high_, value);
  }
  void include(const Scale& other) { include(other.low_), include(other.high_); }
  // Once all is included: the limits of the axis, else of the data with `padding` times their range at both ends,
  // become the pixels from `from` to `to`.
  void fit(double from, double to, double padding = 0);
  double at(double value) const;
  double low() const { return low_; }
  double high() const { return high_; }
  // Those of the axis, or round ones: about one in `pixels`.
  std::vector<Tick> ticks(double pixels) const;

 private:
  double inner(double value) const { return axis_.logarithmic ? std::log10(value) : value; }

  Axis axis_;
  double low_ = INFINITY, high_ = -INFINITY, from_ = 0, to_ = 1;
};

// Which labels along an axis, in the order of their places, have room beside those before.
class LabelSpace {
 public:
  explicit LabelSpace(double gap) : gap_(gap) {}
  bool take(double middle, double width) {
    if (middle - width / 2 < free_from_) return false;
    free_from_ = middle + width / 2 + gap_;
    return true;
  }

 private:
  double gap_, free_from_ = -INFINITY;
};

// Grid lines, labels and names around the box, whose scales are fitted to it. Labels that would overlap are left out.
void draw_x_axis(Svg& svg, const Box& box, const Scale& scale, const std::string& name);
void draw_y_axis(Svg& svg, const Box& box, const Scale& scale, const std::string& name);
// The widest label of the ticks.
double label_width(const std::vector<Tick>& ticks);

inline constexpr double kTitleHeight = 26, kRightMargin = 20;  // of a panel
inline constexpr double kXAxisHeight = 42;                     // what draw_x_axis needs below
inline constexpr double kYTicks = 42, kXTicks = 64;            // pixels between ticks, about

}  // namespace glint::picture
