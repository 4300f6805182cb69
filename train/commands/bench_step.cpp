// glint bench step: whole optimizer steps of a model, and where their time goes.
#include <algorithm>

#include "models/model.h"
#include "src/machine.h"
#include "src/measure/peak.h"
#include "train/commands/bench.h"
#include "train/evaluator.h"
#include "train/training_step.h"
#include "train/tuning.h"

namespace glint {

namespace {

struct StepFlags : BenchFlags {
  TrainOptions options;  // all but those of BenchFlags
  float dropout = 0.0f;
  int steps = 20;
  bool profile = false, evaluate = false;
};

// Where the time goes, and the share of the device's peak in products or bandwidth that each op reaches (the roofline
// of S. Williams, A. Waterman, D. Patterson, 2009).
void print_profile(const Profile& profile, double steps, double peak_gflops, double bandwidth) {
  std::vector<std::pair<OpStats, std::string>> rows;
  double total = 0;
  for (const auto& [name, stats] : profile) {
    rows.emplace_back(stats, name);
    total += stats.seconds;
  }
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.first.seconds > b.first.seconds; });
  std::fprintf(stderr, "%11s %7s %10s %8s %8s\n", "ms", "share", "GFLOP/s", "GB/s", "of peak");
  for (const auto& [stats, name] : rows) {
    const double gflops = 1e-9 * stats.flops / stats.seconds, gbytes = 1e-9 * stats.bytes / stats.seconds;
    std::fprintf(stderr, "%11.3f %6.1f%% %10.0f %8.1f %7.0f%%  %s\n", 1000 * stats.seconds / steps,
                 100 * stats.seconds / total, gflops, gbytes, 100 * std::max(gflops / peak_gflops, gbytes / bandwidth),
                 name.c_str());
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
  TrainOptions& options = flags.options;
  GptConfig& config = options.model;
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  GLINT_REQUIRE(options.batch >= 1 && options.batch % team.size() == 0, "--batch ", options.batch,
                " does not divide over ", team.size(), " ranks");
  const int share = options.batch / team.size();
  if (options.micro_batch == 0) options.micro_batch = share;
  GLINT_REQUIRE(options.loss_chunk >= 0, "--loss-chunk ", options.loss_chunk, ": give 0 or more");
  config.embd_dropout = config.attn_dropout = config.resid_dropout = flags.dropout;
  GLINT_REQUIRE(options.micro_batch >= 1 && share % options.micro_batch == 0, "--micro-batch ", options.micro_batch,
                " does not divide --batch ", options.batch,
                team.size() > 1 ? str_cat(" / ", team.size(), " ranks") : "");
  flags.gpu = team.gpu();
  const Device device = open_device(flags);
  const auto model = make_model(config, device, dtype_of(flags.dtype));
  model->initialize(1);
  TrainingStep step(*model, step_settings(options, team), {.seed = 1});
  const FillBatch fill = [&](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
    for (int i = 0; i < count * config.context; ++i) {
      const uint32_t place = static_cast<uint32_t>(i) + static_cast<uint32_t>(first) * 7919u +
                             static_cast<uint32_t>(step.rng().step) * 104729u;
      tokens[i] = static_cast<int32_t>(place * 2654435761u % static_cast<uint32_t>(config.vocab));
      targets[i] = static_cast<int32_t>((place + 1) * 2654435761u % static_cast<uint32_t>(config.vocab));
    }
  };
  if (options.tune) {
    const Tuned tuned = tune_products(step, fill, device, team, "");
    if (team.is_main() && !tuned.note.empty()) std::fprintf(stderr, "%s\n", tuned.note.c_str());
  }
  const auto one_step = [&] { step.run(fill, 1e-4); };
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
  const double peak = team.size() * peak_gflops(device, model->parameters().dtype());
  const double tokens = static_cast<double>(options.batch) * config.context;
  const double gflops = model->flops_per_token(config.context) * tokens / ms * 1e-6;
  std::vector<BenchResult> results = {
      {"median_ms", ms},     {"tokens_per_s", 1000 * tokens / ms}, {"gflops", gflops},
      {"peak_gflops", peak}, {"share_of_peak", gflops / peak},     {"device", device.name()}};
  if (team.size() > 1) {
    const double busy = exchanged.busy - exchanged_before.busy, waited = exchanged.waited - exchanged_before.waited;
    const auto steps = static_cast<double>(step.timed_steps() - timed_before);
    results.insert(results.end(), {{"ranks", int64_t{team.size()}},
                                   {"exchanged_mbytes", 1e-6 * (exchanged.bytes - exchanged_before.bytes) / steps},
                                   {"exchange_ms", 1000 * busy / steps},
                                   {"exposed_ms", 1000 * waited / steps},
                                   {"hidden", busy > 0 ? std::max(0.0, 1 - waited / busy) : 0.0}});
  }
  if (device.is_cpu()) results.push_back({"threads", int64_t{std::get<CpuContext>(device.context()).threads}});
  if (flags.profile) {
    const double bandwidth = measure_bandwidth(device);
    print_profile(step.profiled(), flags.steps + 1, peak, bandwidth);
    results.push_back({"bandwidth_gbytes", bandwidth});
    for (const auto& [name, stats] : flags.json ? step.profiled() : Profile{})
      results.insert(results.end(), {{"ms: " + name, 1000 * stats.seconds / (flags.steps + 1)},
                                     {"of peak: " + name,
                                      1e-9 * std::max(stats.flops / peak, stats.bytes / bandwidth) / stats.seconds}});
  }
  if (flags.evaluate) {
    constexpr int kBatches = 20;
    Evaluator evaluator(*model, options.micro_batch, config.context, options.attention, options.loss_chunk,
                        options.graph);
    const auto several = [&] { evaluator.mean_loss(fill, kBatches); };
    const double batch_ms = device.visit([&](const auto& ctx) { return median_ms(ctx, 5, several); }) / kBatches;
    results.push_back({"evaluation_ms_per_micro_batch", batch_ms});
  }
  results.insert(results.end(), {{"parameters", model->parameters().count()},
                                 {"arena_bytes", step.arena_bytes()},
                                 {"device_bytes", step.arena_bytes() + model->parameters().bytes()},
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
  add_model_flags(command, options.model);
  add_option(command, "--dropout", flags->dropout, "Drop probability, everywhere");
  add_option(command, "--batch", options.batch, "Sequences per step");
  add_option(command, "--micro-batch", options.micro_batch, "Sequences per pass; 0: as --batch");
  add_count(command, "--steps", flags->steps, "Timed steps; the median is printed");
  add_option(command, "--attention", options.attention, "Kernel");
  add_option(command, "--recompute", options.recompute, "Recompute activations in backward: slower, less memory");
  add_option(command, "--loss-chunk", options.loss_chunk, "Rows of logits in memory at a time; 0: all");
  add_option(command, "--optimizer", options.optimizer, "Muon: for the matrices of layers");
  add_option(command, "--optimizer-dtype", options.optimizer_dtype, "Number format of AdamW's moments");
  add_option(command, "--graph", options.graph, "On a GPU: run a step as one CUDA graph");
  add_option(command, "--tune", options.tune,
             "On a GPU: measure which algorithm is the fastest for each matrix product");
  command.add_flag("--evaluate", flags->evaluate, "Time the evaluation of micro-batches too");
  command.add_flag("--profile", flags->profile, "Print on standard error where the time goes");
  add_rank_flags(command, options);
  add_option(command, "--zero", options.zero, "1: each rank stores only its part of AdamW's moments (ZeRO stage 1)");
  add_option(command, "--bucket-mb", options.bucket_mb, "Largest bucket of gradients sent at once, MiB");
  add_bench_flags(command, *flags);
  command.callback([flags] {
    run_in_team(flags->options, flags->device, [&](Team& team) { bench_step(on_this_machine(*flags), team); });
  });
}

}  // namespace glint
