// glint study: measures what the documents say about the kernels. `ladder`: attention in steps (kernels/ladder).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "data/file_writer.h"
#include "src/machine.h"
#include "src/measure/ladder.h"
#include "src/memory.h"
#include "train/commands/commands.h"
#include "train/picture.h"

namespace glint {

namespace {

using ladder::Rung;

struct LadderFlags {
  std::string out;
  int heads = 2, head_size = 64;
  std::vector<int> contexts = {128, 256, 512, 1024, 2048};
  double dropout = 0.1;
  bool causal = true;
  int repeats = 3;
  uint64_t seed = 1;
};

AttentionShape ladder_shape(const LadderFlags& flags, int T) {
  return {1,
          T,
          T,
          flags.heads,
          flags.heads,
          flags.head_size,
          flags.causal,
          1.0f / std::sqrt(static_cast<float>(flags.head_size))};
}

void validate_ladder(const LadderFlags& flags) {
  GLINT_REQUIRE(flags.heads >= 1 && flags.heads <= 1024, "--heads ", flags.heads, ": give a number from 1 to 1024");
  GLINT_REQUIRE(flags.head_size >= 8 && flags.head_size <= 256 && flags.head_size % 8 == 0, "--head-size ",
                flags.head_size, ": give a multiple of 8 from 8 to 256");
  GLINT_REQUIRE(flags.dropout >= 0 && static_cast<float>(flags.dropout) < 1, "--dropout ", flags.dropout,
                " is not in [0, 1)");
  for (const int T : flags.contexts) {
    GLINT_REQUIRE(T >= 1 && T <= 1 << 16, "--context ", T, ": give numbers from 1 to 65536, as 128,1024");
    const AttentionShape shape = ladder_shape(flags, T);
    const double bytes = 4.0 * static_cast<double>(ladder::rungs()[0].scratch(shape, true).all(shape));
    GLINT_REQUIRE(bytes < 0.8 * static_cast<double>(machine_memory()), "--context ", T, ": the definition's matrices ",
                  "would take ", human_bytes(bytes), " of memory; give fewer --heads or a shorter --context");
  }
}

// The rungs at one length, with one rate of dropout.
struct LadderSection {
  int T;
  double p;
  std::vector<RungResult> results;
};

std::string markdown_table(const std::vector<RungResult>& results) {
  std::string table =
      "| rung | idea | forward, ms | backward, ms | bytes moved, forward | backward | memory | largest error | "
      "of what is allowed |\n|---|---|---|---|---|---|---|---|---|\n";
  for (size_t n = 0; n < results.size(); ++n) {
    const RungResult& r = results[n];
    const Rung& rung = ladder::rungs()[n];
    char times[64], errors[64];
    std::snprintf(times, sizeof times, "%.2f | %.2f", r.forward_ms, r.backward_ms);
    std::snprintf(errors, sizeof errors, "%.1e | %.0f%%", r.error, 100 * r.share);
    table += str_cat("| ", n + 1, " ", rung.name, " | ", rung.idea, " | ", times, " | ", human_bytes(r.traffic.forward),
                     " | ", human_bytes(r.traffic.backward), " | ", human_bytes(r.memory), " | ", errors, " |\n");
  }
  return table;
}

nlohmann::ordered_json ladder_json(const std::vector<LadderSection>& all) {
  auto json = nlohmann::ordered_json::array();
  for (const auto& [T, p, results] : all) {
    for (size_t n = 0; n < results.size(); ++n) {
      const RungResult& r = results[n];
      json.push_back({{"rung", ladder::rungs()[n].name},
                      {"context", T},
                      {"dropout", p},
                      {"forward_ms", r.forward_ms},
                      {"backward_ms", r.backward_ms},
                      {"forward_bytes", r.traffic.forward},
                      {"backward_bytes", r.traffic.backward},
                      {"memory_bytes", r.memory},
                      {"error", r.error},
                      {"error_of_allowed", r.share}});
    }
  }
  return json;
}

// value(result) over T, a chart for each rate of dropout.
template <typename Value>
std::string ladder_picture(const std::vector<LadderSection>& all, const std::string& name, const Value& value) {
  std::vector<Chart> charts;
  for (const auto& [T, p, results] : all) {
    const std::string title = p > 0 ? str_cat("dropout ", p) : "no dropout";
    auto chart = std::find_if(charts.begin(), charts.end(), [&](const Chart& known) { return known.title == title; });
    if (chart == charts.end()) {
      chart = charts.insert(chart, {title, {}});
      for (const Rung& rung : ladder::rungs())
        chart->lines.push_back({str_cat(chart->lines.size() + 1, " ", rung.name), {}});
    }
    for (size_t n = 0; n < results.size(); ++n) chart->lines[n].points.emplace_back(T, value(results[n]));
  }
  return draw_charts(charts, "T", name);
}

void study_ladder(LadderFlags flags) {
  validate_ladder(flags);
  std::sort(flags.contexts.begin(), flags.contexts.end());
  flags.contexts.erase(std::unique(flags.contexts.begin(), flags.contexts.end()), flags.contexts.end());
  const std::filesystem::path folder = flags.out;
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  GLINT_REQUIRE(!failed, "--out ", flags.out, " can't be created: ", failed.message());
  std::string contexts;
  for (const int T : flags.contexts) contexts += str_cat(contexts.empty() ? "" : ",", T);
  const std::string settings = str_cat(
      "--heads ", flags.heads, " --head-size ", flags.head_size, " --context ", contexts, " --dropout ", flags.dropout,
      " --causal ", flags.causal ? "true" : "false", " --repeats ", flags.repeats, " --seed ", flags.seed);
  std::string page = str_cat(
      "# Attention in steps\n\n`glint study ladder ", settings, "` on ", cpu_name(), ", ", compiled_vectors(),
      ".\nOne thread, fp32, one sequence; the fastest run. Bytes are those that a formula says move to and from\n"
      "memory; memory is what lies beside inputs and results. Errors are measured against double; twice that of plain\n"
      "fp32 is allowed, three times for gradients.\n\n![Time over T](ladder.svg)\n\n![Memory over T](memory.svg)\n");
  write_file(folder / "study.md", page);  // now, not in a minute, if it can't be
  std::vector<LadderSection> all;
  bool good = true;
  for (const double p : {0.0, flags.dropout}) {
    if (p == 0 && !all.empty()) continue;
    for (const int T : flags.contexts) {
      all.push_back({T, p, measure_rungs(ladder_shape(flags, T), static_cast<float>(p), flags.repeats, flags.seed)});
      const std::string table = markdown_table(all.back().results);
      const std::string section = str_cat("## T ", T, p > 0 ? str_cat(", dropout ", p) : ", no dropout", "\n\n", table);
      page += "\n" + section;
      write_out(section + "\n");
      for (const RungResult& r : all.back().results) good = good && r.share <= 1;
    }
  }
  write_file(folder / "ladder.json", ladder_json(all).dump(1) + "\n");
  write_file(folder / "ladder.svg", ladder_picture(all, "forward and backward, ms",
                                                   [](const auto& r) { return r.forward_ms + r.backward_ms; }));
  write_file(folder / "memory.svg", ladder_picture(all, "memory beside inputs and results, MB",
                                                   [](const auto& r) { return 1e-6 * r.memory; }));
  write_file(folder / "study.md", page);
  write_out("written: " + (folder / "study.md").string() + "\n");
  GLINT_REQUIRE(good, "a rung's error is larger than allowed: see ", (folder / "study.md").string());
}

}  // namespace

void register_study(CLI::App& program) {
  CLI::App& study = *program.add_subcommand("study", "Measure the kernels step by step, with tables and pictures");
  study.require_subcommand(1);
  CLI::App& command = *study.add_subcommand("ladder", "Attention from the definition to glint's kernel, on one core");
  const auto flags = std::make_shared<LadderFlags>();
  command.add_option("--out", flags->out, "Folder for study.md, ladder.json and two pictures")
      ->type_name("DIR")
      ->required();
  add_option(command, "--heads", flags->heads, "Heads");
  add_option(command, "--head-size", flags->head_size, "Channels per head");
  command.add_option("--context", flags->contexts, "Tokens per sequence: one number or several, as 128,1024")
      ->delimiter(',')
      ->type_name("LIST")
      ->default_str("128,256,512,1024,2048");
  add_option(command, "--dropout", flags->dropout, "Drop probability; each T is measured without dropout too");
  add_option(command, "--causal", flags->causal, "Each query attends only to keys up to its own position");
  add_count(command, "--repeats", flags->repeats, "Timed runs, after one more; the fastest counts");
  add_option(command, "--seed", flags->seed, "Of the inputs and of the mask");
  command.callback([flags] { study_ladder(*flags); });
}

}  // namespace glint
