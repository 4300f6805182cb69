// The rates of GPUs: guessed from data sheets, measured on an H100 and an H200.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "kernels/check.h"
#include "src/measure/peak.h"
#include "train/plan.h"

namespace glint {

namespace {

// --- In bf16, CUDA 13.0: an H100 (80GB HBM3) on 27 November 2026, an H200 the day after.
// The products of GPT-2 124M's step, 32 x 1024 tokens, with measured algorithms and fused tanh GELUs: 24.3 TFLOP in
// 36.2 ms and 36.8, of the data sheet's 989 TFLOP/s. All ops but products and attention in it: 21.9 GB in 8.9 ms
// (before the cross-entropy held rows in shared memory) and 6.7, 69 and 80% of what a copy of that size reaches.
struct MeasuredGpu {
  const char *sheet, *note;
  double products_of_peak, bytes;  // bytes per second
};
constexpr MeasuredGpu kMeasured[] = {
    {"H100", "Measured: on an H100, 27 November 2026; attention on an H100 and an H200.", 0.68, 0.69 * 3.575e12},
    {"H200", "Measured: on an H200, 28 November 2026; attention on an H100 and an H200.", 0.67, 0.80 * 4.09e12}};
// Attention alone on the H100 (the H200's times are within 5%), causal, 16384 tokens of 2048 channels, by the kernels
// for Hopper; backward of 64 channels on the H200, whose kernel is newer. (In that model's step, with dropout,
// attention took 9.1 ms there where these rates give 7.4: the GPU's clock is lower.)
struct MeasuredAttention {
  int head_size, T;
  double forward[2], backward[2];  // TFLOP/s without dropout and with 0.1
};
constexpr MeasuredAttention kHopperAttention[] = {
    {64, 512, {276, 238}, {260, 234}},   {64, 1024, {361, 292}, {341, 304}},  {64, 2048, {443, 341}, {420, 356}},
    {64, 4096, {478, 362}, {455, 385}},  {64, 8192, {507, 380}, {487, 396}},  {128, 512, {317, 296}, {252, 241}},
    {128, 1024, {459, 385}, {347, 325}}, {128, 2048, {563, 458}, {434, 393}}, {128, 4096, {630, 503}, {486, 440}},
    {128, 8192, {671, 527}, {511, 474}}};

// For a run's head size and T. Guessed beyond what was measured: as for the nearest T, and by the share of a tile's
// channels that a head fills.
void set_hopper_attention(PlanDevice& device, const GptConfig& model) {
  const int size = model.head_size() <= 64 ? 64 : 128, dropout = model.attn_dropout > 0 ? 1 : 0;
  const auto* const end = std::end(kHopperAttention);
  const auto* low =
      std::find_if(std::begin(kHopperAttention), end, [&](const auto& row) { return row.head_size == size; });
  while (low + 2 != end && low[2].head_size == size && low[1].T <= model.context) ++low;
  const MeasuredAttention &a = low[0], &b = low[1];
  const double along = std::clamp(std::log2(static_cast<double>(model.context) / a.T), 0.0, 1.0);  // each T is twice
  const bool is_inside = model.head_size() == size && a.T <= model.context && model.context <= b.T;
  const auto between = [&](double at_a, double at_b) {
    return Rate(1e12 * std::min(1.0, static_cast<double>(model.head_size()) / size) * (at_a + along * (at_b - at_a)),
                is_inside ? RateSource::measured : RateSource::guessed);
  };
  device.attention_rate = between(a.forward[dropout], b.forward[dropout]);
  device.attention_backward_rate = between(a.backward[dropout], b.backward[dropout]);
}

}  // namespace

// Estimates of how much of a data sheet's numbers is reached: 60% in products (nanoGPT reports 50% of an A100's peak
// for whole steps), 35% in attention, 80% of the bandwidths.
PlanDevice device_preset(const std::string& name, const PlanRun& run) {
  const GpuSheet* sheet = gpu_sheet(name);
  GLINT_REQUIRE(sheet && sheet->memory_gb > 0, "--device ", name,
                ": give h100 or h200 (measured), a100 (by data sheet), or here (this CPU, measured)");
  PlanDevice device;
  device.name = name;
  device.memory = 1e9 * sheet->memory_gb;
  device.product_rate = 0.6e12 * sheet->bf16_tflops;
  device.attention_rate = device.attention_backward_rate = 0.35e12 * sheet->bf16_tflops;
  device.byte_rate = 0.8e9 * sheet->memory_gbs;
  device.per_node = 8;
  device.link = 0.8e9 * sheet->link_gbs;
  device.net = 0.8e9 * sheet->net_gbs;
  device.latency = 10e-6;
  device.hopper = sheet->name[0] == 'H';
  const auto* const measured = std::find_if(std::begin(kMeasured), std::end(kMeasured), [&](const MeasuredGpu& gpu) {
    return std::string(gpu.sheet) == sheet->name;
  });
  if (measured == std::end(kMeasured) || run.dtype != DType::bf16) return device;
  device.note = measured->note;
  device.product_rate = {measured->products_of_peak * 1e12 * sheet->bf16_tflops, RateSource::measured};
  device.byte_rate = {measured->bytes, RateSource::measured};
  device.gelu_apart = true;
  set_hopper_attention(device, run.model);
  return device;
}

}  // namespace glint
