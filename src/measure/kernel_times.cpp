#include "src/measure/kernel_times.h"

#include <algorithm>
#include <type_traits>

#include "src/measure/median.h"
#include "src/memory.h"

namespace glint {

namespace {

// Deterministic values in [-1, 1).
template <typename Scalar>
std::vector<Scalar> pseudo_random(size_t n) {
  std::vector<Scalar> values(n);
  uint32_t state = 1;
  for (Scalar& value : values) {
    state = state * 1664525u + 1013904223u;
    value = from_float<Scalar>(static_cast<float>(state >> 8) * 0x1p-23f - 1.0f);
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

template <typename Scalar, typename Context>
AttentionTimes time_in(const Device& device, const Context& device_context, AttentionKind kind,
                       const AttentionShape& shape, float p, int repeats) {
  const Context ctx = with_kernels(device_context, kind);
  const AttentionArrays<Context, Scalar> a(device, ctx, shape, kind);
  const int NH = shape.NH, NKV = shape.NKV;
  const Dropout dropout(p, a.rng, 0);
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
      if (kind == AttentionKind::reference) return reference_attention_forward(ctx, forward_arguments);
    }
    attention_forward(ctx, forward_arguments);
  };
  const auto backward = [&] {
    if constexpr (kHasReference<Context, Scalar>) {
      if (kind == AttentionKind::reference) return reference_attention_backward(ctx, backward_arguments);
    }
    attention_backward(ctx, backward_arguments);
  };
  forward();
  const int calls = calls_at_a_time(ctx, measure_seconds(ctx, forward));
  const auto time = [&](auto call) {
    const auto several = [&] {
      for (int i = 0; i < calls; ++i) call();
    };
    return median_ms(ctx, repeats, several) / calls;
  };
  const char* kernels = "";
  if constexpr (std::is_same_v<Context, CudaContext>) {
    kernels = sizeof(Scalar) == 4 ? "fp32" : uses_hopper_attention(ctx) ? "wgmma" : "mma.sync";
  }
  return {time(forward), time(backward), time([&] { forward(), backward(); }), kernels};
}

template <typename Scalar, typename Context>
LinearRates rates_in(const Device& device, const Context& ctx, const LinearShape& shape, int repeats) {
  const size_t rows = static_cast<size_t>(shape.rows), in = static_cast<size_t>(shape.in),
               out = static_cast<size_t>(shape.out);
  const size_t scalars = 2 * (rows * in + rows * out) + in * out;
  const DeviceMemory memory(scalars * sizeof(Scalar) + in * out * sizeof(float) + 16, "the benchmark", device);
  auto* x = static_cast<Scalar*>(memory.data());
  Scalar *dx = x + rows * in, *y = dx + rows * in, *dy = y + rows * out, *w = dy + rows * out;
  auto* dw = reinterpret_cast<float*>(static_cast<char*>(memory.data()) + (scalars * sizeof(Scalar) + 15) / 16 * 16);
  std::vector<Scalar> values(scalars);
  for (size_t i = 0; i < scalars; ++i) values[i] = from_float<Scalar>(static_cast<float>(i % 17) / 17.0f - 0.5f);
  copy_to_device(ctx, x, values.data(), scalars * sizeof(Scalar));
  const double gflop = 1e-9 * flops_of(shape);
  const double enough = device.is_cpu() ? 0.5 : 500.0;  // GFLOP, enough work to time
  const int calls = static_cast<int>(std::clamp(enough / gflop, 1.0, 1000.0));
  const auto gflops = [&](auto product) {
    return calls * gflop * 1000 / median_ms(ctx, repeats, [&] {
             for (int i = 0; i < calls; ++i) product();
           });
  };
  const Scalar* none = nullptr;
  return {gflops([&] { linear_forward(ctx, y, x, w, none, shape); }),
          gflops([&] { linear_backward_input(ctx, dx, dy, w, shape, Write::set); }),
          gflops([&] { linear_backward_weight(ctx, dw, nullptr, x, dy, nullptr, shape, Write::set); })};
}

}  // namespace

AttentionTimes time_attention(const Device& device, DType dtype, AttentionKind kind, const AttentionShape& shape,
                              float dropout, int repeats) {
  return device.visit([&](const auto& ctx) {
    return dtype == DType::bf16 ? time_in<Bf16>(device, ctx, kind, shape, dropout, repeats)
                                : time_in<float>(device, ctx, kind, shape, dropout, repeats);
  });
}

LinearRates measure_linear(const Device& device, DType dtype, const LinearShape& shape, int repeats) {
  return device.visit([&](const auto& ctx) {
    return dtype == DType::bf16 ? rates_in<Bf16>(device, ctx, shape, repeats)
                                : rates_in<float>(device, ctx, shape, repeats);
  });
}

}  // namespace glint
