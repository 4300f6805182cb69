// glint bench attention: forward and backward of the fused kernel, or of the reference.
#include <cmath>

#include "models/gpt.h"
#include "src/memory.h"
#include "train/commands/bench.h"
#include "train/peak.h"

namespace glint {

namespace {

struct AttentionFlags : BenchFlags {
  int batch = 1, heads = 12, kv_heads = 0, head_size = 64, context = 1024;
  float dropout = 0.0f;
  bool causal = true;
  AttentionKind kind = AttentionKind::flash;
};

// q, k, v, out and their gradients, and what the kernels want besides.
struct AttentionArrays {
  AttentionShape shape;
  size_t queries, keys;
  DeviceMemory memory;
  float *q, *k, *v, *out, *dout, *dq, *dk, *dv, *lse, *scratch;

  AttentionArrays(const CpuContext& cpu, const AttentionShape& s, AttentionKind kind)
      : shape(s),
        queries(static_cast<size_t>(s.B) * s.T * s.NH * s.HS),
        keys(static_cast<size_t>(s.B) * s.T * s.NKV * s.HS) {
    const size_t wanted = kind == AttentionKind::flash ? attention_backward_scratch(cpu, s) : reference_attention_scratch(cpu, s);
    const size_t rows = static_cast<size_t>(s.B) * s.NH * s.T;
    memory = DeviceMemory((4 * queries + 4 * keys + rows + wanted) * sizeof(float), "the benchmark");
    float* next = memory.f32();
    const auto take = [&](size_t n) { return std::exchange(next, next + n); };
    q = take(queries), out = take(queries), dout = take(queries), dq = take(queries);
    k = take(keys), v = take(keys), dk = take(keys), dv = take(keys);
    lse = take(rows), scratch = take(wanted);
    uint32_t state = 1;  // any values of the right size do
    for (float* array : {q, k, v, dout})
      for (size_t i = 0; i < (array == q || array == dout ? queries : keys); ++i)
        array[i] = static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1.0f;
  }
  template <typename Scalar>
  HeadView<Scalar> view(Scalar* data, int heads) const {
    const int64_t row = static_cast<int64_t>(heads) * shape.HS;
    return {data, shape.T * row, row, shape.HS};
  }
  HeadView<const float> read(const float* data, int heads) const { return view(data, heads); }
};

void bench_attention(AttentionFlags flags) {
  if (flags.kv_heads == 0) flags.kv_heads = flags.heads;
  GLINT_REQUIRE(flags.batch >= 1 && flags.context >= 1, "--batch and --context are 1 or more");
  GptConfig config;  // its checks are the ones wanted here
  config.vocab = 1, config.layers = 1, config.context = flags.context, config.heads = flags.heads;
  config.kv_heads = flags.kv_heads, config.embd = flags.heads * flags.head_size, config.attn_dropout = flags.dropout;
  config.validate();
  const CpuContext cpu = cpu_context(flags.threads, flags.matmul);
  const AttentionShape shape{flags.batch, flags.context, flags.context, flags.heads, flags.kv_heads, flags.head_size, flags.causal,
                             1.0f / std::sqrt(static_cast<float>(flags.head_size))};
  const AttentionArrays a(cpu, shape, flags.kind);
  const int NH = shape.NH, NKV = shape.NKV;
  RngState rng{.seed = 1};
  const Dropout dropout{flags.dropout, &rng, 0};
  const auto forward = [&] {
    if (flags.kind == AttentionKind::flash)
      attention_forward(cpu, a.view(a.out, NH), a.lse, a.read(a.q, NH), a.read(a.k, NKV), a.read(a.v, NKV), shape, dropout);
    else
      reference_attention_forward(cpu, a.view(a.out, NH), a.lse, a.read(a.q, NH), a.read(a.k, NKV), a.read(a.v, NKV), a.scratch,
                                  shape, dropout);
  };
  const auto backward = [&] {
    const auto call = [&](auto kernel) {
      kernel(cpu, a.view(a.dq, NH), a.view(a.dk, NKV), a.view(a.dv, NKV), a.read(a.dout, NH), a.read(a.out, NH), a.lse,
             a.read(a.q, NH), a.read(a.k, NKV), a.read(a.v, NKV), a.scratch, shape, dropout);
    };
    if (flags.kind == AttentionKind::flash)
      call([](auto&&... all) { attention_backward(all...); });
    else
      call([](auto&&... all) { reference_attention_backward(all...); });
  };
  const double forward_ms = median_ms(flags.repeats, forward), backward_ms = median_ms(flags.repeats, backward);
  const double total_ms = median_ms(flags.repeats, [&] { forward(), backward(); });
  // 2 products of T*T*HS multiply-adds forward, 5 backward; causality halves them.
  const double forward_gflop = 4e-9 * shape.B * NH * shape.HS * shape.T * static_cast<double>(shape.T) / (flags.causal ? 2 : 1);
  const double gflops = 3.5 * forward_gflop / total_ms * 1000, peak = measure_peak_gflops(cpu.threads);
  print_results({{"forward_ms", forward_ms},
                 {"backward_ms", backward_ms},
                 {"total_ms", total_ms},
                 {"gflops", gflops},
                 {"peak_gflops", peak},
                 {"share_of_peak", gflops / peak},
                 {"threads", cpu.threads}},
                flags.json);
}

}  // namespace

void register_bench_attention(Command bench) {
  Command command = bench.add_command("attention", "Attention, forward and backward");
  const auto flags = std::make_shared<AttentionFlags>();
  command.add("--batch", flags->batch, "Sequences");
  command.add("--heads", flags->heads, "Query heads");
  command.add("--kv-heads", flags->kv_heads, "Key/value heads; 0: as --heads");
  command.add("--head-size", flags->head_size, "Channels per head");
  command.add("--context", flags->context, "Tokens per sequence");
  command.add("--dropout", flags->dropout, "Drop probability");
  command.add_switch("--causal", flags->causal, "Each query sees only the keys up to its own place");
  command.add_choice("--attention", flags->kind, "Kernel",
                     {{"flash", AttentionKind::flash}, {"reference", AttentionKind::reference}});
  add_bench_flags(command, *flags);
  command.run([flags] { bench_attention(*flags); });
}

}  // namespace glint
