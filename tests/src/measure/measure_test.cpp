// What src/measure/ finds out on a CPU.
#include <cmath>
#include <set>
#include <utility>

#include <doctest/doctest.h>

#include "kernels/dropout.h"
#include "src/measure/attention_mask.h"
#include "src/measure/kernel_times.h"
#include "src/measure/median.h"
#include "src/measure/peak.h"

using namespace glint;

TEST_CASE("measure: the mask that the CPU's attention applies is the one that kernels/dropout.h defines") {
  const AttentionMask mask{.rows = 37, .cols = 150, .p = 0.3f, .rng = {.seed = 5, .offset = 64, .first_sequence = 7}};
  std::set<std::pair<int64_t, int64_t>> expected;
  for (int64_t i = 0; i < mask.rows; ++i)
    for (int64_t j = 0; j < mask.cols; ++j)
      if (keep_attention(mask.rng.seed, mask.rng.offset, mask.rng.first_sequence, static_cast<uint32_t>(i),
                         static_cast<uint32_t>(j), keep_rule(mask.p).threshold))
        expected.emplace(i, j);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    std::set<std::pair<int64_t, int64_t>> kept;
    draw_by_kernel(CpuContext{}, dtype, AttentionKind::flash, mask, [&](int64_t i, int64_t j) { kept.emplace(i, j); });
    CHECK(kept == expected);
  }
}

TEST_CASE("measure: times and rates of kernels are positive and finite") {
  const auto plausible = [](double value) { return std::isfinite(value) && value > 0; };
  const AttentionShape shape{.B = 1, .T = 16, .S = 16, .NH = 2, .NKV = 1, .HS = 16, .causal = true, .scale = 0.25f};
  for (const AttentionKind kind : {AttentionKind::flash, AttentionKind::reference}) {
    const AttentionTimes times = time_attention(CpuContext{}, DType::f32, kind, shape, 0.1f, 1);
    CHECK((plausible(times.forward_ms) && plausible(times.backward_ms) && plausible(times.total_ms)));
  }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const LinearRates rates = measure_linear(CpuContext{}, dtype, {8, 4, 12, WeightLayout::out_in}, 1);
    CHECK((plausible(rates.forward) && plausible(rates.input) && plausible(rates.weight)));
  }
  CHECK(median({3, 1, 2}) == 2);
  CHECK(median({4, 1, 2, 3}) == 2.5);
}

TEST_CASE("measure: a GPU's data sheet is found by the driver's or a user's name for it") {
  const std::pair<const char*, double> sheets[] = {{"NVIDIA H100 80GB HBM3", 989}, {"NVIDIA H100 PCIe", 756.5},
                                                   {"NVIDIA A100-SXM4-80GB", 312}, {"NVIDIA A10", 125},
                                                   {"NVIDIA L40S", 362.1},         {"h200", 989}};
  for (const auto& sheet : sheets) {
    INFO(sheet.first);
    REQUIRE(gpu_sheet(sheet.first));
    CHECK(gpu_sheet(sheet.first)->bf16_tflops == sheet.second);
  }
  CHECK(gpu_sheet("emulated GPU") == nullptr);
}
