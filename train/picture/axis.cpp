#include "train/picture/axis.h"

#include "kernels/check.h"
#include "train/text.h"

namespace glint::picture {

namespace {

std::string plain(double value, int decimals) {
  if (value != 0 && (std::abs(value) >= 1e6 || std::abs(value) < 1e-4)) {
    std::string label = formatted("%.2g", value);  // 2e-07 -> 2e-7
    for (const char* zero : {"e-0", "e+0", "e+"})
      if (const size_t at = label.find(zero); at != label.npos)
        label.replace(at, std::string_view(zero).size(), zero[1] == '-' ? "e-" : "e");
    return label;
  }
  std::string label = formatted(str_cat("%.", decimals, "f").c_str(), value);
  if (std::abs(value) >= 1e4) label.insert(std::min(label.find('.'), label.size()) - 3, ",");
  return label;
}

int decimals_of(double step) { return std::clamp(static_cast<int>(-std::floor(std::log10(step) + 1e-9)), 0, 8); }

std::vector<Tick> linear_ticks(double low, double high, double count) {
  const double rough = (high - low) / std::max(1.0, count), power = std::pow(10.0, std::floor(std::log10(rough)));
  const double digit = rough / power, step = power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
  std::vector<Tick> ticks;
  const double first = std::ceil(low / step - 1e-9);
  for (int n = 0; n < 100 && (first + n) * step <= high + 1e-9 * step; ++n) {
    const double value = (first + n) * step + 0.0;
    ticks.push_back({value, plain(value, decimals_of(step))});
  }
  return ticks;
}

// Powers of ten, or 1, 2 and 5 times them where there is room.
std::vector<Tick> log_ticks(double low, double high, double count) {
  const double decades = std::log10(high) - std::log10(low);
  if (decades < 0.7) return linear_ticks(low, high, std::min(count, 5.0));
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / std::max(2.0, count))));
  std::vector<Tick> ticks;
  for (int power = static_cast<int>(std::floor(std::log10(low))); power <= std::ceil(std::log10(high)); ++power) {
    for (const int digit : {1, 2, 5}) {
      const double value = digit * std::pow(10.0, power);
      const bool wanted = digit == 1 ? power % stride == 0 : 3 * decades <= count;
      if (wanted && value >= low * 0.999 && value <= high * 1.001)
        ticks.push_back({value, plain(value, std::max(0, -power))});
    }
  }
  return ticks;
}

}  // namespace

void Scale::fit(double from, double to, double padding) {
  from_ = from, to_ = to;
  if (low_ > high_) low_ = axis_.logarithmic ? 1 : 0, high_ = axis_.logarithmic ? 10 : 1;  // no data
  if (low_ == high_) {
    const double wider = axis_.logarithmic ? 0 : std::max(std::abs(low_) * 0.1, 1e-12);
    low_ = axis_.logarithmic ? low_ / 1.5 : low_ - wider, high_ = axis_.logarithmic ? high_ * 1.5 : high_ + wider;
  }
  const double more = padding * (inner(high_) - inner(low_));
  low_ = axis_.logarithmic ? low_ * std::pow(10.0, -more) : low_ - more;
  high_ = axis_.logarithmic ? high_ * std::pow(10.0, more) : high_ + more;
  if (axis_.low && shows(*axis_.low)) low_ = *axis_.low;
  if (axis_.high && shows(*axis_.high)) high_ = *axis_.high;
  if (!(low_ < high_)) high_ = axis_.logarithmic ? low_ * 10 : low_ + 1;
}

double Scale::at(double value) const {
  return from_ + (to_ - from_) * (inner(value) - inner(low_)) / (inner(high_) - inner(low_));
}

std::vector<Tick> Scale::ticks(double pixels) const {
  std::vector<Tick> ticks;
  for (const double value : axis_.ticks)
    if (shows(value) && value >= low_ && value <= high_) ticks.push_back({value, str_cat(value)});
  if (!axis_.ticks.empty()) return ticks;
  const double count = std::abs(to_ - from_) / pixels;
  return axis_.logarithmic ? log_ticks(low_, high_, count) : linear_ticks(low_, high_, count);
}

double label_width(const std::vector<Tick>& ticks) {
  double most = 0;
  for (const Tick& tick : ticks) most = std::max(most, text_width(tick.label));
  return most;
}

void draw_x_axis(Svg& svg, const Box& box, const Scale& scale, const std::string& name) {
  LabelSpace space(6);
  for (const auto& [value, label] : scale.ticks(kXTicks)) {
    const double x = scale.at(value);
    svg.line(x, box.top, x, box.bottom(), "class=\"grid\"");
    if (space.take(x, text_width(label))) svg.text(x, box.bottom() + 16, "middle", label, "class=\"dim\"");
  }
  svg.line(box.left, box.bottom(), box.right(), box.bottom(), "class=\"axis\"");
  svg.text(box.left + box.width / 2, box.bottom() + 34, "middle", name);
}

void draw_y_axis(Svg& svg, const Box& box, const Scale& scale, const std::string& name) {
  const std::vector<Tick> ticks = scale.ticks(kYTicks);
  double free_below = INFINITY;
  for (const auto& [value, label] : ticks) {
    const double y = scale.at(value);
    svg.line(box.left, y, box.right(), y, "class=\"grid\"");
    if (y + 6 > free_below) continue;
    svg.text(box.left - 6, y + 4, "end", label, "class=\"dim\"");
    free_below = y - 7;
  }
  svg.upright_text(box.left - 14 - label_width(ticks), box.top + box.height / 2, name);
}

}  // namespace glint::picture
