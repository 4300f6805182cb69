// glint study dropout: its pictures.
#include <algorithm>
#include <cmath>

#include "src/measure/dropout_moments.h"
#include "train/picture/picture.h"
#include "train/study/dropout.h"

namespace glint {

namespace {

using picture::Line;
using picture::LinePanel;

// The mean over seeds with a band of one standard deviation.
void add_point(Line& line, double x, const std::vector<double>& values) {
  const SeedStatistics y(values);
  line.x.push_back(x), line.y.push_back(y.mean);
  line.low.push_back(y.mean - y.deviation), line.high.push_back(y.mean + y.deviation);
}

// Losses, by seed and step, without the first eighth of the steps, whose losses are much higher.
Line loss_line(const std::string& name, const RowCurves& curves, const std::vector<std::vector<double>>& losses) {
  Line line{name, {}, {}};
  for (size_t i = 0; i < curves.steps.size(); ++i) {
    if (curves.steps[i] < curves.steps.back() / 8) continue;
    std::vector<double> values;
    for (const auto& of_seed : losses) values.push_back(of_seed[i]);
    add_point(line, curves.steps[i], values);
  }
  return line;
}

// of: RowCurves::val or RowCurves::train.
std::string losses(const DropoutFindings& x, std::vector<std::vector<double>> RowCurves::*of, const std::string& name) {
  const auto panel = [&](const std::string& title, std::initializer_list<size_t> rows) {
    LinePanel result{title, {"step"}, {name + ", nats per token"}, {}};
    for (const size_t n : rows) {
      const DropoutRow& row = x.rows[n];
      const std::string line = n == 0 ? "none" : str_cat("p ", row.p);
      result.lines.push_back(loss_line(line, x.curves[n], x.curves[n].*of));
    }
    if (of == &RowCurves::train && x.entropy > 0) result.levels.push_back({"entropy of the corpus", x.entropy});
    return result;
  };
  return picture::draw_lines({panel("dropout at all sites", {0, 1, 2, 3}), panel("of attention alone", {0, 4, 5, 6})});
}

// The validation loss of each variant against FlashAttention's dropout, over pairs of runs with the same seed.
std::string variants(const DropoutFindings& x) {
  std::vector<LinePanel> panels;
  for (size_t row = kBeforeSoftmax; row <= kConstantSeed; ++row) {
    const RowCurves &variant = x.curves[row], &base = x.curves[static_cast<size_t>(x.rows[row].base)];
    Line line{"validation loss, less that with FlashAttention's dropout; 95% interval", {}, {}};
    for (size_t i = 1; i < base.steps.size(); ++i) {
      std::vector<double> differences;
      for (size_t n = 0; n < base.seeds(); ++n) differences.push_back(variant.val[n][i] - base.val[n][i]);
      const SeedStatistics y(differences);
      line.x.push_back(base.steps[i]), line.y.push_back(y.mean);
      line.low.push_back(y.mean - y.band), line.high.push_back(y.mean + y.band);
    }
    panels.push_back({x.rows[row].name, {"step"}, {"nats per token"}, {line}, {{"", 0}}});
  }
  return picture::draw_lines(panels, {.per_row = 3, .width = 220, .height = 180});
}

std::string distances(const DropoutFindings& x) {
  LinePanel panel{
      "two runs with the same seed", {"step"}, {"difference of validation losses, nats per token", true}, {}};
  const auto add = [&](const std::string& name, size_t a, size_t b) {
    Line line{name, {}, {}};
    for (size_t i = 1; i < x.curves[a].steps.size(); ++i) {
      std::vector<double> logs;
      for (size_t n = 0; n < x.curves[a].seeds(); ++n)
        logs.push_back(std::log(std::abs(x.curves[a].val[n][i] - x.curves[b].val[n][i])));
      const auto [low, high] = std::minmax_element(logs.begin(), logs.end());
      line.x.push_back(x.curves[a].steps[i]);
      line.y.push_back(std::exp(estimate_of(logs).mean));
      line.low.push_back(std::exp(*low)), line.high.push_back(std::exp(*high));
    }
    panel.lines.push_back(line);
  };
  add("fused, and the plain kernel", kFused, kPlainKernel);
  add("fused, and fused with sums in another order", kFused, kOtherSums);
  return picture::draw_lines({panel});
}

std::string sizes(const DropoutFlags& flags, const DropoutFindings& x) {
  LinePanel gap{"gap at the end", {"parameters", true}, {"validation loss - training loss, nats per token"}, {}};
  LinePanel best{"best validation loss", {"parameters", true}, {"nats per token"}, {}};
  for (const size_t first : {size_t{0}, size_t{1}}) {
    const std::string name = first ? str_cat("p ", flags.dropout) : "none";
    Line gap_line{name, {}, {}}, best_line{name, {}, {}};
    for (size_t n = first; n < x.size_rows.size(); n += 2) {
      add_point(gap_line, x.size_curves[n].parameters, x.size_curves[n].gap());
      add_point(best_line, x.size_curves[n].parameters, x.size_curves[n].best());
    }
    gap.x.ticks = best.x.ticks = gap_line.x;
    gap.lines.push_back(gap_line), best.lines.push_back(best_line);
  }
  return picture::draw_lines({gap, best}, {.same_axes = false});
}

std::string variances(const DropoutFindings& x) {
  LinePanel panel{"variance of the output over masks", {"visible keys", true}, {"variance", true}, {}};
  const auto add = [&](const std::string& name, const nlohmann::ordered_json& rows) {
    Line line{name, {}, rows.get<std::vector<double>>()};
    for (size_t i = 0; i < line.y.size(); ++i) line.x.push_back(static_cast<double>(i + 1));
    panel.lines.push_back(line);
  };
  add("formula", x.moments[0]["row_formula"]);
  add("fused kernel", x.moments[0]["row_variance"]);
  return picture::draw_lines({panel});
}

}  // namespace

std::vector<std::pair<std::string, std::string>> dropout_pictures(const DropoutFlags& flags, const DropoutFindings& x) {
  return {{"dropout.svg", losses(x, &RowCurves::val, "validation loss")},
          {"training.svg", losses(x, &RowCurves::train, "training loss")},
          {"variants.svg", variants(x)},
          {"distance.svg", distances(x)},
          {"sizes.svg", sizes(flags, x)},
          {"variance.svg", variances(x)}};
}

}  // namespace glint
