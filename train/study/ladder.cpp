// glint study ladder: attention in steps (kernels/ladder), timed, and checked against double.
#include <cmath>
#include <iterator>

#include "src/machine.h"
#include "src/measure/ladder.h"
#include "src/memory.h"
#include "train/picture/picture.h"
#include "train/study/study.h"

namespace glint {

namespace {

using nlohmann::ordered_json;

struct LadderFlags : StudyFlags {
  int heads = 0, head_size = 64;
  std::vector<int> contexts = {128, 256, 512, 1024, 2048};
  double dropout = 0.1;
  bool causal = true;
  int repeats = 3;
  uint64_t seed = 1;
  DeviceChoice device = DeviceChoice::cpu;
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
  GLINT_REQUIRE(flags.heads >= 1 && flags.heads <= 1024, "--heads ", flags.heads,
                ": give a number from 1 to 1024, or leave it out");
  GLINT_REQUIRE(flags.head_size >= 8 && flags.head_size <= 256 && flags.head_size % 8 == 0, "--head-size ",
                flags.head_size, ": give a multiple of 8 from 8 to 256");
  GLINT_REQUIRE(flags.dropout >= 0 && static_cast<float>(flags.dropout) < 1, "--dropout ", flags.dropout,
                " is not in [0, 1)");
  GLINT_REQUIRE(flags.device != DeviceChoice::cuda || flags.head_size <= 128, "--head-size ", flags.head_size,
                ": the kernels of a GPU have at most 128");
  for (const int T : flags.contexts) {
    GLINT_REQUIRE(T >= 1 && T <= 1 << 16, "--context ", T, ": give numbers from 1 to 65536, as 128,1024");
    if (flags.device == DeviceChoice::cuda) continue;
    const AttentionShape shape = ladder_shape(flags, T);
    const double bytes = 4.0 * static_cast<double>(ladder::rungs()[0].scratch(shape, true).all(shape));
    GLINT_REQUIRE(bytes < 0.8 * static_cast<double>(machine_memory()), "--context ", T, ": the definition's matrices ",
                  "would take ", human_bytes(bytes), " of memory; give fewer --heads or a shorter --context");
  }
}

std::string of_dropout(double p) { return p > 0 ? str_cat("dropout ", p) : "no dropout"; }

// A row for each rung, at one length and with one rate of dropout.
StudyUnit ladder_unit(const LadderFlags& flags, const Device& device, int T, double p) {
  const auto work = [flags, T, p, device](const PartDone& part_done) {
    auto rows = ordered_json::array();
    const AttentionShape shape = ladder_shape(flags, T);
    const auto rate = static_cast<float>(p);
    for (const RungResult& r : device.is_cpu()
                                   ? measure_rungs(shape, rate, flags.repeats, flags.seed, part_done)
                                   : measure_device_rungs(device, shape, rate, flags.repeats, flags.seed, part_done)) {
      rows.push_back({{"rung", r.name},
                      {"idea", r.idea},
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
    return rows;
  };
  return {.name = str_cat("T ", T, ", ", of_dropout(p)), .cost = 1.0 * T * T + 1e4, .work = work};
}

std::string ms_text(double ms) { return formatted(ms < 1 ? "%.3f" : "%.2f", ms); }

std::string ladder_table(const ordered_json& rows) {
  std::vector<std::vector<std::string>> table = {{"rung", "idea", "forward, ms", "backward, ms", "bytes moved, forward",
                                                  "backward", "memory", "largest error", "of what is allowed"}};
  for (const ordered_json& r : rows) {
    table.push_back({str_cat(table.size(), " ", r["rung"].get<std::string>()), r["idea"], ms_text(r["forward_ms"]),
                     ms_text(r["backward_ms"]), human_bytes(r["forward_bytes"]), human_bytes(r["backward_bytes"]),
                     human_bytes(r["memory_bytes"]), formatted("%.1e", r["error"]),
                     formatted("%.0f%%", 100 * r["error_of_allowed"].get<double>())});
  }
  return markdown_table(table);
}

// value(row) over T, a panel for each rate of dropout.
template <typename Value>
std::string ladder_picture(const LadderFlags& flags, const std::vector<ordered_json>& sections, const std::string& name,
                           const Value& value) {
  std::vector<picture::LinePanel> panels;
  for (const ordered_json& rows : sections) {
    const std::string title = of_dropout(rows[0]["dropout"]);
    if (panels.empty() || panels.back().title != title) {
      panels.push_back({title, {"T, tokens", true}, {name, true}, {}});
      panels.back().x.ticks.assign(flags.contexts.begin(), flags.contexts.end());
      for (const ordered_json& row : rows) {
        auto& lines = panels.back().lines;
        lines.push_back({str_cat(lines.size() + 1, " ", row["rung"].get<std::string>()), {}, {}});
      }
    }
    for (size_t n = 0; n < rows.size(); ++n) {
      panels.back().lines[n].x.push_back(rows[n]["context"]);
      panels.back().lines[n].y.push_back(value(rows[n]));
    }
  }
  return picture::draw_lines(panels);
}

void study_ladder(LadderFlags& flags) {
  if (flags.device == DeviceChoice::automatic) flags.device = on_this_machine(DeviceFlags{}).device;
  if (flags.heads == 0) flags.heads = flags.device == DeviceChoice::cuda ? 16 : 2;
  validate_ladder(flags);
  const Device device = open_device({.device = flags.device});
  Study study("ladder", flags, flags.settings(), device.name());
  std::vector<StudyUnit> units;
  for (const double p : {0.0, flags.dropout}) {
    if (p == 0 && !units.empty()) continue;
    for (const int T : flags.contexts) units.push_back(ladder_unit(flags, device, T, p));
  }
  const std::vector<ordered_json> sections = study.run(units);
  std::string page = device.is_cpu()
                         ? "One thread, fp32, one sequence; the fastest run. Bytes are those that a formula "
                           "says move to and from\nmemory; "
                         : "One sequence; the fastest run. Bytes are those of each array once;\n";
  page +=
      "memory is what lies beside inputs and results. Errors are measured against double; twice that of a plain\n"
      "computation in the same precision is allowed, three times for gradients. GFLOP/s count\n"
      "FlashAttention's products for every rung, 3.5 times those of forward.\n\n![Speed over T](ladder.svg)\n\n"
      "![Memory over T](memory.svg)\n";
  auto all = ordered_json::array();
  bool good = true;
  for (size_t n = 0; n < sections.size(); ++n) {
    const std::string section = str_cat("## ", units[n].name, "\n\n", ladder_table(sections[n]));
    page += "\n" + section;
    write_out(section + "\n");
    for (const ordered_json& row : sections[n]) {
      good = good && row["error_of_allowed"] <= 1;
      all.push_back(row);
    }
  }
  study.write_json("ladder.json", all);
  study.write("ladder.svg",
              ladder_picture(flags, sections, "forward and backward, GFLOP/s", [&](const ordered_json& r) {
                const double ms = r["forward_ms"].get<double>() + r["backward_ms"].get<double>();
                return 1e-6 * 3.5 * flops_of(ladder_shape(flags, r["context"])) / ms;
              }));
  study.write("memory.svg",
              ladder_picture(flags, sections, "memory beside inputs and results, MB",
                             [](const ordered_json& r) { return 1e-6 * r["memory_bytes"].get<double>(); }));
  study.write_page("Attention in steps", page);
  GLINT_REQUIRE(good, "a rung's error is larger than allowed: see ", flags.out, "/study.md");
}

}  // namespace

void register_study_ladder(CLI::App& studies) {
  const auto flags = std::make_shared<LadderFlags>();
  StudyCommand command(studies, "ladder", "Attention from the definition to glint's kernel", *flags);
  command.add("heads", flags->heads, "Heads; 0: 2, on a GPU 16, which fill it");
  command.add("head-size", flags->head_size, "Channels per head");
  command.add("context", flags->contexts, "Tokens per sequence: one number or several, as 128,1024",
              std::vector{64, 128});
  command.add("dropout", flags->dropout, "Drop probability; each T is measured without dropout too");
  command.add("causal", flags->causal, "Each query attends only to keys up to its own position");
  command.add("repeats", flags->repeats, "Timed runs, after one more; the fastest counts", 1)->check(kCount);
  command.add("seed", flags->seed, "Of the inputs and of the mask");
  command.add("device", flags->device, "cuda: the kernels of a GPU");
  command.run([flags] { study_ladder(*flags); });
}

}  // namespace glint
