// What the parts of `glint bench` share.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

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

// For benchmarks of several ranks: starts the ranks (unless a launcher has) and runs `body` in each.
void add_rank_flags(CLI::App& command, TrainOptions& options);
void run_in_team(TrainOptions options, DeviceChoice device, const std::function<void(Team&)>& body);

// Prints the results as one JSON object, or a line each.
struct BenchResult {
  std::string name;
  std::variant<double, int64_t, uint64_t, std::string> value;
};
void print_results(const std::vector<BenchResult>& results, bool as_json);

void register_bench_comm(CLI::App& bench);
void register_bench_attention(CLI::App& bench);
void register_bench_matmul(CLI::App& bench);
void register_bench_step(CLI::App& bench);
void register_bench_sample(CLI::App& bench);

}  // namespace glint
