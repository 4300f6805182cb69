// glint plan: predicted memory, time and scaling of a run.
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
#include "train/text.h"

namespace glint {

namespace {

constexpr double kUnknownLatency = -1;

struct PlanFlags {
  TrainOptions options;  // of the model, the pass and the optimizer
  std::string device = "h100", devices = "8-1024";
  int batch = 0, each = 16, threads = 1;
  double memory_gb = 0, product_tflops = 0, attention_tflops = 0, memory_gbs = 0, link_gbs = 0, net_gbs = 0,
         latency_us = kUnknownLatency;
  int per_node = 0;
  bool json = false, micro_given = false;
};

// "1,2,6" or "8-1024", which doubles.
std::vector<int> counts_of(const std::string& list) {
  constexpr int kMost = 1 << 20;
  std::vector<int> counts;
  const char *at = list.data(), *const last = at + list.size();
  const auto number = [&](int least) {
    int value = 0;
    const auto [end, error] = std::from_chars(at, last, value);
    GLINT_REQUIRE(error == std::errc() && least <= value && value <= kMost, "--devices ", list,
                  ": give numbers as 1,2,6 or 8-1024 (which doubles)");
    at = end;
    return value;
  };
  for (char next = ','; next == ','; next = at == last ? '\0' : *at++) {
    counts.push_back(number(1));
    if (at == last || *at != '-') continue;
    ++at;
    for (const int most = number(counts.back()); counts.back() <= most / 2;) counts.push_back(2 * counts.back());
  }
  GLINT_REQUIRE(at == last, "--devices ", list, ": give numbers as 1,2,6 or 8-1024 (which doubles)");
  return counts;
}

PlanDevice device_of(const PlanFlags& flags, const PlanRun& run) {
  PlanDevice device = flags.device == "here" ? measured_cpu(run, flags.threads) : device_preset(flags.device, run);
  const auto set = [](Rate& to, double given, double unit) {
    if (given > 0) to = {given * unit, RateSource::given};
  };
  if (flags.memory_gb > 0) device.memory = flags.memory_gb * 1e9;
  set(device.product_rate, flags.product_tflops, 1e12);
  set(device.attention_rate, flags.attention_tflops, 1e12);
  set(device.attention_backward_rate, flags.attention_tflops, 1e12);
  set(device.byte_rate, flags.memory_gbs, 1e9);
  set(device.link, flags.link_gbs, 1e9);
  set(device.net, flags.net_gbs, 1e9);
  if (flags.latency_us >= 0) device.latency = {flags.latency_us * 1e-6, RateSource::given};
  if (flags.per_node > 0) device.per_node = flags.per_node;
  return device;
}

// The largest that fits; 0: none.
int fitting_micro_batch(PlanRun run, Model& model, const PlanDevice& device) {
  const int share = run.batch / run.devices;
  for (; run.micro_batch >= 1; --run.micro_batch) {
    if (share % run.micro_batch != 0) continue;
    if (plan_of(run, model.parameters(), work_of(run, model), device).memory() <= device.memory) break;
  }
  return run.micro_batch;
}

struct Row {
  PlanRun run;
  Plan plans[2];      // without and with --zero 1
  double alone_rate;  // tokens/s of one device, the reference of scaling

  double rate(int zero) const { return static_cast<double>(run.batch) * run.model.context / plans[zero].step(); }
  double scaling(int zero) const { return rate(zero) / alone_rate / run.devices; }
};

std::vector<Row> rows_of(const PlanFlags& flags, const PlanRun& alone, Model& model, const PlanDevice& device) {
  std::vector<Row> rows;
  Row row{alone, {}, 1.0};
  PlanRun& run = row.run;
  const PlanWork work = work_of(run, model);
  row.plans[0] = plan_of(run, model.parameters(), work, device);
  row.alone_rate = row.rate(0);
  for (const int devices : counts_of(flags.devices)) {
    run.devices = devices;
    run.batch = flags.batch > 0 ? flags.batch : flags.each * devices;
    GLINT_REQUIRE(run.batch % devices == 0, "--batch ", run.batch, " does not divide over ", devices, " devices");
    GLINT_REQUIRE(run.batch / devices % run.micro_batch == 0, "--micro-batch ", run.micro_batch,
                  " does not divide the ", run.batch / devices, " sequences of one of ", devices, " devices");
    for (const bool zero : {false, true}) {
      run.zero = zero;
      row.plans[zero] = plan_of(run, model.parameters(), work, device);
    }
    rows.push_back(row);
  }
  return rows;
}

nlohmann::ordered_json rates_json(const PlanDevice& device) {
  const auto one = [](const Rate& rate, double unit) -> nlohmann::ordered_json {
    return {{"value", rate / unit}, {"source", name_of(rate.source)}};
  };
  nlohmann::ordered_json rates = {{"product_tflops", one(device.product_rate, 1e12)},
                                  {"attention_tflops", one(device.attention_rate, 1e12)},
                                  {"attention_backward_tflops", one(device.attention_backward_rate, 1e12)},
                                  {"memory_gbs", one(device.byte_rate, 1e9)},
                                  {"link_gbs", one(device.link, 1e9)},
                                  {"net_gbs", one(device.net, 1e9)},
                                  {"latency_us", one(device.latency, 1e-6)}};
  if (!device.note.empty()) rates["note"] = device.note;
  return rates;
}

void print_json(const std::vector<Row>& rows, const Model& model, const PlanDevice& device) {
  auto plans = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    const auto one = [&](int zero) -> nlohmann::ordered_json {
      const Plan& plan = row.plans[zero];
      return {{"memory_bytes", plan.memory()},
              {"scratch_bytes", plan.scratch},
              {"fits", device.memory == 0 || plan.memory() <= device.memory},
              {"step_ms", 1000 * plan.step()},
              {"compute_ms", 1000 * plan.compute},
              {"messages_ms", 1000 * plan.messages},
              {"exposed_ms", 1000 * plan.exposed},
              {"tokens_per_s", row.rate(zero)},
              {"scaling", row.scaling(zero)},
              {"hidden", plan.hidden()}};
    };
    plans.push_back({{"devices", row.run.devices}, {"batch", row.run.batch}, {"zero_0", one(0)}, {"zero_1", one(1)}});
  }
  const nlohmann::ordered_json all = {{"device", device.name},
                                      {"rates", rates_json(device)},
                                      {"parameters", model.parameters().count()},
                                      {"plans", plans}};
  std::printf("%s\n", all.dump().c_str());
}

void print_row(const Row& row) {
  std::printf("%7d %7d", row.run.devices, row.run.batch);
  for (const Plan& plan : row.plans) std::printf(" %8s", human_bytes(plan.memory()).c_str());
  for (const Plan& plan : row.plans) std::printf(" %9.2f", 1000 * plan.step());
  for (const int zero : {0, 1}) {
    const double rate = row.rate(zero);
    std::printf(rate < 1e4 ? " %9.0f" : " %8.0fk", rate < 1e4 ? rate : 1e-3 * rate);
  }
  for (const int zero : {0, 1}) std::printf(" %6.1f%%", 100 * row.scaling(zero));
  for (const Plan& plan : row.plans) std::printf(" %5.0f%%", 100 * plan.hidden());
  std::printf("\n");
}

void print_table(const std::vector<Row>& rows, Model& model, const PlanDevice& device) {
  const auto rate = [](const Rate& it, double unit) {
    return str_cat(formatted(it < 100 * unit ? "%.3g" : "%.0f", it / unit), " (", name_of(it.source), ")");
  };
  const auto format = [](DType dtype) { return dtype == DType::bf16 ? "bf16" : "fp32"; };
  std::printf(
      "%s parameters in %s, AdamW's moments in %s. A device (%s) reaches in products %s TFLOP/s,\n"
      "in attention %s forward and %s backward, %s GB/s of its memory,\n"
      "%s GB/s to its neighbours, %s between nodes of %d, %s us a hop.\n",
      std::to_string(model.parameters().count()).c_str(), format(rows[0].run.dtype), format(rows[0].run.moments),
      device.name.c_str(), rate(device.product_rate, 1e12).c_str(), rate(device.attention_rate, 1e12).c_str(),
      rate(device.attention_backward_rate, 1e12).c_str(), rate(device.byte_rate, 1e9).c_str(),
      rate(device.link, 1e9).c_str(), rate(device.net, 1e9).c_str(), device.per_node,
      rate(device.latency, 1e-6).c_str());
  if (!device.note.empty()) std::printf("%s\n", device.note.c_str());
  if (rows[0].plans[0].scratch > 0)
    std::printf("Of the memory %s are, at most, for attention's backward on Hopper.\n",
                human_bytes(rows[0].plans[0].scratch).c_str());
  std::printf(
      "Two columns each: without and with --zero 1. step = m (products + attention + bytes, each / its rate) + AdamW\n"
      "+ 2 (N-1)/N gradients / link, less what backward hides: train/plan.h has the formula.\n\n");
  std::printf("%7s %7s %17s %19s %19s %15s %13s\n", "devices", "batch", "memory of a rank", "ms a step", "tokens/s",
              "scaling", "hidden");
  for (const Row& row : rows) {
    print_row(row);
    for (const bool zero : {false, true}) {
      if (device.memory == 0 || row.plans[zero].memory() <= device.memory) continue;
      PlanRun run = row.run;
      run.zero = zero;
      const int fits = fitting_micro_batch(run, model, device);
      std::printf("        does not fit%s: a device has %s; %s\n", zero ? " with --zero 1" : "",
                  human_bytes(device.memory).c_str(),
                  fits > 0 ? str_cat("--micro-batch ", fits, " does").c_str()
                           : str_cat("nor does --micro-batch 1: try ", run.recompute ? "" : "--recompute true, ",
                                     run.loss_chunk > 0 ? "" : "--loss-chunk 1024, ",
                                     run.muon || run.moments == DType::bf16 ? "" : "--optimizer-dtype bf16, ",
                                     "or fewer layers or channels")
                                 .c_str());
    }
  }
}

void print_plan(PlanFlags flags) {
  TrainOptions& options = flags.options;
  if (options.dtype == DtypeChoice::automatic && flags.device != "here") options.dtype = DtypeChoice::bf16;
  GLINT_REQUIRE(options.loss_chunk >= 0, "--loss-chunk ", options.loss_chunk, ": give 0 or more");
  GLINT_REQUIRE(flags.batch >= 0 && flags.each >= 1 && options.micro_batch >= 1,
                "--batch, --batch-per-device and --micro-batch are 1 or more");
  for (const auto& [name, given] : {std::pair{"memory-gb", flags.memory_gb},
                                    {"product-tflops", flags.product_tflops},
                                    {"attention-tflops", flags.attention_tflops},
                                    {"memory-gbs", flags.memory_gbs},
                                    {"link-gbs", flags.link_gbs},
                                    {"net-gbs", flags.net_gbs},
                                    {"node", static_cast<double>(flags.per_node)},
                                    {"latency-us", flags.latency_us == kUnknownLatency ? 0 : flags.latency_us}})
    GLINT_REQUIRE(given >= 0, "--", name, " ", given, " is negative");
  options.ranks = 1;
  options.complete();
  PlanRun run = plan_run(options);
  run.model.validate();
  run.batch = flags.batch > 0 ? flags.batch : flags.each;
  const std::vector<int> counts = counts_of(flags.devices);
  const auto divides = [&](int devices) {
    return (flags.batch > 0 ? flags.batch / devices : flags.each) % run.micro_batch == 0;
  };
  if (!flags.micro_given)
    while (run.micro_batch > 1 && !std::all_of(counts.begin(), counts.end(), divides)) --run.micro_batch;
  const PlanDevice device = device_of(flags, run);
  const auto model = planned_model(run);
  const std::vector<Row> rows = rows_of(flags, run, *model, device);
  flags.json ? print_json(rows, *model, device) : print_table(rows, *model, device);
}

}  // namespace

void register_plan(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("plan", "Predict memory, time and scaling of training on many devices");
  const auto flags = std::make_shared<PlanFlags>();
  TrainOptions& options = flags->options;
  GptConfig& model = options.model;  // GPT-2 124M
  model.layers = model.heads = 12, model.embd = 768, model.context = 1024, model.vocab = 50304;
  options.micro_batch = 16, options.dtype = DtypeChoice::bf16;
  add_model_flags(command, options, {"optimizer", "optimizer-dtype", "dropout", "recompute", "loss-chunk"});
  add_option(command, "--dtype", options.dtype, "Arithmetic");
  add_option(command, "--batch", flags->batch, "Sequences per step, on all devices; 0: --batch-per-device on each");
  add_option(command, "--batch-per-device", flags->each, "Sequences per step of one device");
  const CLI::Option* micro =
      add_option(command, "--micro-batch", options.micro_batch, "Sequences per pass of one device")
          ->default_str("16, or less where that does not divide");
  add_option(command, "--devices", flags->devices, "Numbers of devices: 1,2,6 or 8-1024, which doubles");
  add_option(command, "--device", flags->device, "h100, h200: measured; a100: by data sheet; here: this CPU, measured");
  add_option(command, "--threads", flags->threads, "CPU threads of each rank, with --device here; 0: all");
  add_option(command, "--memory-gb", flags->memory_gb, "Memory of a device, GB (default: by data sheet)");
  add_option(command, "--product-tflops", flags->product_tflops, "Rate of matrix products, TFLOP/s");
  add_option(command, "--attention-tflops", flags->attention_tflops, "Rate of attention, TFLOP/s");
  add_option(command, "--memory-gbs", flags->memory_gbs, "Memory bandwidth, GB/s");
  add_option(command, "--link-gbs", flags->link_gbs, "Bus bandwidth of a device inside its node, GB/s (`bench comm`)");
  add_option(command, "--net-gbs", flags->net_gbs, "The same between nodes, GB/s");
  add_option(command, "--node", flags->per_node, "Devices per node");
  add_option(command, "--latency-us", flags->latency_us, "Latency of a hop, microseconds");
  command.add_flag("--json", flags->json, "One JSON object on standard output");
  command.callback([flags, micro] {
    flags->micro_given = micro->count() > 0;
    print_plan(*flags);
  });
}

}  // namespace glint
