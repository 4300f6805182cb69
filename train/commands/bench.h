// What the parts of `glint bench` share.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <variant>
#include <vector>

#include "train/command_line.h"
#include "train/options.h"

namespace glint {

struct BenchFlags {
  int threads = 0;
  int repeats = 9;  // the median is reported
  bool json = false;
  MatmulChoice matmul = MatmulChoice::automatic;
};

void add_bench_flags(Command command, BenchFlags& flags);

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

// Median milliseconds of `repeats` calls after one that warms up.
template <typename Call>
double median_ms(int repeats, Call call) {
  std::vector<double> times;
  call();
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  return median(std::move(times));
}

// Prints the results as one JSON object, or a line each.
struct BenchResult {
  const char* name;
  std::variant<double, int64_t, uint64_t> value;
};
void print_results(const std::vector<BenchResult>& results, bool as_json);

void register_bench_attention(Command bench);
void register_bench_matmul(Command bench);
void register_bench_step(Command bench);

}  // namespace glint
