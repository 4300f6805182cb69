// What the parts of `glint bench` share.
#pragma once

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "src/device.h"
#include "train/command_line.h"
#include "train/options.h"
#include "train/team.h"

namespace glint {

struct BenchFlags : DeviceFlags {
  int repeats = 9;  // the median is reported
  bool json = false;
};

void add_bench_flags(CLI::App& command, BenchFlags& flags);

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

// Median milliseconds of `repeats` calls after one warm-up, on the clock of the context that they run on.
template <typename Context, typename Call>
double median_ms(const Context& ctx, int repeats, Call call) {
  std::vector<double> times;
  call();
  for (int i = 0; i < repeats; ++i) times.push_back(1000 * measure_seconds(ctx, call));
  return median(std::move(times));
}

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
