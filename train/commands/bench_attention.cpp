// glint bench attention: forward and backward of the fused kernel, or of the reference.
#include <cmath>

#include "models/gpt.h"
#include "src/measure/kernel_times.h"
#include "src/measure/peak.h"
#include "train/commands/bench.h"

namespace glint {

namespace {

struct AttentionFlags : BenchFlags {
  int batch = 1, heads = 12, kv_heads = 0, head_size = 64, context = 1024;
  float dropout = 0.0f;
  bool causal = true;
  AttentionKind kind = AttentionKind::flash;
};

void print_times(const AttentionFlags& flags, const AttentionShape& shape, const Device& device,
                 const AttentionTimes& t) {
  nlohmann::ordered_json results = {
      {"forward_ms", t.forward_ms}, {"backward_ms", t.backward_ms}, {"total_ms", t.total_ms}};
  const double gflop = 1e-9 * flops_of(shape);
  if (device.is_cpu()) {
    const int threads = std::get<CpuContext>(device.context()).threads;
    const double gflops = 3.5 * gflop / t.total_ms * 1000, peak = measure_peak_gflops(threads);
    results.update({{"gflops", gflops}, {"peak_gflops", peak}, {"share_of_peak", gflops / peak}, {"threads", threads}});
  } else {
    results.update({{"forward_tflops", gflop / t.forward_ms},
                    {"backward_tflops", 2.5 * gflop / t.backward_ms},
                    {"kernels", t.kernels}});
  }
  results["device"] = device.name();
  print_results(results, flags.json);
}

void bench_attention(AttentionFlags flags) {
  if (flags.kv_heads == 0) flags.kv_heads = flags.heads;
  GLINT_REQUIRE(flags.batch >= 1 && flags.context >= 1, "--batch and --context are 1 or more");
  GptConfig config;  // for its checks
  config.vocab = 1, config.layers = 1, config.context = flags.context, config.heads = flags.heads;
  config.kv_heads = flags.kv_heads, config.embd = flags.heads * flags.head_size, config.attn_dropout = flags.dropout;
  config.validate();
  const AttentionShape shape{
      flags.batch,    flags.context,   flags.context, flags.heads,
      flags.kv_heads, flags.head_size, flags.causal,  1.0f / std::sqrt(static_cast<float>(flags.head_size))};
  const bool bf16 = flags.dtype == DtypeChoice::bf16;
  const bool on_cpu = flags.device == DeviceChoice::cpu;
  GLINT_REQUIRE(flags.kind != AttentionKind::reference || (on_cpu && !bf16),
                "--attention reference runs on the CPU in fp32 only");
  GLINT_REQUIRE(flags.kind != AttentionKind::flash_sm80 || !on_cpu,
                "--attention flash-sm80 names kernels for GPUs; use --attention flash");
  const Device device = open_device(flags);
  const AttentionTimes times =
      time_attention(device, dtype_of(flags.dtype), flags.kind, shape, flags.dropout, flags.repeats);
  print_times(flags, shape, device, times);
}

}  // namespace

void register_bench_attention(CLI::App& bench) {
  CLI::App& command = *bench.add_subcommand("attention", "Attention, forward and backward");
  const auto flags = std::make_shared<AttentionFlags>();
  add_option(command, "--batch", flags->batch, "Sequences");
  add_option(command, "--heads", flags->heads, "Query heads");
  add_option(command, "--kv-heads", flags->kv_heads, "Key/value heads; 0: as --heads");
  add_option(command, "--head-size", flags->head_size, "Channels per head");
  add_option(command, "--context", flags->context, "Tokens per sequence");
  add_option(command, "--dropout", flags->dropout, "Drop probability");
  add_option(command, "--causal", flags->causal, "Each query attends only to keys up to its own position");
  add_option(command, "--attention", flags->kind, "Kernel");
  add_bench_flags(command, *flags);
  command.callback([flags] { bench_attention(on_this_machine(*flags)); });
}

}  // namespace glint
