// glint bench: how fast the kernels and a whole step are on this machine.
#include "train/commands/bench.h"

#include <cstdio>

#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "train/commands/commands.h"
#include "train/launcher.h"

namespace glint {

void add_bench_flags(CLI::App& command, BenchFlags& flags) {
  add_device_flags(command, flags);
  add_count(command, "--repeats", flags.repeats, "Timed runs, after one warm-up; the median is printed");
  command.add_flag("--json", flags.json, "One JSON object on standard output");
}

void add_rank_flags(CLI::App& command, TrainOptions& options) {
  add_option(command, "--ranks", options.ranks,
             "Processes, one per GPU; 0: one, or as many as the launcher has started");
  add_option(command, "--comm-timeout", options.comm_timeout, "Seconds that a rank waits for another one");
  add_option(command, "--interface", options.interface, "Network interface between ranks");
}

void run_in_team(TrainOptions options, DeviceChoice device, const std::function<void(Team&)>& body) {
  options.device = device;
  options = on_this_machine(std::move(options));
  const Ranks place = ranks_from_environment();
  if (options.ranks == 0) options.ranks = place.size;
  GLINT_REQUIRE(options.ranks >= 1, "--ranks ", options.ranks, ": give a number of 1 or more");
  GLINT_REQUIRE(options.comm_timeout > 0 && options.comm_timeout < 1e6, "--comm-timeout ", options.comm_timeout,
                ": give a number above 0");
  if (place.source.empty() && options.ranks > 1) return launch_ranks(options.ranks);
  GLINT_REQUIRE(options.ranks == place.size, "--ranks ", options.ranks, ", but ", place.source, " has started ",
                place.size, ": leave --ranks out");
  run_as_rank(place, std::filesystem::temp_directory_path() / "glint-bench", options, body);
}

void print_results(const std::vector<BenchResult>& results, bool as_json) {
  nlohmann::ordered_json object;
  for (const auto& [name, value] : results) {
    std::visit([&, name = name](const auto& known) { object[name] = known; }, value);
  }
  if (as_json) {
    std::printf("%s\n", object.dump().c_str());
    return;
  }
  for (const auto& [key, value] : object.items()) {
    if (value.is_number_float()) {
      std::printf("%-24s %g\n", key.c_str(), value.get<double>());
    } else {
      std::printf("%-24s %s\n", key.c_str(), value.dump().c_str());
    }
  }
}

void register_bench(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "bench", "Time attention, matrix products, a whole training step, sampling, or collectives between ranks");
  command.require_subcommand(1);
  register_bench_attention(command);
  register_bench_matmul(command);
  register_bench_step(command);
  register_bench_sample(command);
  register_bench_comm(command);
}

}  // namespace glint
