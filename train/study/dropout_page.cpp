// glint study dropout: the page, with an answer to each claim that is made from the figures alone.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/measure/dropout_moments.h"
#include "train/study/dropout.h"

namespace glint {

using nlohmann::ordered_json;

namespace {

std::vector<double> each(const RowCurves& curves,
                         double (*value)(const std::vector<double>& train, const std::vector<double>& val)) {
  std::vector<double> values;
  for (size_t n = 0; n < curves.seeds(); ++n) values.push_back(value(curves.train[n], curves.val[n]));
  return values;
}

std::string pair_text(const char* format, const ordered_json& estimate) {
  return formatted(format, estimate[0]) + " ± " + formatted(format, estimate[1]);
}

// The largest distance between the curves of two rows.
double distance(const RowCurves& a, const RowCurves& b) {
  double largest = 0;
  for (size_t n = 0; n < a.seeds(); ++n) {
    for (size_t i = 0; i < a.steps.size(); ++i) {
      largest = std::max({largest, std::abs(a.val[n][i] - b.val[n][i]), std::abs(a.train[n][i] - b.train[n][i])});
    }
  }
  return largest;
}

// What a difference of losses, better if negative, says.
std::string outcome(const SeedStatistics& x, const char* better, const char* worse,
                    const char* neither = "no difference shows at this scale") {
  return x.is_below(0) ? better : x.is_above(0) ? worse : neither;
}

std::string training_text(const DropoutFindings& x, size_t row) {
  const SeedStatistics change =
      difference_of(x.curves[row].best(), x.curves[static_cast<size_t>(x.rows[row].base)].best());
  return str_cat("in training its best validation loss changes by ", change.text(), ": ",
                 outcome(change, "lower", "higher"));
}

std::string table_of(const std::vector<DropoutRow>& rows, const std::vector<RowCurves>& curves) {
  std::vector<std::vector<std::string>> table = {{"row", "what it is", "best validation loss", "at the end",
                                                  "training loss at the end", "gap at the end", "best, against",
                                                  "changes by"}};
  for (size_t n = 0; n < rows.size(); ++n) {
    const auto base = static_cast<size_t>(rows[n].base);
    const auto text = [](const std::vector<double>& values) {
      const SeedStatistics x(values);
      return formatted("%.3f", x.mean) + " ± " + formatted("%.3f", x.deviation);
    };
    const RowCurves& c = curves[n];
    const bool compared = base != n;
    const std::string about = rows[n].about.empty() ? str_cat(c.parameters, " parameters") : rows[n].about;
    table.push_back({rows[n].name, about, text(c.best()), text(c.last_val()), text(c.last_train()), text(c.gap()),
                     compared ? rows[base].name : "",
                     compared ? difference_of(c.best(), curves[base].best()).text() : ""});
  }
  return markdown_table(table);
}

std::string moments_table(const DropoutFindings& x) {
  std::vector<std::vector<std::string>> table = {{"dropout", "mean output, of that without dropout",
                                                  "distance of the mean", "by chance", "variance, of the formula's",
                                                  "first rows lost"}};
  for (const ordered_json& m : x.moments) {
    table.push_back({m["name"], pair_text("%.4f", m["scale"]), formatted("%.2f%%", 100 * m["distance"].get<double>()),
                     formatted("%.2f%%", 100 * m["chance"].get<double>()), pair_text("%.4f", m["variance"]),
                     formatted("%.1f%%", 100 * m["lost_rows"].get<double>())});
  }
  return markdown_table(table);
}

const ordered_json& moments_named(const DropoutFindings& x, const std::string& name) {
  return *std::find_if(x.moments.begin(), x.moments.end(), [&](const ordered_json& m) { return m["name"] == name; });
}

std::string sizes_answer(const DropoutFindings& x) {
  std::string gaps, lower, higher;
  bool all = true;
  for (size_t n = 1; n < x.size_rows.size(); n += 2) {
    const RowCurves &dropped = x.size_curves[n], &none = x.size_curves[n - 1];
    const SeedStatistics gap = difference_of(dropped.gap(), none.gap());
    const SeedStatistics best = difference_of(dropped.best(), none.best());
    gaps += str_cat(gaps.empty() ? "" : ", ", gap.text());
    all = all && gap.is_below(0);
    const std::string size = x.size_rows[n].name.substr(0, x.size_rows[n].name.find(','));
    if (best.is_below(0)) lower += " " + size;
    if (best.is_above(0)) {
      const SeedStatistics over(difference_of(none.last_val(), none.best()));
      higher += str_cat(" ", size, ", which without dropout ends ", formatted("%.3f", over.mean), " above its best;");
    }
  }
  if (!higher.empty()) higher.pop_back();
  return str_cat(all ? "yes: the gap between validation and training loss is smaller at every size: "
                     : "not shown at every size: the gap between validation and training loss changes by ",
                 gaps, ". The best validation loss falls at", lower.empty() ? " none" : lower, " and rises at",
                 higher.empty() ? " none" : higher);
}

std::string answers(const DropoutFlags& flags, const DropoutFindings& x) {
  const ordered_json &fused = moments_named(x, "fused kernel"), &before = moments_named(x, "before the softmax"),
                     &unscaled = moments_named(x, "unscaled");
  const double scale = x.rates["q"].get<double>() / (1 - flags.dropout);
  const double change = distance(x.curves[kFused], x.curves[kPlainKernel]),
               rounding = distance(x.curves[kFused], x.curves[kOtherSums]);
  const SeedStatistics regular = difference_of(x.curves[kAllSites].gap(), x.curves[kNoDropout].gap());
  const SeedStatistics constant = difference_of(x.curves[kConstantSeed].gap(), x.curves[kFused].gap());
  std::vector<std::vector<std::string>> table = {{"claim", "answer"}};
  const auto times = [](const ordered_json& m) {
    return formatted("%.1f", m["distance"].get<double>() / m["chance"].get<double>());
  };
  table.push_back(
      {"Dropout acts after the softmax",
       str_cat("the mean of the fused kernel's output over ", flags.masks, " masks is ", times(fused),
               " times as far from the output without dropout as chance explains; before the softmax ", times(before),
               " times. Log-sum-exp ", fused["same_lse"].get<bool>() ? "keeps every bit" : "CHANGES",
               " under dropout. Before it, ", training_text(x, kBeforeSoftmax))});
  table.push_back({"Scores are not set to -inf before it",
                   str_cat("with -inf, ", formatted("%.1f%%", 100 * before["lost_rows"].get<double>()),
                           " of the first rows lose their only key and have no softmax; after the softmax ",
                           "such a row is 0 and every other is what it was")});
  table.push_back(
      {"The diagonal is not special", str_cat("the fused kernel keeps ", pair_text("%.5f", x.rates["diagonal"]),
                                              " of the diagonal and ", pair_text("%.5f", x.rates["others"]),
                                              " elsewhere. Where it is kept, ", training_text(x, kDiagonalKept))});
  table.push_back(
      {"The rate does not depend on the row",
       str_cat("of ", flags.context, " rows' rates the one furthest off is ", formatted("%.1f", x.rates["largest_row"]),
               " standard errors from ", formatted("%.5f", x.rates["q"]), "; chance gives that or more in ",
               formatted("%.0f%%", 100 * x.rates["chance_of_row"].get<double>()),
               " of cases. Where the rate grows by row, ", training_text(x, kRateByRow))});
  table.push_back({"The numbers are FlashAttention's",
                   str_cat("the kernel's 512 x 512 mask ", x.rates["golden"].get<bool>() ? "equals" : "DIFFERS FROM",
                           " that of FlashAttention-2's own code, by hash. In training the fused kernel and the plain ",
                           "one are at most ", formatted("%.2g", change), " apart; the fused kernel itself, with ",
                           "sums in another order, ", formatted("%.2g", rounding))});
  table.push_back({"The scale is the same",
                   str_cat("the mean output is ", pair_text("%.4f", fused["scale"]), " of that without dropout (",
                           formatted("%.4f", scale), " by the 8-bit rate), its variance ",
                           pair_text("%.4f", fused["variance"]), " of the formula's. Unscaled: ",
                           pair_text("%.4f", unscaled["scale"]), "; ", training_text(x, kUnscaled))});
  table.push_back({"It regularises at every model size", sizes_answer(x)});
  table.push_back({"Dropout is what regularises",
                   str_cat("p ", flags.dropout, " at all sites changes the gap by ", regular.text(), ": ",
                           outcome(regular, "yes", "no"), ". With the same mask in each step it changes by ",
                           constant.text(), " against new masks: ",
                           outcome(constant, "it is smaller still", "a mask that stays can be learnt around",
                                   "no difference shows at this scale, where a text meets other masks anyway, "
                                   "at other places of the batch and of the sequence"))});
  table.push_back({"The mask need not be stored",
                   distance(x.curves[kStoredMask], x.curves[kPlainKernel]) == 0
                       ? "the curves of the stored mask and of the one drawn again are the same, to the last bit"
                       : "the curves of the stored mask and of the one drawn again DIFFER"});
  return markdown_table(table);
}

}  // namespace

RowCurves::RowCurves(const ordered_json& json)
    : parameters(json["parameters"]),
      steps(json["steps"].get<std::vector<double>>()),
      train(json["train"].get<std::vector<std::vector<double>>>()),
      val(json["val"].get<std::vector<std::vector<double>>>()) {}

std::vector<double> RowCurves::best() const {
  return each(*this, [](const auto&, const auto& v) { return *std::min_element(v.begin(), v.end()); });
}
std::vector<double> RowCurves::last_val() const {
  return each(*this, [](const auto&, const auto& v) { return v.back(); });
}
std::vector<double> RowCurves::last_train() const {
  return each(*this, [](const auto& t, const auto&) { return t.back(); });
}
std::vector<double> RowCurves::gap() const {
  return each(*this, [](const auto& t, const auto& v) { return v.back() - t.back(); });
}

SeedStatistics::SeedStatistics(const std::vector<double>& values) {
  constexpr double kStudent[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262};  // 97.5%, by n - 2
  const Estimate estimate = estimate_of(values);
  const size_t n = values.size();
  mean = estimate.mean;
  deviation = estimate.error * std::sqrt(static_cast<double>(n));
  band = estimate.error * (n - 2 < std::size(kStudent) ? kStudent[n - 2] : 2.2);
}
std::string SeedStatistics::text() const { return formatted("%+.3f", mean) + " ± " + formatted("%.3f", band); }

SeedStatistics difference_of(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> differences;
  for (size_t n = 0; n < a.size(); ++n) differences.push_back(a[n] - b[n]);
  return SeedStatistics(differences);
}

std::string dropout_page(const DropoutFlags& flags, const DropoutFindings& x) {
  const std::string entropy = x.entropy > 0 ? str_cat("; the corpus's entropy is ", formatted("%.3f", x.entropy)) : "";
  std::string page = str_cat(
      "Each row is ", flags.seeds, " runs of ", flags.steps, " steps on ", x.train_tokens, " tokens that differ from ",
      "the other rows' runs by nothing but dropout:\nthe same first weights, the same batches. Losses are in nats per ",
      "token, without dropout, on the same windows", entropy,
      ".\n`±` is the standard deviation over seeds; of a change ",
      "it is the 95% interval of the mean, over pairs of runs with the same seed.\n\n");
  page += "## What the figures say\n\n" + answers(flags, x);
  page += "\n## Where and how dropout acts\n\n![Validation loss over steps](dropout.svg)\n\n";
  page += "![Training loss over steps](training.svg)\n\n" + table_of(x.rows, x.curves);
  page += "\n![Variants against FlashAttention's dropout](variants.svg)\n\n![Distance between curves](distance.svg)\n";
  page += "\n## Model sizes\n\n![Gap and best loss over parameters](sizes.svg)\n\n";
  page += table_of(x.size_rows, x.size_curves);
  page += str_cat(
      "\n## One output over many masks\n\nThe mean and variance of attention's output over masks, for one random ",
      "input: ", flags.heads, " heads of ", flags.embd / flags.heads, ", T ", flags.context, ", p ", flags.dropout,
      ".\nThe kernel keeps q = ", formatted("%.5f", x.rates["q"]), " of all weights, since the mask has 8 random bits ",
      "an element, and scales by 1 / (1 - p):\nthe mean is to be q / (1 - p) of the output without dropout, the ",
      "variance q (1 - q) / (1 - p)^2 sum P^2 V^2, which is the formula\np / (1 - p) sum P^2 V^2 for q = 1 - p. The ",
      "distance of the mean is |mean - O| / |O|.\n\n![Variance over visible keys](variance.svg)\n\n");
  return page + moments_table(x);
}

ordered_json dropout_json(const DropoutFlags& flags, const DropoutFindings& x) {
  const auto rows_json = [](const std::vector<DropoutRow>& rows, const std::vector<RowCurves>& curves) {
    auto json = ordered_json::array();
    for (size_t n = 0; n < rows.size(); ++n) {
      const RowCurves& c = curves[n];
      json.push_back({{"name", rows[n].name},
                      {"p", rows[n].p},
                      {"base", rows[static_cast<size_t>(rows[n].base)].name},
                      {"parameters", c.parameters},
                      {"best", c.best()},
                      {"last_val", c.last_val()},
                      {"last_train", c.last_train()},
                      {"gap", c.gap()},
                      {"steps", c.steps},
                      {"val", c.val},
                      {"train", c.train}});
    }
    return json;
  };
  return {{"p", flags.dropout},
          {"entropy", x.entropy},
          {"rows", rows_json(x.rows, x.curves)},
          {"sizes", rows_json(x.size_rows, x.size_curves)},
          {"moments", x.moments},
          {"rates", x.rates}};
}

}  // namespace glint
