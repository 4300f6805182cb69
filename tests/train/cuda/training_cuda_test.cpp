// Whole training steps on a GPU: emulated (kernels/simt/), or a real one in tests/gpu/.
#include <cmath>
#include <limits>

#include <doctest/doctest.h>

#include "tests/train/cuda/tiny_training.h"
#include "train/evaluator.h"

using namespace glint;
using namespace glint::test;

namespace {

struct Curve {
  std::vector<double> losses, norms;
  std::vector<float> values;
  bool operator==(const Curve&) const = default;
};

Curve train(const Device& device, DType dtype, const StepSettings& settings, float dropout, int steps = 20,
            ModelKind kind = ModelKind::gpt2) {
  GptConfig config = tiny(dropout);
  config.kind = kind, config.qk_norm = kind == ModelKind::llama;
  const auto made = make_model(config, device, dtype);
  Model& model = *made;
  model.initialize(1);
  TrainingStep step(model, settings, {.seed = 5, .offset = 0xffffff00});
  Curve curve;
  for (int i = 0; i < steps; ++i) {
    step.run([&](int32_t* tokens, int32_t* targets, uint64_t first,
                 int count) { batch_of(step.rng().step, tokens, targets, first, count); },
             3e-3);
    if (i % 3 == 2 || i + 1 == steps) {  // sync at some steps, as in training
      const StepResult result = step.result();
      CHECK(result.step == static_cast<uint64_t>(i + 1));
      curve.losses.push_back(result.loss);
      curve.norms.push_back(result.gradient_norm);
    }
  }
  const Parameters& p = model.parameters();
  HostCopy values(p, p.values());
  curve.values.assign(values.data(), values.data() + p.elements());
  return curve;
}

void check_close(const Curve& got, const Curve& expected, double tolerance) {
  REQUIRE(got.losses.size() == expected.losses.size());
  for (size_t i = 0; i < got.losses.size(); ++i) {
    INFO("sync ", i);
    CHECK(got.losses[i] == doctest::Approx(expected.losses[i]).epsilon(tolerance));
    CHECK(got.norms[i] == doctest::Approx(expected.norms[i]).epsilon(20 * tolerance));
  }
}

}  // namespace

TEST_CASE("cuda training in fp32 agrees with the CPU up to rounding, with dropout, GQA, micro-batches and recompute") {
  const Emulated emulated;
  const Curve cpu = train(CpuContext{2, default_matmul_engine()}, DType::f32, settings(4), 0.2f);
  CHECK(cpu.losses.back() < 0.8 * cpu.losses.front());  // it learns
  const Curve whole = train(Device::cuda(), DType::f32, settings(4), 0.2f);
  check_close(whole, cpu, 1e-4);
  check_close(train(Device::cuda(), DType::f32, settings(2), 0.2f), cpu, 1e-4);
  check_close(train(Device::cuda(), DType::f32, settings(2, true), 0.2f), cpu, 1e-4);
}

TEST_CASE("training in bf16, on cuda and on the CPU, is close to fp32, and even closer to each other") {
  const Emulated emulated;
  const CpuContext cpu{2, default_matmul_engine()};
  const Curve fp32 = train(cpu, DType::f32, settings(4), 0.2f), bf16 = train(cpu, DType::bf16, settings(4), 0.2f),
              cuda = train(Device::cuda(), DType::bf16, settings(2), 0.2f);
  check_close(bf16, fp32, 2e-2);
  check_close(cuda, fp32, 2e-2);
  check_close(cuda, bf16, 1e-2);
}

TEST_CASE("cuda training: the same bits with and without a graph, in any order of the streams") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Curve first;
    for (const uint64_t seed : {1, 2}) {
      const Emulated emulated(seed);
      const Curve graph = train(Device::cuda(), dtype, settings(2, false, true), 0.3f, 5);
      const Curve plain = train(Device::cuda(), dtype, settings(2, false, false), 0.3f, 5);
      CHECK(graph == plain);
      if (!first.losses.empty()) CHECK(graph == first);
      first = graph;
    }
  }
}

TEST_CASE("cuda training with moments in bf16: close to fp32 ones, the CPU's draws, the same bits with a graph") {
  StepSettings low = settings(2);
  low.partition.moments = DType::bf16;
  StepSettings no_graph = low;
  no_graph.graph = false;
  const Curve cpu = train(CpuContext{2, default_matmul_engine()}, DType::f32, low, 0.2f);
  const Emulated emulated;
  const Curve cuda = train(Device::cuda(), DType::f32, low, 0.2f);
  check_close(cuda, train(Device::cuda(), DType::f32, settings(2), 0.2f), 1e-2);
  check_close(cuda, cpu, 1e-3);
  CHECK(train(Device::cuda(), DType::f32, no_graph, 0.2f) == cuda);
}

TEST_CASE("cuda training of a Llama agrees with the CPU, with dropout, GQA, QK norm, micro-batches and recompute") {
  const Emulated emulated;
  const auto run = [&](const Device& device, DType dtype, const StepSettings& s) {
    return train(device, dtype, s, 0.2f, 20, ModelKind::llama);
  };
  const Curve cpu = run(CpuContext{2, default_matmul_engine()}, DType::f32, settings(4));
  CHECK(cpu.losses.back() < 0.8 * cpu.losses.front());
  check_close(run(Device::cuda(), DType::f32, settings(4)), cpu, 1e-4);
  check_close(run(Device::cuda(), DType::f32, settings(2, true)), cpu, 1e-4);
  const Curve bf16 = run(Device::cuda(), DType::bf16, settings(2));
  check_close(bf16, cpu, 2e-2);
  CHECK(run(Device::cuda(), DType::bf16, settings(2, false, false)) == bf16);
}

TEST_CASE("cuda training with Muon: near the CPU's, whose iterations are fp32; the same bits with a graph") {
  StepSettings muon = settings(2);
  muon.partition.muon = true;
  StepSettings no_graph = muon;
  no_graph.graph = false;
  const Curve cpu = train(CpuContext{2, default_matmul_engine()}, DType::f32, muon, 0.2f);
  const Emulated emulated;
  const Curve cuda = train(Device::cuda(), DType::f32, muon, 0.2f);
  check_close(cuda, cpu, 1e-2);
  CHECK(train(Device::cuda(), DType::f32, no_graph, 0.2f) == cuda);
}

TEST_CASE("cuda training with the loss by chunks: up to rounding that of whole logits, the same bits with a graph") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto run = [&](uint64_t seed, int micro_batch, int chunk, bool graph) {
      const Emulated emulated(seed);
      StepSettings s = settings(micro_batch, false, graph);
      s.loss_chunk = chunk;
      return train(Device::cuda(), dtype, s, 0.2f, 6);
    };
    const double tolerance = dtype == DType::f32 ? 1e-4 : 1e-2;
    const Curve whole = run(1, 4, 0, true), cut = run(1, 2, 7, true);  // 24 rows a pass
    check_close(cut, whole, tolerance);
    check_close(run(1, 4, 100, true), whole, tolerance);
    CHECK(run(2, 2, 7, true) == cut);
    CHECK(run(3, 2, 7, false) == cut);
  }
}

TEST_CASE("cuda training with Hopper's attention: close to that of sm_80, the same bits with and without a graph") {
  const auto with = [](AttentionKind attention, bool graph) {
    StepSettings s = settings(2, false, graph);
    s.attention = attention;
    return s;
  };
  const auto run = [&](uint64_t seed, AttentionKind attention, bool graph) {
    const Emulated emulated(seed);
    simt::device.capability = kHopper;
    const Device device = Device::cuda();
#ifdef GLINT_SIMT
    REQUIRE(uses_hopper_attention(std::get<CudaContext>(device.context())));
#endif
    return train(device, DType::bf16, with(attention, graph), 0.2f, 4);
  };
  const Curve sm80 = run(1, AttentionKind::flash_sm80, true), hopper = run(1, AttentionKind::flash, true);
  check_close(hopper, sm80, 1e-2);
  CHECK(run(2, AttentionKind::flash, true) == hopper);
  CHECK(run(3, AttentionKind::flash, false) == hopper);
}

TEST_CASE("cuda training: nothing changes after a gradient that is not finite") {
  const Emulated emulated;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Gpt model(tiny(0.0f), Device::cuda(), dtype);
    model.initialize(1);
    TrainingStep step(model, settings(2), {.seed = 5});
    const FillBatch fill = [&](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
      batch_of(0, tokens, targets, first, count);
    };
    for (int i = 0; i < 3; ++i) step.run(fill, 1e-3);
    Parameters& p = model.parameters();
    HostCopy values(p, p.values());
    for (const Parameter& parameter : p.all())
      if (parameter.name == "h.1.ln_2.weight") values.of(parameter)[3] = std::numeric_limits<float>::infinity();
    values.store();
    p.refresh_rounded();
    for (int i = 0; i < 5; ++i) step.run(fill, 1e-3);
    const StepResult result = step.result();
    CHECK_FALSE(result.finite());
    CHECK(result.step == 3);
    HostCopy after(p, p.values());
    CHECK(std::equal(after.data(), after.data() + p.elements(), values.data()));
    CHECK(step.find_nonfinite(fill) == "parameter h.1.ln_2.weight");
    CHECK(step.rng().step == 3);
  }
}

TEST_CASE("cuda evaluation gives the same loss as the CPU") {
  const Emulated emulated;
  Gpt cpu(tiny(0.1f), CpuContext{2, default_matmul_engine()}), fp32(tiny(0.1f), Device::cuda()),
      bf16(tiny(0.1f), Device::cuda(), DType::bf16);
  const FillBatch fill = [&](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
    batch_of(0, tokens, targets, first, count);
  };
  const auto loss_of = [&](Gpt& model, int chunk = 0) {
    model.initialize(3);
    return Evaluator(model, 3, kContext, AttentionKind::flash, chunk).mean_loss(fill, 2);
  };
  const double expected = loss_of(cpu);
  CHECK(loss_of(fp32) == doctest::Approx(expected).epsilon(1e-6));
  CHECK(loss_of(fp32, 7) == doctest::Approx(expected).epsilon(1e-6));
  CHECK(loss_of(bf16) == doctest::Approx(expected).epsilon(1e-3));
}

TEST_CASE("cuda evaluation: the same bits with and without a graph, in any order of the streams") {
  const FillBatch fill = [&](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
    batch_of(0, tokens, targets, first, count);
  };
  std::vector<double> seen;
  for (const auto& [seed, graph] : {std::pair<uint64_t, bool>{1, true}, {2, true}, {3, false}}) {
    const Emulated emulated(seed);
    Gpt model(tiny(0.1f), Device::cuda(), DType::bf16);
    model.initialize(3);
    Evaluator evaluator(model, 2, kContext, AttentionKind::flash, 0, graph);
    std::vector<double> losses = {evaluator.mean_loss(fill, 5), evaluator.mean_loss(fill, 1)};
    for (const size_t counted : {size_t{2 * kContext}, size_t{7}, size_t{2 * kContext}})
      evaluator.add([&](int32_t* tokens, int32_t* targets) {
        fill(tokens, targets, 0, 2);
        return counted;
      });
    losses.push_back(evaluator.take_sum());
    CHECK(losses[0] != losses[1]);
    if (!seen.empty()) CHECK(losses == seen);
    seen = losses;
  }
}
