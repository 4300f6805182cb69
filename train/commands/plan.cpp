// glint plan: memory, time and scaling of a run, before there are the devices for it.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <vector>

#include <nlohmann/json.hpp>

#include "kernels/check.h"
#include "src/memory.h"
#include "train/commands/commands.h"
#include "train/options.h"
#include "train/plan.h"

namespace glint {

namespace {

struct PlanFlags {
  PlanRun run;
  DtypeChoice dtype = DtypeChoice::bf16;
  std::string device = "h100", devices = "8-1024";
  int batch = 0, each = 16, threads = 1;
  double memory_gb = 0, product_tflops = 0, attention_tflops = 0, memory_gbs = 0, link_gbs = 0, net_gbs = 0, latency_us = -1;
  int per_node = 0;
  bool json = false;
};

// "1,2,6" or "8-1024", which doubles.
std::vector<int> counts_of(const std::string& text) {
  std::vector<int> counts;
  const char *at = text.data(), *const last = at + text.size();
  while (true) {
    int first = 0;
    const auto [end, error] = std::from_chars(at, last, first);
    GLINT_REQUIRE(error == std::errc() && first >= 1 && first <= 1 << 20, "--devices ", text, ": give numbers as 1,2,6 or 8-1024 (which doubles)");
    at = end;
    counts.push_back(first);
    if (at != last && *at == '-') {
      int most = 0;
      const auto [stop, fault] = std::from_chars(at + 1, last, most);
      GLINT_REQUIRE(fault == std::errc() && most >= first && most <= 1 << 20, "--devices ", text, ": give numbers as 1,2,6 or 8-1024 (which doubles)");
      at = stop;
      while (counts.back() <= most / 2) counts.push_back(2 * counts.back());
    }
    if (at == last) return counts;
    GLINT_REQUIRE(*at == ',', "--devices ", text, ": give numbers as 1,2,6 or 8-1024 (which doubles)");
    ++at;
  }
}

PlanDevice device_of(const PlanFlags& flags) {
  PlanDevice device = flags.device == "here" ? measured_cpu(flags.run, flags.threads) : device_preset(flags.device);
  const auto set = [](double& to, double given, double unit) {
    if (given > 0) to = given * unit;
  };
  set(device.memory, flags.memory_gb, 1e9);
  set(device.product_rate, flags.product_tflops, 1e12);
  set(device.attention_rate, flags.attention_tflops, 1e12);
  set(device.byte_rate, flags.memory_gbs, 1e9);
  set(device.link, flags.link_gbs, 1e9);
  set(device.net, flags.net_gbs, 1e9);
  if (flags.latency_us >= 0) device.latency = flags.latency_us * 1e-6;
  if (flags.per_node > 0) device.per_node = flags.per_node;
  return device;
}

// The largest that fits, for what does not.
int fitting_micro_batch(PlanRun run, const PlanDevice& device) {
  for (const int share = run.batch / run.devices; run.micro_batch >= 1; --run.micro_batch)
    if (share % run.micro_batch == 0 && plan_of(run, work_of(run), device).memory() <= device.memory) return run.micro_batch;
  return 0;
}

void print_plan(PlanFlags flags) {
  PlanRun& run = flags.run;
  run.dtype = dtype_of(flags.dtype);
  if (run.model.kv_heads == 0) run.model.kv_heads = run.model.heads;
  run.model.validate();
  GLINT_REQUIRE(flags.batch >= 0 && flags.each >= 1 && run.micro_batch >= 1, "--batch, --batch-per-device and --micro-batch are 1 or more");
  const std::vector<int> counts = counts_of(flags.devices);
  run.batch = flags.batch > 0 ? flags.batch : flags.each;
  const PlanDevice device = device_of(flags);
  const PlanWork work = work_of(run);
  const double tokens = static_cast<double>(run.model.context);
  // Of one device by itself, whose step scaling is measured by.
  run.devices = 1;
  const Plan alone = plan_of(run, work, device);
  const double alone_rate = run.batch * tokens / alone.step();
  auto json = nlohmann::ordered_json::array();
  if (!flags.json) {
    std::printf("%s parameters; a device (%s) reaches %.3g TFLOP/s in products, %.3g in attention, %.4g GB/s of memory, %.3g GB/s to its\n"
                "neighbours, %.3g between nodes of %d. step = compute + exposed, as train/plan.h says: micro-batches x (FLOPs / rates + bytes / rate)\n"
                "+ AdamW; 2 (N-1)/N x gradients / link, less what hides behind backward.\n\n",
                std::to_string(run.model.parameters()).c_str(), device.name.c_str(), 1e-12 * device.product_rate, 1e-12 * device.attention_rate,
                1e-9 * device.byte_rate, 1e-9 * device.link, 1e-9 * device.net, device.per_node);
    std::printf("%7s %7s %22s %20s %24s %17s %15s\n", "devices", "batch", "memory a rank, zero 1", "ms a step, zero 1", "tokens/s, zero 1", "scaling, zero 1", "hidden, zero 1");
  }
  for (const int devices : counts) {
    run.devices = devices;
    run.batch = flags.batch > 0 ? flags.batch : flags.each * devices;
    GLINT_REQUIRE(run.batch % devices == 0, "--batch ", run.batch, " does not divide over ", devices, " devices");
    GLINT_REQUIRE(run.batch / devices % run.micro_batch == 0, "--micro-batch ", run.micro_batch, " does not divide the ", run.batch / devices,
                  " sequences of one of ", devices, " devices");
    Plan plans[2];
    for (const bool zero : {false, true}) {
      run.zero = zero;
      plans[zero] = plan_of(run, work, device);
    }
    const auto rate = [&](const Plan& plan) { return run.batch * tokens / plan.step(); };
    const auto scaling = [&](const Plan& plan) { return rate(plan) / alone_rate / devices; };
    if (flags.json) {
      nlohmann::ordered_json row = {{"devices", devices}, {"batch", run.batch}};
      for (const bool zero : {false, true}) {
        const Plan& plan = plans[zero];
        row[zero ? "zero_1" : "zero_0"] = {{"memory_bytes", plan.memory()}, {"fits", device.memory == 0 || plan.memory() <= device.memory},
                                           {"step_ms", 1000 * plan.step()}, {"compute_ms", 1000 * plan.compute}, {"messages_ms", 1000 * plan.messages},
                                           {"exposed_ms", 1000 * plan.exposed}, {"tokens_per_s", rate(plan)}, {"scaling", scaling(plan)}, {"hidden", plan.hidden()}};
      }
      json.push_back(row);
      continue;
    }
    std::printf("%7d %7d %11s %10s %9.2f %10.2f %12.4g %11.4g %7.1f%% %8.1f%% %6.0f%% %7.0f%%\n", devices, run.batch, human_bytes(plans[0].memory()).c_str(),
                human_bytes(plans[1].memory()).c_str(), 1000 * plans[0].step(), 1000 * plans[1].step(), rate(plans[0]), rate(plans[1]), 100 * scaling(plans[0]),
                100 * scaling(plans[1]), 100 * plans[0].hidden(), 100 * plans[1].hidden());
    for (const bool zero : {false, true}) {
      if (device.memory == 0 || plans[zero].memory() <= device.memory) continue;
      run.zero = zero;
      const int fits = fitting_micro_batch(run, device);
      std::printf("        does not fit%s: a device has %s; %s\n", zero ? " with --zero 1" : "", human_bytes(device.memory).c_str(),
                  fits > 0 ? text("--micro-batch ", fits, " does").c_str() : "nor does --micro-batch 1: try --recompute, or fewer layers or channels");
    }
  }
  if (flags.json) std::printf("%s\n", nlohmann::ordered_json{{"device", device.name}, {"parameters", run.model.parameters()}, {"plans", json}}.dump().c_str());
}

}  // namespace

void register_plan(Command program) {
  Command command = program.add_command("plan", "Predict memory, time and scaling of training by many devices");
  const auto flags = std::make_shared<PlanFlags>();
  GptConfig& model = flags->run.model;
  model.layers = 12, model.heads = 12, model.kv_heads = 0, model.embd = 768, model.context = 1024, model.vocab = 50304;
  flags->run.micro_batch = 16;
  command.add("--layers", model.layers, "Layers");
  command.add("--heads", model.heads, "Query heads");
  command.add("--kv-heads", model.kv_heads, "Key/value heads; 0: as --heads");
  command.add("--embd", model.embd, "Channels");
  command.add("--context", model.context, "Tokens per sequence");
  command.add("--vocab", model.vocab, "Vocabulary");
  command.add_switch("--bias", model.bias, "Biases in linear layers and layer norms");
  command.add_choice("--dtype", flags->dtype, "Arithmetic", {{"fp32", DtypeChoice::fp32}, {"bf16", DtypeChoice::bf16}});
  command.add_switch("--recompute", flags->run.recompute, "Compute a layer again in backward instead of keeping it");
  command.add("--batch", flags->batch, "Sequences per step, of all devices; 0: --batch-per-device of each");
  command.add("--batch-per-device", flags->each, "Sequences per step of one device");
  command.add("--micro-batch", flags->run.micro_batch, "Sequences per pass of one device");
  command.add("--devices", flags->devices, "Numbers of devices: 1,2,6 or 8-1024, which doubles");
  command.add("--device", flags->device, "h100, h200, a100: by data sheet; here: this CPU, measured");
  command.add("--threads", flags->threads, "Of each rank, where it is `here`");
  command.add("--memory-gb", flags->memory_gb, "Instead of the data sheet's: memory, GB");
  command.add("--product-tflops", flags->product_tflops, "What matrix products reach, TFLOP/s");
  command.add("--attention-tflops", flags->attention_tflops, "What attention reaches, TFLOP/s");
  command.add("--memory-gbs", flags->memory_gbs, "What memory reaches, GB/s");
  command.add("--link-gbs", flags->link_gbs, "Bus bandwidth of a device inside its node, GB/s (`bench comm`)");
  command.add("--net-gbs", flags->net_gbs, "The same between nodes, GB/s");
  command.add("--node", flags->per_node, "Devices of a node");
  command.add("--latency-us", flags->latency_us, "Of a hop, microseconds");
  command.add_flag("--json", flags->json, "One JSON object on standard output");
  command.run([flags] { print_plan(*flags); });
}

}  // namespace glint
