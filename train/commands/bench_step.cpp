// glint bench step: whole optimizer steps of a model, and where their time goes.
#include <algorithm>

#include "src/machine.h"
#include "src/measure/op_times.h"
#include "src/measure/peak.h"
#include "train/commands/bench.h"
#include "train/evaluator.h"
#include "train/random_step.h"
#include "train/tuning.h"

namespace glint {

namespace {

struct StepFlags : BenchFlags {
  TrainOptions options;  // all but those of BenchFlags
  int steps = 20;
  bool profile = false, evaluate = false;
};

void print_profile(const std::vector<OpTime>& ops) {
  std::fprintf(stderr, "%11s %7s %10s %8s %8s\n", "ms", "share", "GFLOP/s", "GB/s", "of peak");
  for (const OpTime& op : ops) {
    std::fprintf(stderr, "%11.3f %6.1f%% %10.0f %8.1f %7.0f%%  %s\n", op.ms, 100 * op.share, op.gflops, op.gbytes,
                 100 * op.of_peak, op.name.c_str());
  }
}

// To detect memory that steps leak.
struct MemoryInUse {
  int64_t host, device = 0;  // bytes; 0 where the device is the host
};

MemoryInUse memory_in_use(const Device& device) {
  return device.visit([]<typename Context>(const Context& ctx) {
    MemoryInUse used{static_cast<int64_t>(used_memory())};
    if constexpr (!std::is_same_v<Context, CpuContext>) {
      const auto [free, total] = free_and_total(ctx);
      used.device = static_cast<int64_t>(total - free);
    }
    return used;
  });
}

void bench_step(StepFlags flags, Team& team) {
  flags.gpu = team.gpu();
  const Device device = open_device(flags);
  RandomStep random(flags.options, device, dtype_of(flags.dtype), team);
  TrainingStep& step = random.step();
  const TrainOptions& options = random.options();
  const GptConfig& config = options.model;
  Model& model = random.model();
  if (options.tune) {
    const Tuned tuned = tune_products(step, random.fill(), device, team, "");
    if (team.is_main() && !tuned.note.empty()) std::fprintf(stderr, "%s\n", tuned.note.c_str());
  }
  const auto one_step = [&] { random.run(); };
  one_step();  // touches every page
  one_step();  // captures the CUDA graph
  step.profile(flags.profile);
  const MemoryInUse before = memory_in_use(device);
  const CollectiveQueue::Times exchanged_before = step.exchanged();
  const int64_t timed_before = step.timed_steps();
  const double ms = device.visit([&](const auto& ctx) { return median_ms(ctx, flags.steps, one_step); });
  for (int i = 0; i < 3 && step.timed_steps() == timed_before + i; ++i) {  // a CUDA graph is timed by result()
    one_step();
    step.result();
  }
  const MemoryInUse after = memory_in_use(device);
  const CollectiveQueue::Times exchanged = step.exchanged();
  if (!team.is_main()) return;
  const double peak = team.size() * peak_gflops(device, model.parameters().dtype());
  const double tokens = static_cast<double>(options.batch) * config.context;
  const double gflops = model.flops_per_token(config.context) * tokens / ms * 1e-6;
  nlohmann::ordered_json results = {
      {"median_ms", ms},     {"tokens_per_s", 1000 * tokens / ms}, {"gflops", gflops},
      {"peak_gflops", peak}, {"share_of_peak", gflops / peak},     {"device", device.name()}};
  if (team.size() > 1) {
    const double busy = exchanged.busy - exchanged_before.busy, waited = exchanged.waited - exchanged_before.waited;
    const auto steps = static_cast<double>(step.timed_steps() - timed_before);
    results.update({{"ranks", team.size()},
                    {"exchanged_mbytes", 1e-6 * (exchanged.bytes - exchanged_before.bytes) / steps},
                    {"exchange_ms", 1000 * busy / steps},
                    {"exposed_ms", 1000 * waited / steps},
                    {"hidden", busy > 0 ? std::max(0.0, 1 - waited / busy) : 0.0}});
  }
  if (device.is_cpu()) results["threads"] = std::get<CpuContext>(device.context()).threads;
  if (flags.profile) {
    const double bandwidth = measure_bandwidth(device);
    const auto ops = op_times(step.profiled(), flags.steps + 1, peak, bandwidth);
    print_profile(ops);
    results["bandwidth_gbytes"] = bandwidth;
    for (const OpTime& op : flags.json ? ops : std::vector<OpTime>())
      results["ms: " + op.name] = op.ms, results["of peak: " + op.name] = op.of_peak;
  }
  if (flags.evaluate) {
    constexpr int kBatches = 20;
    Evaluator evaluator(model, options.micro_batch, config.context, options.attention, options.loss_chunk,
                        options.graph);
    const auto several = [&] { evaluator.mean_loss(random.fill(), kBatches); };
    const double batch_ms = device.visit([&](const auto& ctx) { return median_ms(ctx, 5, several); }) / kBatches;
    results["evaluation_ms_per_micro_batch"] = batch_ms;
  }
  results.update({{"parameters", model.parameters().count()},
                  {"arena_bytes", step.arena_bytes()},
                  {"device_bytes", step.arena_bytes() + model.parameters().bytes()},
                  {"peak_bytes", peak_memory()},
                  {"host_growth_bytes", after.host - before.host},
                  {"device_growth_bytes", after.device - before.device}});
  print_results(results, flags.json);
}

}  // namespace

void register_bench_step(CLI::App& bench) {
  CLI::App& command = *bench.add_subcommand("step", "A whole optimizer step on random tokens");
  const auto flags = std::make_shared<StepFlags>();
  TrainOptions& options = flags->options;
  options.model.vocab = 65;
  std::vector<std::string_view> names = {"dropout",   "batch",      "micro-batch", "attention",
                                         "recompute", "loss-chunk", "optimizer",   "optimizer-dtype",
                                         "graph",     "tune",       "zero",        "bucket-mb"};
  names.insert(names.end(), kRankOptions.begin(), kRankOptions.end());
  add_model_flags(command, options, names);
  add_count(command, "--steps", flags->steps, "Timed steps; the median is printed");
  command.add_flag("--evaluate", flags->evaluate, "Time the evaluation of micro-batches too");
  command.add_flag("--profile", flags->profile, "Print on standard error where the time goes");
  add_bench_flags(command, *flags);
  command.callback([flags] {
    run_in_team(flags->options, flags->device, [&](Team& team) { bench_step(on_this_machine(*flags), team); });
  });
}

}  // namespace glint
