// glint bench comm: bandwidth of collectives, as defined by NVIDIA's nccl-tests (doc/PERFORMANCE.md).
#include <cstdio>

#include "kernels/check.h"
#include "src/comm/collective_queue.h"
#include "src/memory.h"
#include "train/commands/bench.h"

namespace glint {

namespace {

struct CommFlags : BenchFlags {
  double from_kb = 64, to_mb = 64;
  TrainOptions team;  // only the options about ranks
};

// Bus bandwidth counts each byte as many times as the collective has to move it, so it can be compared with the
// hardware's for any collective and number of ranks. times: bus bandwidth / (bytes / seconds).
struct Collective {
  const char* name;
  double times;
};

template <typename Context>
double seconds_of_call(const Context& ctx, CollectiveQueue& queue, Team& team, const Collective& what, float* data,
                       size_t n, int repeats) {
  const std::string name = what.name;
  team.comm().barrier();  // all start at the same time
  const double ms = median_ms(ctx, repeats, [&] {
    if (name == "all_reduce") queue.all_reduce(data, n);
    if (name == "reduce_scatter") queue.reduce_scatter(data, n);
    if (name == "all_gather") queue.all_gather(data, n);
    queue.join();
  });
  queue.check();
  return 1e-3 * ms;
}

void bench_comm(CommFlags flags, Team& team) {
  GLINT_REQUIRE(team.size() > 1, "--ranks 1 has no other rank to measure: give 2 or more");
  GLINT_REQUIRE(flags.from_kb > 0 && flags.to_mb >= flags.from_kb / 1024, "--from-kb ", flags.from_kb, " and --to-mb ",
                flags.to_mb, ": give a --to-mb of at least --from-kb");
  flags.gpu = team.gpu();
  const Device device = open_device(flags);
  const double n = team.size(), most = flags.to_mb * (1 << 20);
  const Collective collectives[] = {
      {"all_reduce", 2 * (n - 1) / n}, {"reduce_scatter", (n - 1) / n}, {"all_gather", (n - 1) / n}};
  const DeviceMemory memory(static_cast<size_t>(most), "the benchmark", device);
  const auto queue = device.visit([&](const auto& ctx) { return make_collective_queue(ctx, team.comm()); });
  auto json = nlohmann::ordered_json::array();
  if (team.is_main() && !flags.json)
    std::printf("%-16s %12s %12s %10s %10s   %d ranks, %s\n", "collective", "bytes", "us", "alg GB/s", "bus GB/s",
                team.size(), device.name().c_str());
  for (const Collective& what : collectives) {
    for (double bytes = flags.from_kb * 1024; bytes <= most; bytes *= 4) {
      const size_t count = static_cast<size_t>(bytes) / sizeof(float);
      const double seconds = device.visit([&](const auto& ctx) {
        return seconds_of_call(ctx, *queue, team, what, memory.f32(), count, flags.repeats);
      });
      const double algorithm = 1e-9 * static_cast<double>(count * sizeof(float)) / seconds,
                   bus = algorithm * what.times;
      if (!team.is_main()) continue;
      if (flags.json)
        json.push_back({{"collective", what.name},
                        {"bytes", count * sizeof(float)},
                        {"us", 1e6 * seconds},
                        {"algbw_gbytes", algorithm},
                        {"busbw_gbytes", bus}});
      else
        std::printf("%-16s %12zu %12.1f %10.3f %10.3f\n", what.name, count * sizeof(float), 1e6 * seconds, algorithm,
                    bus);
    }
  }
  if (team.is_main() && flags.json)
    print_results({{"ranks", team.size()}, {"device", device.name()}, {"results", json}}, true);
}

}  // namespace

void register_bench_comm(CLI::App& bench) {
  CLI::App& command = *bench.add_subcommand("comm", "All-reduce, reduce-scatter and all-gather between ranks, by size");
  const auto flags = std::make_shared<CommFlags>();
  add_option(command, "--from-kb", flags->from_kb, "Smallest buffer, KiB; each next one is four times larger");
  add_option(command, "--to-mb", flags->to_mb, "Largest buffer, MiB");
  add_train_options(command, flags->team, kRankOptions);
  add_bench_flags(command, *flags);
  command.callback([flags] {
    if (flags->team.ranks == 0 && ranks_from_environment().source.empty())
      flags->team.ranks = 2;  // the fewest to measure
    run_in_team(flags->team, flags->device, [&](Team& team) { bench_comm(on_this_machine(*flags), team); });
  });
}

}  // namespace glint
