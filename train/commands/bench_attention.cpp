// glint bench attention: forward and backward of the fused kernel, or of the reference.
#include <cmath>

#include "models/gpt.h"
#include "src/memory.h"
#include "src/peak.h"
#include "train/commands/bench.h"

namespace glint {

namespace {

struct AttentionFlags : BenchFlags {
  int batch = 1, heads = 12, kv_heads = 0, head_size = 64, context = 1024;
  float dropout = 0.0f;
  bool causal = true;
  AttentionKind kind = AttentionKind::flash;
};

// Deterministic values in [-1, 1).
template <typename Scalar>
std::vector<Scalar> pseudo_random(size_t n) {
  std::vector<Scalar> values(n);
  uint32_t state = 1;
  for (Scalar& value : values) {
    const float number = static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1.0f;
    if constexpr (std::is_same_v<Scalar, Bf16>) value = to_bf16(number);
    else value = number;
  }
  return values;
}

// q, k, v, out and their gradients, log-sum-exp, scratch, and the RNG state.
template <typename Context, typename Scalar>
struct AttentionArrays {
  AttentionShape shape;
  DeviceMemory memory;
  Scalar *q, *k, *v, *out, *dout, *dq, *dk, *dv;
  float *lse, *scratch;
  RngState* rng;

  AttentionArrays(const Device& device, const Context& ctx, const AttentionShape& s, AttentionKind kind) : shape(s) {
    const size_t queries = static_cast<size_t>(s.B) * s.T * s.NH * s.HS,
                 keys = static_cast<size_t>(s.B) * s.T * s.NKV * s.HS;
    const size_t rows = static_cast<size_t>(s.B) * s.NH * s.T, scratch_floats = scratch_of(ctx, s, kind);
    constexpr size_t kGap = 256;  // each array begins at a multiple of it
    memory = DeviceMemory(4 * (queries + keys) * sizeof(Scalar) + (rows + scratch_floats) * sizeof(float) + 12 * kGap,
                          "the benchmark", device);
    char* next = static_cast<char*>(memory.data());
    const auto take = [&]<typename T>(T*& array, size_t n) {
      array = reinterpret_cast<T*>(next);
      next += (n * sizeof(T) + kGap - 1) / kGap * kGap;
    };
    take(q, queries), take(out, queries), take(dout, queries), take(dq, queries);
    take(k, keys), take(v, keys), take(dk, keys), take(dv, keys);
    take(lse, rows), take(scratch, scratch_floats), take(rng, 1);
    const auto values = pseudo_random<Scalar>(queries);
    for (Scalar* array : {q, dout}) copy_to_device(ctx, array, values.data(), queries * sizeof(Scalar));
    for (Scalar* array : {k, v}) copy_to_device(ctx, array, values.data(), keys * sizeof(Scalar));
    const RngState state{.seed = 1};
    copy_to_device(ctx, rng, &state, sizeof state);
  }
  static size_t scratch_of(const Context& ctx, const AttentionShape& s, AttentionKind kind) {
    if constexpr (std::is_same_v<Context, CpuContext>)
      if (kind == AttentionKind::reference) return reference_attention_scratch(ctx, s);
    return std::max(attention_forward_scratch(ctx, s), attention_backward_scratch(ctx, s));
  }
  template <typename T>
  HeadView<T> view(T* data, int heads) const {
    const int64_t row = static_cast<int64_t>(heads) * shape.HS;
    return {data, shape.T * row, row, shape.HS};
  }
};

template <typename Context, typename Scalar>
inline constexpr bool kHasReference = std::is_same_v<Context, CpuContext>&& std::is_same_v<Scalar, float>;

struct AttentionTimes {
  double forward_ms, backward_ms, total_ms;
  const char* kernels = "";  // of a GPU
};

template <typename Scalar, typename Context>
AttentionTimes time_attention(const Device& device, const Context& device_context, const AttentionShape& shape,
                              const AttentionFlags& flags) {
  const Context ctx = with_kernels(device_context, flags.kind);
  const AttentionArrays<Context, Scalar> a(device, ctx, shape, flags.kind);
  const int NH = shape.NH, NKV = shape.NKV;
  const Dropout dropout(flags.dropout, a.rng, 0);
  const AttentionForward<Scalar> forward_arguments{.out = a.view(a.out, NH),
                                                   .lse = a.lse,
                                                   .q = a.view(a.q, NH),
                                                   .k = a.view(a.k, NKV),
                                                   .v = a.view(a.v, NKV),
                                                   .scratch = a.scratch,
                                                   .shape = shape,
                                                   .dropout = dropout};
  const AttentionBackward<Scalar> backward_arguments{.dq = a.view(a.dq, NH),
                                                     .dk = a.view(a.dk, NKV),
                                                     .dv = a.view(a.dv, NKV),
                                                     .dout = a.view(a.dout, NH),
                                                     .out = a.view(a.out, NH),
                                                     .lse = a.lse,
                                                     .q = a.view(a.q, NH),
                                                     .k = a.view(a.k, NKV),
                                                     .v = a.view(a.v, NKV),
                                                     .scratch = a.scratch,
                                                     .shape = shape,
                                                     .dropout = dropout};
  const auto forward = [&] {
    if constexpr (kHasReference<Context, Scalar>) {
      if (flags.kind == AttentionKind::reference) return reference_attention_forward(ctx, forward_arguments);
    }
    attention_forward(ctx, forward_arguments);
  };
  const auto backward = [&] {
    if constexpr (kHasReference<Context, Scalar>) {
      if (flags.kind == AttentionKind::reference) return reference_attention_backward(ctx, backward_arguments);
    }
    attention_backward(ctx, backward_arguments);
  };
  // A GPU may finish a call before the next one is enqueued, so several calls are timed together.
  forward();
  const double once = measure_seconds(ctx, forward);
  const int calls = device.is_cpu() ? 1 : static_cast<int>(std::clamp(3e-3 / once, 1.0, 100.0));
  const auto time = [&](auto call) {
    const auto several = [&] {
      for (int i = 0; i < calls; ++i) call();
    };
    return median_ms(ctx, flags.repeats, several) / calls;
  };
  const char* kernels = "";
  if constexpr (std::is_same_v<Context, CudaContext>) {
    kernels = sizeof(Scalar) == 4 ? "fp32" : uses_hopper_attention(ctx) ? "wgmma" : "mma.sync";
  }
  return {time(forward), time(backward), time([&] { forward(), backward(); }), kernels};
}

void print_times(const AttentionFlags& flags, const AttentionShape& shape, const Device& device,
                 const AttentionTimes& t) {
  std::vector<BenchResult> results = {
      {"forward_ms", t.forward_ms}, {"backward_ms", t.backward_ms}, {"total_ms", t.total_ms}};
  const double gflop = 1e-9 * flops_of(shape);
  if (device.is_cpu()) {
    const int threads = std::get<CpuContext>(device.context()).threads;
    const double gflops = 3.5 * gflop / t.total_ms * 1000, peak = measure_peak_gflops(threads);
    results.insert(results.end(),
                   {{"gflops", gflops}, {"peak_gflops", peak}, {"share_of_peak", gflops / peak}, {"threads", threads}});
  } else {
    results.insert(results.end(),
                   {{"forward_tflops", gflop / t.forward_ms}, {"backward_tflops", 2.5 * gflop / t.backward_ms}});
    results.push_back({"kernels", t.kernels});
  }
  results.push_back({"device", device.name()});
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
  const AttentionTimes times = device.visit([&](const auto& ctx) {
    return bf16 ? time_attention<Bf16>(device, ctx, shape, flags) : time_attention<float>(device, ctx, shape, flags);
  });
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
