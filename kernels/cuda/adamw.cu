#include "kernels/adamw_update.h"
#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/stochastic_round.h"

namespace glint {
namespace {

constexpr int kCount = 8;  // 32 bytes of each fp32 array, 16 of bf16

// The moments rounded to their memory format. first: number of the first element in the model.
__device__ inline void round_moments(Pack<float, kCount>& m_pack, Pack<float, kCount>& v_pack, const float (&m)[kCount],
                                     const float (&v)[kCount], uint64_t, const AdamWStep&) {
  m_pack = pack_of<float>(m), v_pack = pack_of<float>(v);
}
__device__ inline void round_moments(Pack<Bf16, kCount>& m_pack, Pack<Bf16, kCount>& v_pack, const float (&m)[kCount],
                                     const float (&v)[kCount], uint64_t first, const AdamWStep& step) {
#pragma unroll
  for (int i = 0; i < kCount; i += kMomentsPerDraw) {
    const PhiloxCounter r =
        device_philox4x32<10>(moment_counter((first + i) / kMomentsPerDraw, step.t), philox_key(step.seed));
    const uint32_t words[kMomentsPerDraw] = {r.x, r.y, r.z, r.w};
#pragma unroll
    for (int k = 0; k < kMomentsPerDraw; k += 2) {
      const auto pair = [](Bf16 low, Bf16 high) { return uint32_t{low.bits} | uint32_t{high.bits} << 16; };
      m_pack.words[(i + k) / 2] =
          pair(round_first_moment(m[i + k], words[k]), round_first_moment(m[i + k + 1], words[k + 1]));
      v_pack.words[(i + k) / 2] =
          pair(round_second_moment(v[i + k], words[k]), round_second_moment(v[i + k + 1], words[k + 1]));
    }
  }
}

template <typename Moment>
__global__ void __launch_bounds__(kFlatThreads)
    adamw_kernel(const __grid_constant__ AdamWArrays<Moment> a, const __grid_constant__ AdamW settings,
                 const AdamWStep* step) {
  if (step->halted) return;
  auto& factors = dynamic_shared<AdamWFactors>();  // computed once: they need double precision
  if (threadIdx.x == 0) factors = adamw_factors(settings, *step);
  __syncthreads();
  const AdamWFactors f = factors;
  const AdamWStep at = *step;
  for_each_pack<kCount>(a.n, [&](size_t first, int valid) {
    const auto gradients = load_pack<kCount>(a.gradients + first, valid),
               old_params = load_pack<kCount>(a.params + first, valid);
    auto m_pack = load_pack<kCount>(a.m + first, valid), v_pack = load_pack<kCount>(a.v + first, valid);
    float params[kCount], m[kCount], v[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      params[i] = old_params[i], m[i] = m_pack[i], v[i] = v_pack[i];
      adamw_update(params[i], m[i], v[i], gradients[i], first + i < a.n_decayed ? f.keep : 1.0f, f);
    }
    round_moments(m_pack, v_pack, m, v, a.first + first, at);
    store_pack(a.params + first, params, valid);
    store_pack(a.m + first, m_pack, valid);
    store_pack(a.v + first, v_pack, valid);
    if (a.params_bf16) store_pack(a.params_bf16 + first, params, valid);
  });
}

}  // namespace

template <typename Moment>
void adamw(const CudaContext& ctx, const AdamWArrays<Moment>& a, const AdamW& settings, const AdamWStep* step) {
  GLINT_CHECK(a.first % kMomentsPerDraw == 0, "draws serve ", kMomentsPerDraw, " elements; first is ", a.first);
  const auto what = [&] { return str_cat("adamw of ", a.n, " parameters"); };
  Launch size = flat_launch(a.n, kCount);
  size.shared_bytes = sizeof(AdamWFactors);
  launch(ctx, size, what, adamw_kernel<Moment>, a, settings, step);
}

template void adamw(const CudaContext&, const AdamWArrays<float>&, const AdamW&, const AdamWStep*);
template void adamw(const CudaContext&, const AdamWArrays<Bf16>&, const AdamW&, const AdamWStep*);

}  // namespace glint
