// glint bench: how fast the kernels and a whole step are on this machine.
#include "train/commands/bench.h"

#include <cstdio>

#include <nlohmann/json.hpp>

#include "train/commands/commands.h"

namespace glint {

void add_bench_flags(Command command, BenchFlags& flags) {
  add_device_flags(command, flags);
  command.add_count("--repeats", flags.repeats, "Timed runs after one to warm up; the median is printed");
  command.add_flag("--json", flags.json, "One JSON object on standard output");
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

void register_bench(Command program) {
  Command command = program.add_command("bench", "Time attention, matrix products or a whole training step");
  command.require_command();
  register_bench_attention(command);
  register_bench_matmul(command);
  register_bench_step(command);
}

}  // namespace glint
