#include "train/study/cost_page.h"

#include <algorithm>
#include <map>
#include <utility>

#include "src/memory.h"
#include "train/picture/picture.h"

namespace glint {

namespace {

using nlohmann::ordered_json;

std::string percent(double share) { return formatted("%+.1f%%", 100 * share); }

struct ArenaText {
  picture::BlockMap map;
  std::string table;
};

ArenaText arena_text(const std::string& title, const ordered_json& arena) {
  const std::vector<std::string> steps = arena["steps"];
  const double forward = arena["forward_steps"];
  std::vector<double> live(steps.size());
  ArenaText text{{title,
                  {"step of the schedule"},
                  {"offset, MB", false, 0.0},
                  {"values", "gradients", "scratch"},
                  {},
                  {{0.0, "forward"}, {forward, "backward"}}},
                 ""};
  for (const ordered_json& buffer : arena["buffers"]) {
    const double bytes = buffer["bytes"], bottom = 1e-6 * buffer["offset"].get<double>();
    for (const auto& range : buffer["live"]) {
      const size_t first = range[0], last = range[1];
      for (size_t at = first; at <= last; ++at) live[at] += bytes;
      text.map.blocks.push_back({buffer["name"], static_cast<double>(first), static_cast<double>(last) + 1, bottom,
                                 bottom + 1e-6 * bytes, buffer["use"],
                                 str_cat(buffer["name"].get<std::string>(), ": ", human_bytes(bytes), ", ",
                                         steps[first], " to ", steps[last])});
    }
  }
  const auto most = std::max_element(live.begin(), live.end());
  const auto at = static_cast<size_t>(most - live.begin());
  std::map<std::string, double> by_tensor;  // the layers together
  for (const ordered_json& buffer : arena["buffers"]) {
    for (const auto& range : buffer["live"]) {
      if (range[0] > at || range[1] < at) continue;
      std::string name = buffer["name"];
      if (name.starts_with("h.")) name = "h.*" + name.substr(std::min(name.size(), name.find('.', 2)));
      by_tensor[name] += buffer["bytes"].get<double>();
    }
  }
  std::vector<std::pair<double, std::string>> largest;
  for (const auto& [name, bytes] : by_tensor) largest.emplace_back(bytes, name);
  std::sort(largest.rbegin(), largest.rend());
  std::vector<std::vector<std::string>> table = {{"tensor", "bytes", "share"}};
  for (const auto& [bytes, name] : largest)
    if (table.size() <= 12) table.push_back({name, human_bytes(bytes), formatted("%.1f%%", 100 * bytes / *most)});
  text.table = str_cat(title, ": ", human_bytes(arena["bytes"]), ". Most is live at step ", at, ", ", steps[at], ": ",
                       human_bytes(*most), ", of which\n\n", markdown_table(table), "\n");
  return text;
}

}  // namespace

std::string ops_section(const Study& study, const ordered_json& result) {
  std::vector<std::vector<std::string>> table = {{"op", "ms", "of the step", "GFLOP/s", "GB/s", "of peak"}};
  picture::BarPanel panel{
      "Time of each op in a step, and what the device's peak would take", {"ms"}, {"measured"}, "by the roofline", {}};
  constexpr size_t kMostBars = 24;
  for (const ordered_json& op : result["ops"]) {
    const std::string share = formatted("%.1f%%", 100 * op["share"].get<double>()),
                      of_peak = formatted("%.0f%%", 100 * op["of_peak"].get<double>());
    table.push_back({op["op"], formatted("%.3f", op["ms"]), share, formatted("%.1f", op["gflops"]),
                     formatted("%.1f", op["gbytes_per_s"]), of_peak});
    if (panel.bars.size() < kMostBars)
      panel.bars.push_back(
          {op["op"], {op["ms"]}, op["roofline_ms"].get<double>(), share + " of the step, " + of_peak + " of peak"});
  }
  study.write("ops.svg", picture::draw_bars({panel}));
  return str_cat(
      "## Op by op\n\n![Time of each op](ops.svg)\n\nThe peak is ", formatted("%.0f", result["peak_gflops"]),
      " GFLOP/s in products and ", formatted("%.1f", result["bandwidth_gbytes"]),
      " GB/s of memory. The roofline is the longer of what an op's\nproducts and its bytes would take at that; "
      "an op whose bytes lie in a cache can be faster.\n\n",
      markdown_table(table), "\n");
}

std::string arena_section(const Study& study, const ordered_json& kept, const ordered_json& recomputed) {
  const ArenaText all = arena_text("Activations kept", kept), less = arena_text("With recompute", recomputed);
  std::vector<picture::BlockMap> maps = {all.map, less.map};
  const double most = 1e-6 * std::max(kept["bytes"].get<double>(), recomputed["bytes"].get<double>());
  for (picture::BlockMap& map : maps) map.y.high = most;  // the same scale
  study.write("arena.svg", picture::draw_maps(maps, {.height = 380}));
  return str_cat(
      "## Memory over the step\n\n![The arena over a step](arena.svg)\n\n"
      "Each rectangle is a buffer: from the step that writes it to the last that reads it, at its place in the\n"
      "arena. Parameters, their gradients and "
      "AdamW's moments lie elsewhere. Names and bytes are in the picture's tooltips.\n\n",
      all.table, less.table);
}

std::string sites_section(const Study& study, const ordered_json& rows) {
  std::vector<std::vector<std::string>> table = {{"step", "ms, median", "quartiles", "more", "arena"}};
  picture::BarPanel panel{"A step, in turn", {"ms, median"}, {"step"}, "", {}};
  for (const ordered_json& row : rows) {
    const std::string more = table.size() == 1 ? "" : percent(row["more"]);
    const auto& quartiles = row["quartile_ms"];
    table.push_back({row["variant"], formatted("%.2f", row["ms"]),
                     formatted("%.2f", quartiles[0]) + " to " + formatted("%.2f", quartiles[1]), more,
                     human_bytes(row["arena_bytes"])});
    panel.bars.push_back({row["variant"], {row["ms"]}, {}, formatted("%.2f ms ", row["ms"]) + more});
  }
  panel.parts.clear();  // one part needs no legend
  study.write("sites.svg", picture::draw_bars({panel}));
  return "## Dropout at each site, and recompute\n\n![A step with dropout at each site](sites.svg)\n\n"
         "The variants are timed in turn; \"more\" is the median, over the rounds, of what a step takes more than the "
         "first\nvariant's of the same round.\n\n" +
         markdown_table(table) + "\n";
}

std::string lengths_section(const Study& study, const std::vector<int>& lengths,
                            const std::vector<ordered_json>& results) {
  std::vector<std::vector<std::string>> table = {{"T", "attention", "ms, median", "against flash", "arena"}};
  picture::LinePanel time{"Time of a step", {"T, tokens", true}, {"ms", true}, {}}, memory = time;
  memory.title = "Memory of its activations", memory.y = {"arena, MB", false, 0.0};
  for (picture::LinePanel* panel : {&time, &memory}) panel->x.ticks.assign(lengths.begin(), lengths.end());
  for (size_t n = 0; n < results.size(); ++n) {
    for (size_t i = 0; i < results[n].size(); ++i) {
      const ordered_json& row = results[n][i];
      if (n == 0) time.lines.push_back({row["variant"], {}, {}}), memory.lines.push_back({row["variant"], {}, {}});
      const double T = lengths[n], ms = row["ms"];
      time.lines[i].x.push_back(T), time.lines[i].y.push_back(ms);
      time.lines[i].low.push_back(row["quartile_ms"][0]), time.lines[i].high.push_back(row["quartile_ms"][1]);
      memory.lines[i].x.push_back(T), memory.lines[i].y.push_back(1e-6 * row["arena_bytes"].get<double>());
      table.push_back({str_cat(lengths[n]), row["variant"], formatted("%.2f", ms), i == 0 ? "" : percent(row["more"]),
                       human_bytes(row["arena_bytes"])});
    }
  }
  study.write("lengths.svg", picture::draw_lines({time, memory}, {.same_axes = false}));
  return "## Attention over T\n\n![Steps over T](lengths.svg)\n\n"
         "A step of the same model with as many tokens, in fewer and longer sequences.\n\n" +
         markdown_table(table);
}

}  // namespace glint
