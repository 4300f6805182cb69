// What the parts of `glint bench` share.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "train/flags.h"
#include "train/options.h"

namespace glint {

struct BenchFlags {
  int threads = 0;
  int repeats = 9;  // the median is reported
  bool json = false;
  MatmulChoice matmul = MatmulChoice::automatic;
};

inline void add_bench_flags(CLI::App& command, BenchFlags& flags) {
  command.add_option("--threads", flags.threads, "0: as many as the machine gives")->capture_default_str();
  command.add_option("--repeats", flags.repeats, "Timed runs after one to warm up; the median is printed")
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  add_choice(command, "--matmul", flags.matmul, "Matrix engine",
             {{"auto", MatmulChoice::automatic}, {"eigen", MatmulChoice::eigen}, {"onednn", MatmulChoice::onednn}});
  command.add_flag("--json", flags.json, "One JSON object on standard output");
}

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
inline void print_results(const nlohmann::ordered_json& results, bool json) {
  if (json) {
    std::printf("%s\n", results.dump().c_str());
    return;
  }
  for (const auto& [key, value] : results.items())
    std::printf("%-24s %s\n", key.c_str(), value.is_number_float() ? CLI::detail::to_string(value.get<double>()).c_str() : value.dump().c_str());
}

void register_bench_attention(CLI::App& bench);
void register_bench_matmul(CLI::App& bench);
void register_bench_step(CLI::App& bench);

}  // namespace glint
