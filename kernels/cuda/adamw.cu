#include "kernels/adamw_update.h"
#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr int kCount = 4;  // 16 bytes of each fp32 array, 8 of the bf16 copy

struct Arrays {
  float *params, *m, *v;
  const float* gradients;
  Bf16* params_bf16;
  size_t n, n_decayed;
};

__global__ void __launch_bounds__(kFlatThreads)
    adamw_kernel(const __grid_constant__ Arrays a, const __grid_constant__ AdamW settings, const AdamWStep* step) {
  if (step->halted) return;
  auto& factors = dynamic_shared<AdamWFactors>();  // computed once: they need double precision
  if (threadIdx.x == 0) factors = adamw_factors(settings, *step);
  __syncthreads();
  const AdamWFactors f = factors;
  for_each_pack<kCount>(a.n, [&](size_t first, int valid) {
    const auto gradients = load_pack<kCount>(a.gradients + first, valid),
               old_params = load_pack<kCount>(a.params + first, valid);
    const auto old_m = load_pack<kCount>(a.m + first, valid), old_v = load_pack<kCount>(a.v + first, valid);
    float params[kCount], m[kCount], v[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      params[i] = old_params[i], m[i] = old_m[i], v[i] = old_v[i];
      adamw_update(params[i], m[i], v[i], gradients[i], first + i < a.n_decayed ? f.keep : 1.0f, f);
    }
    store_pack(a.params + first, params, valid);
    store_pack(a.m + first, m, valid);
    store_pack(a.v + first, v, valid);
    if (a.params_bf16) store_pack(a.params_bf16 + first, params, valid);
  });
}

}  // namespace

void adamw(const CudaContext& ctx, float* params, float* m, float* v, const float* gradients, size_t n,
           size_t n_decayed, const AdamW& settings, const AdamWStep* step, Bf16* params_bf16) {
  const auto what = [&] { return str_cat("adamw of ", n, " parameters"); };
  Launch size = flat_launch(n, kCount);
  size.shared_bytes = sizeof(AdamWFactors);
  launch(ctx, size, what, adamw_kernel, Arrays{params, m, v, gradients, params_bf16, n, n_decayed}, settings, step);
}

}  // namespace glint
