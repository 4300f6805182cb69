#include "train/report/report.h"

#include <algorithm>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "kernels/dropout.h"
#include "models/model.h"
#include "train/commands/commands.h"
#include "train/options_table.h"
#include "train/picture/svg.h"
#include "train/report/page_parts.h"
#include "train/text.h"

namespace glint {

using nlohmann::ordered_json;
using picture::escaped;

namespace {

using Row = std::vector<std::string>;  // cells: a head, then one of each run

std::string cell(const char* tag, const std::string& text) {
  return str_cat("<", tag, ">", escaped(text), "</", tag, ">");
}

std::string row_of(const Row& cells, const std::string& attributes = "") {
  std::string html = str_cat("<tr", attributes, ">", cell("th", cells[0]));
  for (size_t i = 1; i < cells.size(); ++i) html += cell("td", cells[i]);
  return html + "</tr>\n";
}

std::string table(const Row& head, const std::string& body) {
  std::string html = "<div class=\"wide\"><table>\n<thead><tr>";
  for (const std::string& name : head) html += cell("th", name);
  return html + "</tr></thead>\n<tbody>\n" + body + "</tbody></table></div>\n";
}

Row run_names(const std::vector<RunHistory>& runs, const std::string& first) {
  Row head = {first};
  for (const RunHistory& run : runs) head.push_back(run.name);
  return head;
}

// 1234567 -> 1,234,567
std::string counted(uint64_t value) {
  std::string text = std::to_string(value);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<size_t>(at), ",");
  return text;
}

double median_of(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// One row for each thing that some run has.
std::string summary(const std::vector<RunHistory>& runs) {
  std::vector<Row> rows;
  const auto add = [&](const std::string& name, const auto& text_of) {
    Row row = {name};
    for (const RunHistory& run : runs) row.push_back(text_of(run));
    if (std::any_of(row.begin() + 1, row.end(), [](const std::string& text) { return !text.empty(); }))
      rows.push_back(row);
  };
  const auto median = [](const RunHistory& run, MetricsValue value, const char* format, double scale = 1) {
    const Series series = series_of(run, value);
    return series.values.empty() ? "" : formatted(format, scale * median_of(series.values));
  };
  add("best validation loss", [](const RunHistory& run) {
    const Series losses = series_of(run, &MetricsLine::val_loss);
    const auto best = std::min_element(losses.values.begin(), losses.values.end());
    if (best == losses.values.end()) return std::string();
    const double step = losses.steps[static_cast<size_t>(best - losses.values.begin())];
    return str_cat(formatted("%.4f", *best), " at step ", step);
  });
  add("last training loss", [](const RunHistory& run) {
    const Series losses = series_of(run, &MetricsLine::loss);
    return losses.values.empty() ? "" : formatted("%.4f", losses.values.back());
  });
  add("steps", [](const RunHistory& run) {
    return str_cat(counted(run.lines.back().step), " of ", counted(static_cast<uint64_t>(run.options.steps)));
  });
  add("tokens", [](const RunHistory& run) { return counted(run.lines.back().tokens); });
  add("parameters", [](const RunHistory& run) {
    const auto model = make_model(run.options.model, CpuContext{}, DType::f32, Weights::laid_out);
    return counted(static_cast<uint64_t>(model->parameters().count()));
  });
  add("tokens per second, median", [](const RunHistory& run) {
    const Series rates = series_of(run, &MetricsLine::tokens_per_s);
    return rates.values.empty() ? "" : counted(static_cast<uint64_t>(median_of(rates.values)));
  });
  add("ms per step, median", [&](const RunHistory& run) { return median(run, &MetricsLine::step_ms, "%.2f"); });
  add("MFU, median", [&](const RunHistory& run) { return median(run, &MetricsLine::mfu, "%.1f%%", 100); });
  std::string body;
  for (const Row& row : rows) body += row_of(row);
  return table(run_names(runs, ""), body);
}

std::string shown(const ordered_json& value) {
  return value.is_number_float() ? formatted("%.6g", value.get<double>()) : plain_text(value);
}

std::string settings(const std::vector<RunHistory>& runs) {
  std::vector<ordered_json> all;
  for (const RunHistory& run : runs) all.push_back(to_json(run.options));
  std::string body, group;
  TrainOptions defaults;
  for_each_option(defaults, [&](const auto&, const OptionInfo& option) {
    if (group != option.group)
      body += str_cat("<tr class=\"group\"><th colspan=\"", runs.size() + 1, "\">", escaped(group = option.group),
                      "</th></tr>\n");
    Row row = {option.name};
    for (const ordered_json& options : all) row.push_back(shown(options[option.name]));
    const bool differs = std::set<std::string>(row.begin() + 1, row.end()).size() > 1;
    if (differs) row[0] += "\xC2\xA0\xE2\x89\xA0";  // no break, not equal
    body += row_of(row, str_cat(differs ? " class=\"differs\"" : "", " title=\"", escaped(option.help), "\""));
  });
  return table(run_names(runs, "option"), body);
}

std::string samples(const std::vector<RunHistory>& runs) {
  std::string html;
  for (const RunHistory& run : runs) {
    std::string texts;
    size_t left = 0;
    for (const MetricsLine& line : run.lines) left += line.sample.has_value();
    for (const MetricsLine& line : run.lines) {
      if (!line.sample) continue;
      texts += str_cat("<details", --left == 0 ? " open=\"open\"" : "", "><summary>step ", counted(line.step),
                       "</summary><pre>", escaped(*line.sample), "</pre></details>\n");
    }
    if (!texts.empty()) html += str_cat("<article>", cell("h3", run.name), "\n", texts, "</article>\n");
  }
  return html;
}

// Where a step draws dropout masks: kernels/dropout.h.
std::string dropout_sites(const std::vector<RunHistory>& runs) {
  std::string body;
  for (const RunHistory& run : runs) {
    const GptConfig& model = run.options.model;
    const auto add = [&](const char* site, int count, int heads, float p) {
      if (p == 0) return;
      const KeepRule rule = keep_rule(p);
      body +=
          row_of({run.name, site, str_cat(count), formatted("%.4g", p),
                  formatted("%.2f%%", 100 - 100 * (rule.threshold + 1) / 256.0), formatted("%.4g", rule.scale),
                  counted(dropout_offsets(static_cast<uint64_t>(run.options.batch), static_cast<uint64_t>(heads)))});
    };
    add("embedding", 1, 1, model.embd_dropout);
    add("attention weights, each layer", model.layers, model.heads, model.attn_dropout);
    add("attention's projection, each layer", model.layers, 1, model.resid_dropout);
    add("MLP's projection, each layer", model.layers, 1, model.resid_dropout);
  }
  if (body.empty()) return "<p>No run drops anything.</p>\n";
  return table({"run", "site", "sites", "p", "drops", "scale", "Philox offsets of a site a step"}, body);
}

std::string machines(const std::vector<RunHistory>& runs) {
  std::string body;
  for (const RunHistory& run : runs) {
    for (const MetricsLine& line : run.lines) {
      if (line.device.empty()) continue;
      const int threads = run.options.threads;
      body += row_of({run.name, counted(line.step), line.machine, line.device, line.dtype,
                      str_cat(std::max(1, run.options.ranks)), threads == 0 ? "all" : str_cat(threads)});
    }
  }
  return table({"run", "from step", "machine", "device", "dtype", "ranks", "CPU threads"}, body);
}

}  // namespace

std::string report_page(const std::vector<RunHistory>& runs) {
  std::string names;
  for (const RunHistory& run : runs) names += (names.empty() ? "" : ", ") + run.name;
  const bool several = runs.size() > 1;
  const std::string texts = samples(runs);
  std::string html = str_cat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
      escaped(names), "</title>\n<style>", kReportStyle, "</style></head>\n<body><main>\n<h1>", escaped(names),
      "</h1>\n", summary(runs));
  html += str_cat(
      "<h2>Curves</h2>\n<input type=\"checkbox\" id=\"logarithmic\"/>"
      "<label for=\"logarithmic\"> logarithmic axes</label>\n",
      "<div class=\"charts\">\n", figures(runs), "</div>\n");
  html += "<h2>Settings</h2>\n";
  if (several)
    html +=
        "<input type=\"checkbox\" id=\"differences\" checked=\"checked\"/>"
        "<label for=\"differences\"> differences only</label>\n";
  html += "<div class=\"settings\">" + settings(runs) + "</div>\n";
  if (!texts.empty()) html += "<h2>Samples along the way</h2>\n<div class=\"samples\">\n" + texts + "</div>\n";
  html += str_cat("<h2>Dropout sites</h2>\n", dropout_sites(runs), "<h2>Machine</h2>\n", machines(runs),
                  "<p class=\"dim\">glint ", version(),
                  ", from each run's config.json and metrics.jsonl</p>\n</main>\n<script>", kReportScript,
                  "</script>\n</body></html>\n");
  return html;
}

}  // namespace glint
