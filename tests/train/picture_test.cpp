// Pictures: well-formed XML whatever the names and values, round ticks, bands, and what is left out.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "kernels/check.h"
#include "train/picture/axis.h"
#include "train/picture/picture.h"
#include "train/picture/svg.h"

using namespace glint;
using namespace glint::picture;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

size_t count_in(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// What is wrong with an XML text, or nothing: tags that do not match, attributes without quotes, bare '&' and '<'.
std::string xml_fault(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = 0; at < xml.size(); ++at) {
    if (xml[at] == '&') {
      const size_t end = xml.find(';', at);
      const std::string name = end == std::string::npos ? "" : xml.substr(at + 1, end - at - 1);
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot") return "a bare & at " + xml.substr(at, 20);
    }
    if (xml[at] != '<') continue;
    const size_t end = xml.find('>', at);
    if (end == std::string::npos) return "a tag without end";
    const std::string tag = xml.substr(at + 1, end - at - 1);
    if (tag.find('<') != std::string::npos) return "a bare < in " + tag;
    if (count_in(tag, "\"") % 2 != 0) return "quotes in " + tag;
    const std::string name = tag.substr(tag[0] == '/', tag.find_first_of(" /", 1) - (tag[0] == '/'));
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "an end that does not match: " + tag;
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(name);
    }
    at = end;
  }
  return open.empty() ? "" : "not closed: " + open.back();
}

void check_picture(const std::string& svg) {
  INFO(svg.substr(0, 4000));
  CHECK(svg.starts_with("<svg xmlns="));
  CHECK(svg.ends_with("</svg>\n"));
  CHECK(xml_fault(svg) == "");
  CHECK(svg.find("\"nan") == std::string::npos);
  CHECK(count_in(svg, "nan ") + count_in(svg, "inf ") + count_in(svg, "inf\"") == 0);
  CHECK(count_in(svg, "prefers-color-scheme:dark") == 1);
}

std::vector<std::string> labels_of(double low, double high, bool logarithmic, double pixels = 300) {
  Scale scale(Axis{.name = "", .logarithmic = logarithmic, .low = low, .high = high});
  scale.fit(0, pixels);
  std::vector<std::string> labels;
  for (const Tick& tick : scale.ticks(60)) labels.push_back(tick.label);
  return labels;
}

using Words = std::vector<std::string>;
const std::string kHostile = "<a & \"b\">\x01]]>";

}  // namespace

TEST_CASE("picture: ticks are round, and as many as there is room for") {
  CHECK(labels_of(0, 50, false) == Words{"0", "10", "20", "30", "40", "50"});
  CHECK(labels_of(0.93, 1.07, false) == Words{"0.95", "1.00", "1.05"});
  CHECK(labels_of(-0.31, 0.3, false) == Words{"-0.2", "0.0", "0.2"});
  CHECK(labels_of(1, 100, true) == Words{"1", "10", "100"});
  CHECK(labels_of(1, 100, true, 900) == Words{"1", "2", "5", "10", "20", "50", "100"});
  CHECK(labels_of(1e-8, 1, true) == Words{"1e-8", "1e-6", "0.0001", "0.01", "1"});
  CHECK(labels_of(2, 4, true) == Words{"2.0", "2.5", "3.0", "3.5", "4.0"});  // less than a decade
  CHECK(labels_of(0, 3e7, false) == Words{"0", "1e7", "2e7", "3e7"});
  for (double size = 1e-12; size < 1e13; size *= 7.3) {
    INFO(size);
    for (const bool logarithmic : {false, true}) {
      const auto labels = labels_of(size, 3.1 * size, logarithmic);
      CHECK(labels.size() >= 2);
      CHECK(labels.size() <= 8);
    }
  }
}

TEST_CASE("picture: a scale maps its limits to its pixels") {
  Scale scale(Axis{.name = "", .logarithmic = true});
  for (const double value : {10.0, 1000.0, 0.0, -3.0, kNan, kInf}) scale.include(value);
  scale.fit(100, 0);
  CHECK(scale.at(10) == doctest::Approx(100));
  CHECK(scale.at(100) == doctest::Approx(50));
  CHECK(scale.at(1000) == doctest::Approx(0));
  CHECK(!scale.shows(0));
  for (const bool logarithmic : {false, true}) {  // nothing, or one value
    Scale empty(Axis{.name = "", .logarithmic = logarithmic}), one = empty;
    one.include(5);
    empty.fit(0, 1), one.fit(0, 1);
    CHECK(std::isfinite(empty.at(1)));
    CHECK(one.at(5) == doctest::Approx(0.5));
  }
}

TEST_CASE("picture: lines, their bands, levels and legend") {
  LinePanel panel{kHostile, {kHostile}, {"loss"}, {}};
  panel.lines.push_back({"a", {0, 1, 2, 3, 4}, {1, 2, kNan, 2, 3}, {0, 1, 0, 1, 2}, {2, 3, 0, 3, 4}});
  panel.lines.push_back({kHostile, {0, 4}, {1, 1}});
  panel.levels = {{"floor " + kHostile, 0.5}};
  const std::string svg = draw_lines({panel, panel});
  check_picture(svg);
  CHECK(count_in(svg, "fill-opacity=\"0.2\"") == 4);             // two stretches of the band, in two panels
  CHECK(count_in(svg, "stroke-linejoin") == 6);                  // two and one stretches
  CHECK(count_in(svg, "<title>a: 1, 2 (1 to 3)</title>") == 2);  // of a marker
  CHECK(count_in(svg, ">a</text>") == 1);                        // one legend
  CHECK(svg.find("&lt;a &amp; &quot;b&quot;&gt;?]]&gt;") != std::string::npos);
  CHECK(svg.find("stroke-dasharray=\"8 3\"") != std::string::npos);  // the second line, told by more than its colour

  // The band lies around its line: between the pixels of low and high.
  LinePanel band{"", {"x"}, {"y", false, 0.0, 10.0}, {{"b", {0, 1}, {5, 5}, {4, 4}, {6, 6}}}};
  const std::string drawn = draw_lines({band}, {.width = 100, .height = 100});
  const size_t at = drawn.find("fill-opacity");
  const std::string outline = drawn.substr(drawn.rfind("d=\"", at), at - drawn.rfind("d=\"", at));
  CHECK(outline.find(" 66L") != std::string::npos);  // 26 above the panel, (10 - 6) / 10 of 100
  CHECK(outline.find(" 86") != std::string::npos);
}

TEST_CASE("picture: lines that lie upon one another take turns") {
  const std::vector<double> x = {1, 2, 3, 4}, same = {1, 2, 3, 4};
  LinePanel panel{"", {"x"}, {"y"}, {}};
  for (const char* name : {"a", "b", "c"}) panel.lines.push_back({name, x, same});
  panel.lines.push_back({"apart", x, {1, 2, 3, 5}});
  const std::string svg = draw_lines({panel});
  check_picture(svg);
  for (const char* offset : {"-0", "-12", "-24"})
    CHECK(count_in(svg, str_cat("stroke-dasharray=\"12 24\" stroke-dashoffset=\"", offset, "\"")) == 1);
  CHECK(count_in(svg, "<title>a: ") == 2);  // markers, at 1 and 4
  CHECK(count_in(svg, "<title>b: ") == 1);
  CHECK(count_in(svg, "<title>apart: ") == 4);
  panel.lines[0].style.pale = true;  // of noise, and behind
  CHECK(count_in(draw_lines({panel}), "stroke-dasharray=\"12 12\"") == 2);
}

TEST_CASE("picture: hostile values are left out, not drawn") {
  const std::vector<double> values = {1, kNan, kInf, -kInf, 0, -1, 1e300, 1e-300};
  for (const bool logarithmic : {false, true}) {
    const Axis axis{.name = "v", .logarithmic = logarithmic};
    check_picture(draw_lines({{"", axis, axis, {{"l", values, values, values, values}}}, {"", axis, axis, {}}}));
    check_picture(draw_lines({{"", axis, axis, {{"l", values, {1, 2}, {1}, {}}}}}));
    std::vector<Bar> bars;
    for (const double value : values) bars.push_back({kHostile, {value, value}, value, kHostile});
    check_picture(draw_bars({{kHostile, axis, {"a", "b"}, "m", bars}, {"", axis, {}, "", {}}}));
    check_picture(draw_heatmaps({{kHostile, "x", "y", {"1", "2", "3", "4"}, {"r", kHostile}, values}},
                                {kHostile, logarithmic, {}, {}, logarithmic ? std::nullopt : std::optional(0.1)}));
  }
  check_picture(draw_heatmaps({{"", "", "", {}, {}, values}}, {""}));
  check_picture(draw_maps({{"", {"x"}, {"y"}, {"k"}, {}}}));
  check_picture(draw_lines({}));
}

TEST_CASE("picture: bars have their parts, marks and labels") {
  const BarPanel panel{"t", {"ms"}, {"forward", "backward"}, "roofline", {{"a", {10, 30}, 20.0, "40 ms"}, {"b", {5}}}};
  const std::string svg = draw_bars({panel}, {.width = 400});
  check_picture(svg);
  CHECK(svg.find("width=\"100\" height=\"14\" class=\"f0\"") != std::string::npos);  // 10 of 40
  CHECK(svg.find("width=\"300\" height=\"14\" class=\"f1\"") != std::string::npos);
  CHECK(svg.find("<title>a, backward: 30 (40 ms), roofline: 20</title>") != std::string::npos);
  CHECK(count_in(svg, ">roofline</text>") == 1);
}

TEST_CASE("picture: heatmaps show values where they fit, and one scale for all panels") {
  const Heatmap map{"t", "x", "y", {"1", "2"}, {"r", "s"}, {0, 1, 2, kNan}, "%.1f"};
  const std::string svg = draw_heatmaps({map}, {"v", false, {}, {}, 1.0});
  check_picture(svg);
  CHECK(count_in(svg, "<title>y r, x 2: 1.0</title>") == 1);
  CHECK(count_in(svg, ">2.0</text>") == 1);
  CHECK(svg.find("fill=\"#f7f7f7\"") != std::string::npos);  // the middle
  CHECK(svg.find("fill=\"#b35806\"") != std::string::npos);  // the lowest
  CHECK(svg.find("fill=\"#542788\"") != std::string::npos);  // the highest
  const std::string viridis = draw_heatmaps({map}, {"v"});
  CHECK(viridis.find("fill=\"#440154\"") != std::string::npos);
  CHECK(viridis.find("fill=\"#fde725\"") != std::string::npos);
}

TEST_CASE("picture: a map's blocks have tooltips, and names where they fit") {
  const BlockMap map{"arena",
                     {"step"},
                     {"MB"},
                     {"values"},
                     {{"h.0.attn.qkv", 0, 10, 0, 50, 0, "qkv: 50 MB"}, {"h.0.tiny", 0, 0.1, 50, 100, 0}},
                     {{5, "backward"}}};
  const std::string svg = draw_maps({map});
  check_picture(svg);
  CHECK(count_in(svg, "<title>qkv: 50 MB</title>") == 1);
  CHECK(count_in(svg, "<title>h.0.tiny</title>") == 1);
  CHECK(count_in(svg, ">h.0.attn.qkv</text>") == 1);
  CHECK(count_in(svg, ">h.0.tiny</text>") == 0);
  CHECK(count_in(svg, ">backward</text>") == 1);
}

TEST_CASE("picture: text is cut to its room, between characters") {
  CHECK(shortened("word", 100) == "word");
  const std::string cut = shortened("ääääääääää", 50);
  CHECK(text_width(cut) <= 50);
  CHECK(cut.ends_with("ä…"));
  CHECK(shortened("word", 5) == "");
}
