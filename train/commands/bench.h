// What the parts of `glint bench` share.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "src/device.h"
#include "src/measure/median.h"
#include "train/command_line.h"
#include "train/options.h"
#include "train/team.h"

namespace glint {

struct BenchFlags : DeviceFlags {
  int repeats = 9;  // the median is reported
  bool json = false;
};

void add_bench_flags(CLI::App& command, BenchFlags& flags);

// For benchmarks of several ranks, with kRankOptions: starts the ranks (unless a launcher has), runs `body` in each.
inline const std::vector<std::string_view> kRankOptions = {"ranks", "comm-timeout", "interface"};
void run_in_team(TrainOptions options, DeviceChoice device, const std::function<void(Team&)>& body);

// Prints the results as one JSON object, or a line each.
void print_results(const nlohmann::ordered_json& results, bool as_json);

void register_bench_comm(CLI::App& bench);
void register_bench_attention(CLI::App& bench);
void register_bench_matmul(CLI::App& bench);
void register_bench_step(CLI::App& bench);
void register_bench_sample(CLI::App& bench);

}  // namespace glint
