// The rates of GPUs: guessed from data sheets, measured on an H100.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "kernels/check.h"
#include "train/peak.h"
#include "train/plan.h"

namespace glint {

namespace {

// --- An H100 (80GB HBM3, of the data sheet's 989 TFLOP/s in bf16), CUDA 13.0, measured on 27 November 2026.
// cuBLASLt's first heuristic in the products of GPT-2 124M, 32 x 1024 tokens, each alone: 24.3 TFLOP in 34.8 ms.
constexpr double kH100Products = 0.70;
// All ops but products and attention in that model's step, 22.5 GB in 10.5 ms: 60% of what a copy reaches, 3.5 TB/s.
constexpr double kH100Bytes = 0.60 * 3.575e12;
// Attention alone, causal, 16384 tokens of 2048 channels, by the kernels for sm_80. (In that model's step, with
// dropout, it took 17.5 ms where these rates give 14.6.)
struct MeasuredAttention {
  int head_size, T;
  double forward[2], backward[2];  // TFLOP/s without dropout and with 0.1
};
constexpr MeasuredAttention kH100Attention[] = {
    {64, 512, {180, 153}, {124, 112}},   {64, 1024, {226, 185}, {157, 137}}, {64, 2048, {258, 207}, {180, 155}},
    {64, 4096, {280, 219}, {197, 166}},  {128, 512, {167, 138}, {133, 125}}, {128, 1024, {203, 165}, {163, 153}},
    {128, 2048, {226, 180}, {184, 171}}, {128, 4096, {240, 192}, {196, 184}}};

// For a run's head size and T. Guessed beyond what was measured: as for the nearest T, and by the share of a tile's
// channels that a head fills.
void set_h100_attention(PlanDevice& device, const GptConfig& model) {
  const int size = model.head_size() <= 64 ? 64 : 128, dropout = model.attn_dropout > 0 ? 1 : 0;
  const auto* const end = std::end(kH100Attention);
  const auto* low =
      std::find_if(std::begin(kH100Attention), end, [&](const auto& row) { return row.head_size == size; });
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
                ": give h100 (measured), h200 or a100 (by data sheet), or here (this CPU, measured)");
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
  if (std::string("H100") != sheet->name || run.dtype != DType::bf16) return device;
  device.note =
      "Measured: on an H100, 27 November 2026, attention by the kernels for sm_80; those for Hopper have not been.";
  device.product_rate = {kH100Products * 1e12 * sheet->bf16_tflops, RateSource::measured};
  device.byte_rate = {kH100Bytes, RateSource::measured};
  device.gelu_apart = true;
  set_h100_attention(device, run.model);
  return device;
}

}  // namespace glint
