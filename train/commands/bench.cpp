// glint bench: how fast the kernels and a whole step are on this machine.
#include "train/commands/bench.h"

#include <cstdio>

#include "kernels/check.h"
#include "train/commands/commands.h"
#include "train/launcher.h"
#include "train/text.h"

namespace glint {

void add_bench_flags(CLI::App& command, BenchFlags& flags) {
  add_device_flags(command, flags);
  add_count(command, "--repeats", flags.repeats, "Timed runs, after one warm-up; the median is printed");
  command.add_flag("--json", flags.json, "One JSON object on standard output");
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

void print_results(const nlohmann::ordered_json& results, bool as_json) {
  if (as_json) return write_out(results.dump() + "\n");
  for (const auto& [name, value] : results.items())
    std::printf("%-24s %s\n", name.c_str(),
                value.is_number_float() ? formatted("%g", value.get<double>()).c_str() : value.dump().c_str());
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
