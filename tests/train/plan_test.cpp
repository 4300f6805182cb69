#include "train/plan.h"

#include <utility>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "models/gpt.h"
#include "tests/train/run_program.h"
#include "train/training_step.h"

using namespace glint;

namespace {

PlanRun run_of(DType dtype, bool recompute) {
  PlanRun run;
  run.model.vocab = 65, run.model.context = 48, run.model.layers = 3, run.model.heads = 4, run.model.kv_heads = 2,
  run.model.embd = 64;
  run.model.bias = true;
  run.dtype = dtype, run.recompute = recompute;
  run.batch = run.micro_batch = 4;
  return run;
}

// Round numbers, to compute the formula by hand.
PlanDevice round_device() {
  PlanDevice device;
  device.name = "round", device.product_rate = 1e12, device.byte_rate = 1e11;
  device.attention_rate = 5e11, device.attention_backward_rate = 4e11;
  device.per_node = 4, device.link = 1e10, device.net = 1e9, device.latency = 1e-5;
  return device;
}

// 1e8 parameters, 9e7 of them with weight decay.
Parameters round_parameters(DType dtype) {
  Parameters parameters(CpuContext{}, dtype);
  parameters.add("weight", {9000, 10000});
  parameters.add("bias", {10'000'000});
  parameters.lay_out();
  return parameters;
}

PlanWork round_work() {
  PlanWork work;
  work.arena = 1e9;
  work.forward = {.products = 1e11, .attention = 1e10, .bytes = 1e9, .gelu = 1e9};
  work.backward = {.products = 2e11, .bytes = 1e9, .attention_backward = 1.6e10, .gelu = 2e9};
  return work;
}

}  // namespace

TEST_CASE("plan: memory of one rank is exactly that of a training step") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const bool recompute : {false, true}) {
      PlanRun run = run_of(dtype, recompute);
      run.loss_chunk = recompute ? 50 : 0;
      run.moments = recompute ? DType::bf16 : DType::f32;
      Gpt model(run.model, CpuContext{1, default_matmul_engine()}, dtype);
      StepSettings settings{run.batch, run.micro_batch, run.model.context, AttentionKind::flash, recompute, {}, 1.0};
      settings.loss_chunk = run.loss_chunk, settings.partition.moments = run.moments;
      const TrainingStep step(model, settings, {});
      const Plan plan = plan_of(run, model.parameters(), work_of(run, model), round_device());
      CHECK(plan.arena == static_cast<double>(step.arena_bytes()));
      CHECK(plan.weights == static_cast<double>(model.parameters().bytes()));
      CHECK(memory_of(run) == plan.memory());
      CHECK(plan.messages == 0);
    }
}

TEST_CASE("plan: Muon keeps one moment of the matrices of layers, and needs scratch for the largest") {
  PlanRun run = run_of(DType::f32, false);
  const auto model = planned_model(run);
  const PlanWork work = work_of(run, *model);
  const Plan adamw = plan_of(run, model->parameters(), work, round_device());
  run.muon = true;
  const Plan muon = plan_of(run, model->parameters(), work, round_device());
  const Partition partition = partition_of(model->parameters(), 0, 1, {.muon = true});
  CHECK(partition.muon == model->parameters().hidden_elements());
  const double scratch = static_cast<double>(muon_scratch(model->parameters(), partition));
  CHECK(muon.weights == adamw.weights - 4.0 * static_cast<double>(partition.muon) + scratch);
  CHECK(memory_of(run) == muon.memory());
  CHECK(muon.compute > adamw.compute);
}

TEST_CASE("plan: the loss by chunks takes less memory, and the same products and a little more traffic") {
  PlanRun run = run_of(DType::bf16, false);
  run.model.vocab = 5000;
  const auto model = planned_model(run);
  const PlanWork whole = work_of(run, *model);
  run.loss_chunk = 64;  // of 192 rows
  const PlanWork cut = work_of(run, *model);
  CHECK(whole.arena - cut.arena > 0.9 * (192 - 64) * 5000 * 2);
  CHECK(cut.forward.products + cut.backward.products == whole.forward.products + whole.backward.products);
  const double bytes = whole.forward.bytes + whole.backward.bytes, more = cut.forward.bytes + cut.backward.bytes;
  CHECK(more > bytes);
  CHECK(more < 2 * bytes);
}

TEST_CASE("plan: memory of two ranks with --zero 1 is that of a run" * doctest::skip(!kHasGloo)) {
  for (const char* dtype : {"fp32", "bf16"}) {
    PlanRun run = run_of(dtype == std::string("bf16") ? DType::bf16 : DType::f32, false);
    run.devices = 2, run.zero = true, run.batch = 8, run.moments = DType::bf16;
    const auto ran =
        test::run_program({"bench",     "step",      "--ranks", "2",          "--zero",  "1",      "--layers",
                           "3",         "--heads",   "4",       "--kv-heads", "2",       "--embd", "64",
                           "--context", "48",        "--bias",  "true",       "--batch", "8",      "--steps",
                           "1",         "--threads", "1",       "--dtype",    dtype,     "--json", "--optimizer-dtype",
                           "bf16"});
    INFO(ran.err);
    REQUIRE(ran.code == 0);
    const double measured = nlohmann::json::parse(ran.out)["device_bytes"];
    CHECK(memory_of(run) == measured);
  }
}

TEST_CASE("plan: memory of many layers is extrapolated exactly, and huge sizes are fast") {
  for (const bool recompute : {false, true}) {
    PlanRun run = run_of(DType::f32, recompute);
    run.model.layers = 12;
    const auto model = planned_model(run);
    CHECK(memory_of(run) == doctest::Approx(plan_of(run, model->parameters(), work_of(run, *model), {}).memory()));
    PlanRun deep = run;
    deep.model.layers = 2'000'000'000;
    CHECK(memory_of(deep) > 1e14);
    for (int* size : {&run.model.embd, &run.model.heads, &run.model.vocab, &run.micro_batch}) {
      const int usual = std::exchange(*size, 2'147'483'640);
      if (size == &run.model.heads) run.model.embd = *size;
      CHECK(memory_of(run) > 1e13);
      *size = usual;
    }
  }
}

TEST_CASE("plan: the formula, by hand") {
  PlanRun run;
  run.batch = 8, run.micro_batch = 2, run.dtype = DType::f32;
  const Parameters fp32 = round_parameters(DType::f32), bf16 = round_parameters(DType::bf16);
  Plan plan = plan_of(run, fp32, round_work(), round_device());
  CHECK(plan.memory() == doctest::Approx(1e9 + 16e8));
  CHECK(plan.backward == doctest::Approx(0.2 + 0.04 + 0.01));
  CHECK(plan.compute == doctest::Approx(4 * (0.13 + 0.25) + 0.032));
  CHECK(plan.step() == plan.compute);
  // Four on one node: 4e8 bytes of gradients in ceil(4e8 / 25 MiB) = 16 buckets.
  run.devices = 4;
  plan = plan_of(run, fp32, round_work(), round_device());
  CHECK(plan.compute == doctest::Approx(0.38 + 0.032));
  const double messages = 2 * (0.75 * 4e8 / 1e10 + 16 * 2 * 1e-5);
  CHECK(plan.messages == doctest::Approx(messages));
  CHECK(plan.exposed == doctest::Approx(messages / 16));  // the rest overlaps with 0.25 s of backward
  // Eight on two nodes: each node has four links of 1 GB/s.
  run.devices = 8, run.zero = true, run.batch = 16;
  plan = plan_of(run, fp32, round_work(), round_device());
  CHECK(plan.weights == doctest::Approx(8e8 + 8e8 / 8));
  CHECK(plan.compute == doctest::Approx(0.38 + 0.004));
  const double half = 0.875 * 4e8 / 4e9 + 16 * 3 * 1e-5;
  CHECK(plan.messages == doctest::Approx(2 * half));
  CHECK(plan.exposed == doctest::Approx(half / 16 + half));
  run.dtype = DType::bf16;
  plan = plan_of(run, bf16, round_work(), round_device());
  CHECK(plan.weights == doctest::Approx(4e8 + 1e8 + 2e8 + 4 * 9e7 / 8 + 4 * 1e7));
  // A network so slow that backward is over long before.
  PlanDevice slow = round_device();
  slow.net = 1e6;
  run.zero = false;
  plan = plan_of(run, bf16, round_work(), slow);
  CHECK(plan.exposed == doctest::Approx(plan.messages - 15.0 / 16 * plan.backward));
}

TEST_CASE("plan: GELUs count where the products' rate does not include them; Hopper's attention needs scratch") {
  const Parameters parameters = round_parameters(DType::bf16);
  PlanRun run;
  run.dtype = DType::bf16;
  run.model.heads = 2, run.model.kv_heads = 1, run.model.embd = 128, run.model.context = 100, run.micro_batch = 3,
  run.batch = 3;
  PlanDevice device = round_device();
  const Plan without = plan_of(run, parameters, round_work(), device);
  device.gelu_apart = device.hopper = true;
  const Plan with = plan_of(run, parameters, round_work(), device);
  CHECK(with.compute - without.compute == doctest::Approx(0.03));
  CHECK(with.backward - without.backward == doctest::Approx(0.02));
  CHECK(without.memory() == doctest::Approx(without.arena + without.weights));
  // Tiles of 64 queries: dQ, two numbers each, a counter; and four of all tiles.
  CHECK(with.scratch == 4 * (4 + 3 * 2 * 2 * (64 * 64 + 2 * 64 + 1)));
  CHECK(with.memory() - without.memory() == with.scratch);
  run.model.heads = 1;  // of 128 channels
  CHECK(plan_of(run, parameters, round_work(), device).scratch == 4 * (4 + 3 * 2 * (64 * 128 + 2 * 64 + 1)));
  // Bytes of a GELU: two arrays of tokens x 4 C in forward, three in backward, forward's again if recomputed.
  run.model.layers = 2, run.model.vocab = 65;
  const double array = 3.0 * 100 * 4 * 128 * 2 * 2;
  CHECK(work_of(run, *planned_model(run)).forward.gelu == 2 * array);
  CHECK(work_of(run, *planned_model(run)).backward.gelu == 3 * array);
  run.recompute = true;
  CHECK(work_of(run, *planned_model(run)).backward.gelu == 5 * array);
  run.model.activation = Gelu::tanh;
  CHECK(work_of(run, *planned_model(run)).backward.gelu == 0);
}

TEST_CASE("plan: what an H100 and an H200 were measured to do") {
  // tests/gpu/bench_training.py and `bench step` on an H100 80GB HBM3, 27 November 2026, and on an H200, the day after
  // (driver 580.159, CUDA 13.0): bf16, V 50304, no biases, tanh GELU.
  struct Measured {
    std::string device;
    int layers, heads, embd, batch, context;
    float dropout;
    double tokens_per_s;
    int loss_chunk = 0;
    ModelKind model = ModelKind::gpt2;
  };
  const Measured all[] = {{"h100", 12, 12, 768, 32, 1024, 0.1f, 607e3},
                          {"h100", 12, 12, 768, 32, 1024, 0.0f, 625e3},
                          {"h100", 24, 16, 1024, 16, 1024, 0.1f, 219e3},
                          {"h200", 12, 12, 768, 32, 1024, 0.1f, 626e3},
                          {"h200", 12, 12, 768, 32, 1024, 0.0f, 622e3},
                          {"h200", 36, 20, 1280, 8, 1024, 0.0f, 102.1e3},
                          {"h200", 48, 25, 1600, 8, 1024, 0.0f, 51.6e3, 2048},
                          {"h200", 12, 12, 768, 32, 1024, 0.0f, 584e3, 0, ModelKind::llama}};
  for (const Measured& row : all) {
    PlanRun run;
    run.dtype = DType::bf16;
    run.model.layers = row.layers, run.model.heads = run.model.kv_heads = row.heads, run.model.embd = row.embd;
    run.model.context = row.context, run.model.vocab = 50304, run.model.attn_dropout = row.dropout;
    run.batch = run.micro_batch = row.batch, run.loss_chunk = row.loss_chunk;
    run.model.kind = row.model;
    if (row.model == ModelKind::gpt2) run.model.activation = Gelu::tanh;
    const auto model = planned_model(run);
    const Plan plan = plan_of(run, model->parameters(), work_of(run, *model), device_preset(row.device, run));
    const double predicted = row.batch * row.context / plan.step();
    INFO(row.device << ", " << row.layers << " layers, B " << row.batch << ", T " << row.context << ", dropout "
                    << row.dropout << ": " << predicted << " tokens/s, measured " << row.tokens_per_s << ": "
                    << predicted / row.tokens_per_s);
    CHECK(predicted == doctest::Approx(row.tokens_per_s).epsilon(0.1));
  }
}

TEST_CASE("plan: which rates are measured") {
  PlanRun run;
  run.dtype = DType::bf16;
  run.model.heads = run.model.kv_heads = 12, run.model.embd = 768, run.model.context = 1024;
  PlanDevice device = device_preset("h100", run);
  for (const Rate& rate :
       {device.product_rate, device.byte_rate, device.attention_rate, device.attention_backward_rate})
    CHECK(rate.source == RateSource::measured);
  for (const Rate& rate : {device.link, device.net, device.latency}) CHECK(rate.source == RateSource::guessed);
  CHECK(device.attention_rate == 361e12);
  CHECK(device.attention_backward_rate == 341e12);
  run.model.attn_dropout = 0.1f;
  CHECK(device_preset("h100", run).attention_rate == 292e12);
  const auto attention = [&](int head_size, int context) {
    run.model.embd = head_size * run.model.heads, run.model.context = context;
    return device_preset("h100", run).attention_rate;
  };
  CHECK(attention(64, 1448) == doctest::Approx(316.5e12).epsilon(0.001));  // half way to 2048, by log2(T)
  CHECK(attention(64, 4096) == 362e12);
  CHECK(attention(128, 512) == 296e12);
  CHECK(attention(128, 8192) == 527e12);
  CHECK(attention(128, 8192).source == RateSource::measured);
  CHECK(attention(64, 16384) == 380e12);
  CHECK(attention(64, 16384).source == RateSource::guessed);
  CHECK(attention(64, 256) == 238e12);
  CHECK(attention(64, 256).source == RateSource::guessed);
  CHECK(attention(96, 1024) == doctest::Approx(0.75 * 385e12));
  CHECK(attention(96, 1024).source == RateSource::guessed);
  CHECK(device_preset("a100", run).product_rate.source == RateSource::guessed);
  CHECK(device_preset("h200", run).product_rate.source == RateSource::measured);
  run.dtype = DType::f32;
  for (const char* name : {"h100", "h200"}) CHECK(device_preset(name, run).product_rate.source == RateSource::guessed);
}

TEST_CASE("plan: the command prints a row per number of devices and says what does not fit; invalid flags are errors") {
  const auto ran = test::run_program({"plan", "--devices", "1,8-64", "--json"});
  REQUIRE(ran.code == 0);
  const auto plans = nlohmann::json::parse(ran.out)["plans"];
  REQUIRE(plans.size() == 5);
  CHECK(plans[4]["devices"] == 64);
  const auto rates = nlohmann::json::parse(ran.out)["rates"];
  CHECK(rates["product_tflops"]["source"] == "measured");
  CHECK(rates["product_tflops"]["value"].get<double>() == doctest::Approx(672.5).epsilon(0.001));
  CHECK(rates["link_gbs"]["source"] == "guessed");
  CHECK(plans[0]["zero_0"]["scaling"].get<double>() == doctest::Approx(1));
  for (const auto& row : plans) {
    CHECK(row["zero_1"]["memory_bytes"] <= row["zero_0"]["memory_bytes"]);
    CHECK(row["zero_0"]["fits"] == true);
  }
  const auto large = test::run_program(
      {"plan", "--layers", "48", "--heads", "25", "--embd", "1600", "--memory-gb", "40", "--devices", "8"});
  CHECK(large.code == 0);
  CHECK(large.out.find("in products 673 (measured) TFLOP/s") != std::string::npos);
  CHECK(large.out.find("does not fit with --zero 1: a device has 40 GB; --micro-batch ") != std::string::npos);
  const std::pair<std::vector<std::string>, const char*> wrong[] = {
      {{"--device", "abacus"}, "--device abacus: give h100 or h200 (measured), a100"},
      {{"--devices", "8-"}, "--devices 8-: give numbers as 1,2,6 or 8-1024"},
      {{"--devices", "0"}, "--devices 0: give numbers"},
      {{"--devices", "8", "--batch", "12"}, "--batch 12 does not divide over 8 devices"},
      {{"--micro-batch", "5"}, "--micro-batch 5 does not divide the 16 sequences"},
  };
  for (const auto& [flags, expected] : wrong) {
    std::vector<std::string> words = {"plan"};
    words.insert(words.end(), flags.begin(), flags.end());
    const auto refused = test::run_program(words);
    CHECK(refused.code == 1);
    CHECK(refused.err.find(expected) != std::string::npos);
  }
}
