#include "train/plan.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "models/gpt.h"
#include "src/partition.h"
#include "train/machine.h"
#include "train/peak.h"
#include "train/training_step.h"

namespace glint {

namespace {

// Adds a profiled node's number to the right one of the three.
void add(PlanWork::Part& part, const std::string& name, double flops, double bytes) {
  if (name.starts_with("linear")) part.products += flops;
  else if (name.starts_with("attention")) part.attention += flops;
  else part.bytes += bytes;
}

double seconds(const PlanWork::Part& part, const PlanDevice& device) {
  return part.products / device.product_rate + part.attention / device.attention_rate + part.bytes / device.byte_rate;
}

// A reduce-scatter or an all-gather of so many bytes in k buckets.
double half_of_messages(double bytes, double k, const PlanRun& run, const PlanDevice& device) {
  const double N = run.devices;
  const double rate = run.devices > device.per_node ? std::min(device.per_node * device.net, device.link) : device.link;
  return (N - 1) / N * bytes / rate + k * std::ceil(std::log2(N)) * device.latency;
}

}  // namespace

PlanWork work_of(const PlanRun& run) {
  Gpt model(run.model, CpuContext{1, default_matmul_engine()}, run.dtype, Weights::laid_out);
  const RngState rng;
  Graph graph({.device = model.parameters().device(),
               .dtype = run.dtype,
               .training = true,
               .rng = &rng,
               .global_batch = run.batch,
               .recompute = run.recompute});
  const Shape shape{run.micro_batch, run.model.context};
  const Tensor tokens = graph.input("tokens", shape, DType::i32), targets = graph.input("targets", shape, DType::i32);
  graph.keep(cross_entropy(graph, model.head(graph, model.hidden(graph, tokens, run.attention)), targets, 1.0f));
  PlanWork work;
  work.arena = static_cast<double>(graph.plan());
  work.parameters = static_cast<double>(model.parameters().elements());
  work.decayed = static_cast<double>(model.parameters().decayed_elements());
  for (const auto& [name, stats] : graph.work())
    add(name.ends_with(" backward") || name.ends_with(" recompute") ? work.backward : work.forward, name, stats.flops,
        stats.bytes);
  return work;
}

Plan plan_of(const PlanRun& run, const PlanWork& work, const PlanDevice& device) {
  const double n = work.parameters, N = run.devices, part = run.zero ? 1 / N : 1;
  const bool bf16 = run.dtype == DType::bf16;
  Plan plan;
  plan.arena = work.arena;
  plan.weights = 4 * n + 8 * n * part;
  plan.weights += bf16 ? 2 * n + 4 * work.decayed * part + 4 * (n - work.decayed) : 4 * n;

  const double micro_batches = static_cast<double>(run.batch) / N / run.micro_batch;
  const double touched =
      (bf16 ? 34 : 32) * n * part;  // the gradient twice; weight and moments there and back; the rounded copy
  plan.backward = seconds(work.backward, device);
  plan.compute = micro_batches * (seconds(work.forward, device) + plan.backward) + touched / device.byte_rate;

  if (run.devices == 1) return plan;
  // Buckets as partition_of() cuts them, near enough: of equal size.
  const double bucket = std::min(run.bucket_bytes, std::max(4.0 * (1 << 18), 4 * n / 12)),
               k = std::ceil(4 * n / bucket);
  const double half = half_of_messages(4 * n, k, run, device), reduced = run.zero ? half : 2 * half;
  const double gathered = run.zero ? half_of_messages(bf16 ? 2 * n : 4 * n, k, run, device) : 0;
  plan.messages = reduced + gathered;
  plan.exposed = std::max(reduced / k, reduced - (1 - 1 / k) * plan.backward) + gathered;
  return plan;
}

// Peaks and links by NVIDIA's data sheets (H100 SXM5, H200 SXM, A100 SXM4 80 GB: dense bf16, HBM, NVLink each way), 50
// GB/s a GPU between nodes (one NDR InfiniBand port each) or 25 (HDR). What is reached of them is a guess to be
// replaced by figures of one's own: 60% in products (nanoGPT reports 50% of an A100's peak for whole steps), 35% in
// attention, 80% of the bandwidths.
PlanDevice device_preset(const std::string& name) {
  struct Sheet {
    const char* name;
    double memory_gb, tflops, memory_gbs, link_gbs, net_gbs;
  };
  constexpr Sheet kSheets[] = {
      {"h100", 80, 989, 3350, 450, 50}, {"h200", 141, 989, 4800, 450, 50}, {"a100", 80, 312, 2039, 300, 25}};
  for (const Sheet& sheet : kSheets)
    if (name == sheet.name)
      return {name,
              sheet.memory_gb * 1e9,
              0.6e12 * sheet.tflops,
              0.35e12 * sheet.tflops,
              0.8e9 * sheet.memory_gbs,
              8,
              0.8e9 * sheet.link_gbs,
              0.8e9 * sheet.net_gbs,
              10e-6};
  throw UserError("--device " + name + ": there are data sheets of h100, h200 and a100, and `here` is measured");
}

PlanDevice measured_cpu(const PlanRun& run, int threads) {
  GptConfig config = run.model;
  config.layers = std::min(2, config.layers);
  const int batch = std::min(run.micro_batch, std::max(1, 2048 / config.context));
  Gpt model(config, CpuContext{threads, default_matmul_engine()}, run.dtype);
  model.initialize(1);
  RngState rng{.seed = 1};
  TrainingStep step(model, {batch, batch, config.context, run.attention, run.recompute, {}, 1.0}, rng);
  const FillBatch fill = [&](int32_t* tokens, int32_t* targets, uint64_t, int count) {
    for (int i = 0; i < count * config.context; ++i)
      tokens[i] = i * 7 % config.vocab, targets[i] = i * 5 % config.vocab;
  };
  step.run(fill, 1e-4);  // touches every page
  step.profile(true);
  double spent_seconds = 0;
  for (int steps = 0; steps < 3 || (spent_seconds < 1 && steps < 100); ++steps) {
    step.run(fill, 1e-4);
    spent_seconds = 0;
    for (const auto& [name, stats] : step.profiled()) spent_seconds += stats.seconds;
  }
  PlanWork::Part work, time;
  for (const auto& [name, stats] : step.profiled()) {
    add(work, name, stats.flops, stats.bytes);
    add(time, name, stats.seconds, stats.seconds);
  }
  PlanDevice device;
  device.name = cpu_name();
  device.product_rate = work.products / time.products;
  device.attention_rate = work.attention / time.attention;
  device.byte_rate = work.bytes / time.bytes;
  device.per_node = 1 << 20;
  // A message is copied twice, out of one process into the kernel and from there into the other, and added up: read,
  // read, written.
  device.link = device.net = measure_bandwidth(threads) * 1e9 / 8;
  device.latency = 100e-6;
  device.memory = static_cast<double>(machine_memory());
  return device;
}

}  // namespace glint
