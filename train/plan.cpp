#include "train/plan.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/check.h"
#include "src/machine.h"
#include "src/measure/peak.h"
#include "src/memory.h"
#include "src/optimizer.h"
#include "train/random_step.h"

namespace glint {

namespace {

// Adds the work of the nodes of one name to its part.
void add(PlanWork::Part& part, const std::string& name, double flops, double bytes) {
  // Products read and write half of that op's bytes, the loss the other half.
  if (name == "linear_cross_entropy") part.products += flops, part.bytes += bytes / 2;
  else if (name.starts_with("linear")) part.products += flops;
  else if (name == "attention backward") part.attention_backward += flops;
  else if (name.starts_with("attention")) part.attention += flops;
  else part.bytes += bytes;
}

double seconds(const PlanWork::Part& part, const PlanDevice& device) {
  const double bytes = part.bytes + (device.gelu_apart ? part.gelu : 0);
  return part.products / device.product_rate + part.attention / device.attention_rate +
         part.attention_backward / device.attention_backward_rate + bytes / device.byte_rate;
}

// The exact GELU is a kernel beside the product: forward reads one array and writes one, backward reads two and writes
// one. The other one is part of the product.
void add_gelu(PlanWork& work, const PlanRun& run) {
  if (run.model.activation != Gelu::erf || run.model.kind != ModelKind::gpt2) return;
  const double array = static_cast<double>(run.micro_batch) * run.model.context * run.model.hidden() *
                       run.model.layers * static_cast<double>(bytes_of(run.dtype));
  work.forward.gelu = 2 * array;
  work.backward.gelu = (run.recompute ? 5 : 3) * array;
}

// Of attention's backward.
double hopper_scratch(const PlanRun& run) {
  const GptConfig& model = run.model;
  const AttentionShape shape{.B = run.micro_batch, .T = model.context, .NH = model.heads, .HS = model.head_size()};
  return run.dtype == DType::bf16 ? 4.0 * static_cast<double>(HopperBackwardScratch(shape).all()) : 0;
}

// Seconds of a reduce-scatter or an all-gather of that many bytes in k buckets.
double half_of_messages(double bytes, double k, const PlanRun& run, const PlanDevice& device) {
  const double N = run.devices;
  const double link = device.link;
  const double rate = run.devices > device.per_node ? std::min(device.per_node * device.net, link) : link;
  return (N - 1) / N * bytes / rate + k * std::ceil(std::log2(N)) * device.latency;
}

constexpr double kAbsurd = 0x1p43;  // bytes of one tensor, 9 TB: far below what overflows

// The size of a weight or an activation, in double.
double largest_tensor(const PlanRun& run) {
  const GptConfig& model = run.model;
  const double C = model.embd, context = model.context, vocab = model.vocab, tokens = run.micro_batch * context;
  const double scores = run.attention == AttentionKind::reference ? tokens * model.heads * context : 0;
  const double rows_of_logits = run.loss_chunk > 0 ? std::min<double>(run.loss_chunk, tokens) : tokens;
  return 4 * std::max({4 * C * C, (vocab + context) * C, tokens * 4 * C, rows_of_logits * vocab, scores});
}

Partition partition_of(const PlanRun& run, const Parameters& parameters) {
  return partition_of(parameters, 0, run.devices,
                      {static_cast<size_t>(run.bucket_bytes), run.zero, run.moments, run.muon});
}

double weight_bytes_of(const Parameters& parameters, const Partition& partition) {
  return static_cast<double>(training_bytes(parameters, partition) + muon_scratch(parameters, partition));
}

}  // namespace

const char* name_of(RateSource source) {
  switch (source) {
    case RateSource::guessed:
      return "guessed";
    case RateSource::measured:
      return "measured";
    case RateSource::given:
      return "given";
  }
  return "";
}

PlanRun plan_run(const TrainOptions& o) {
  PlanRun run{.model = o.model,
              .dtype = dtype_of(o.dtype),
              .attention = o.attention,
              .recompute = o.recompute,
              .loss_chunk = o.loss_chunk,
              .batch = o.batch,
              .micro_batch = o.micro_batch,
              .devices = o.ranks,
              .zero = o.zero == 1,
              .moments = dtype_of(o.optimizer_dtype),
              .muon = o.optimizer == Optimizer::muon};
  run.model.vocab = std::max(run.model.vocab, 1);  // unknown before the data are read
  return run;
}

std::unique_ptr<Model> planned_model(const PlanRun& run) {
  const double largest = largest_tensor(run), tokens = static_cast<double>(run.micro_batch) * run.model.context;
  GLINT_REQUIRE(largest <= kAbsurd, "no machine has the memory for a model of --embd ", run.model.embd,
                " with --micro-batch ", run.micro_batch, " and --context ", run.model.context,
                ": its largest tensor takes ", human_bytes(largest));
  GLINT_REQUIRE(run.model.layers <= 10'000, "--layers ", run.model.layers, ": no more than 10000 can be planned");
  GLINT_REQUIRE(tokens <= INT32_MAX, "--micro-batch ", run.micro_batch, " of --context ", run.model.context,
                " is more than 2^31 tokens in one pass: lower one of them");
  return make_model(run.model, CpuContext{1, default_matmul_engine()}, run.dtype, Weights::laid_out);
}

PlanWork work_of(const PlanRun& run, Model& model) {
  const RngState rng;
  Graph graph({.device = model.parameters().device(),
               .dtype = run.dtype,
               .training = true,
               .rng = &rng,
               .global_batch = run.batch,
               .recompute = run.recompute});
  const Shape shape{run.micro_batch, run.model.context};
  const Tensor tokens = graph.input("tokens", shape, DType::i32), targets = graph.input("targets", shape, DType::i32);
  // Recorded on the CPU, which has one set of fused kernels.
  const AttentionKind attention = run.attention == AttentionKind::flash_sm80 ? AttentionKind::flash : run.attention;
  graph.keep(model.loss(graph, tokens, targets, attention, 1.0f, run.loss_chunk));
  PlanWork work;
  work.arena = static_cast<double>(graph.plan());
  for (const auto& [name, stats] : graph.work())
    add(name.ends_with(" backward") || name.ends_with(" recompute") ? work.backward : work.forward, name, stats.flops,
        stats.bytes);
  add_gelu(work, run);
  return work;
}

Plan plan_of(const PlanRun& run, const Parameters& parameters, const PlanWork& work, const PlanDevice& device) {
  const Partition partition = partition_of(run, parameters);
  Plan plan;
  plan.arena = work.arena;
  plan.scratch = device.hopper ? hopper_scratch(run) : 0;
  plan.weights = weight_bytes_of(parameters, partition);

  const double micro_batches = static_cast<double>(run.batch) / run.devices / run.micro_batch;
  plan.backward = seconds(work.backward, device);
  plan.compute = micro_batches * (seconds(work.forward, device) + plan.backward) +
                 static_cast<double>(optimizer_traffic(parameters, partition)) / device.byte_rate +
                 muon_flops(parameters, partition) / device.product_rate;

  if (run.devices == 1) return plan;
  const auto n = static_cast<double>(parameters.elements()), k = static_cast<double>(partition.buckets.size());
  const double half = half_of_messages(4 * n, k, run, device), reduced = run.zero ? half : 2 * half;
  const double weight_bytes = run.dtype == DType::bf16 ? 2 * n : 4 * n;
  const double gathered = run.zero ? half_of_messages(weight_bytes, k, run, device) : 0;
  const double updates = 2 * half_of_messages(4 * static_cast<double>(partition.muon), k, run, device);
  const double behind = gathered + (run.muon ? updates : 0);
  plan.messages = reduced + behind;
  plan.exposed = std::max(reduced / k, reduced - (1 - 1 / k) * plan.backward) + behind;
  return plan;
}

double memory_of(const PlanRun& run) {
  if (const double largest = largest_tensor(run); largest > kAbsurd) return largest;
  const auto with_layers = [&](int layers) {
    PlanRun few = run;
    few.model.layers = layers;
    few.bucket_bytes = PlanRun().bucket_bytes;  // does not change memory; avoids many tiny buckets in a huge model
    const auto model = planned_model(few);
    return weight_bytes_of(model->parameters(), partition_of(few, model->parameters())) + work_of(few, *model).arena;
  };
  constexpr int kFew = 3;
  if (run.model.layers <= kFew) return with_layers(run.model.layers);
  const double few = with_layers(kFew);
  return few + (run.model.layers - kFew) * (few - with_layers(kFew - 1));
}

PlanDevice measured_cpu(const PlanRun& run, int threads) {
  TrainOptions options;
  options.model = run.model, options.attention = run.attention, options.recompute = run.recompute;
  options.model.layers = std::min(2, run.model.layers);
  options.batch = options.micro_batch = std::min(run.micro_batch, std::max(1, 2048 / run.model.context));
  Team alone({}, "", options);
  RandomStep random(options, CpuContext{threads, default_matmul_engine()}, run.dtype, alone);
  random.run();  // touches every page
  TrainingStep& step = random.step();
  step.profile(true);
  double spent_seconds = 0;
  for (int steps = 0; steps < 3 || (spent_seconds < 1 && steps < 100); ++steps) {
    random.run();
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
  const auto rate = [](double done, double seconds) { return Rate(done / seconds, RateSource::measured); };
  device.product_rate = rate(work.products, time.products);
  device.attention_rate = rate(work.attention, time.attention);
  device.attention_backward_rate = rate(work.attention_backward, time.attention_backward);
  device.byte_rate = rate(work.bytes, time.bytes);
  device.per_node = 1 << 20;
  // A message is copied into the kernel by one process, out of it by the other, and then added.
  device.link = device.net = measure_bandwidth(threads) * 1e9 / 8;
  device.latency = 100e-6;
  device.memory = static_cast<double>(machine_memory());
  return device;
}

}  // namespace glint
