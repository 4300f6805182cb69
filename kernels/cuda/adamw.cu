#include "kernels/adamw_update.h"
#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/stochastic_round.h"

namespace glint {
namespace {

constexpr int kThreads = 128, kCount = kMomentsPerDraw;  // 16 bytes of each fp32 array, 8 of bf16

// The moments rounded to their memory format. first: number of the first element in the model.
__device__ inline void round_moments(Pack<float, kCount>& m_pack, Pack<float, kCount>& v_pack, const float (&m)[kCount],
                                     const float (&v)[kCount], uint64_t, const AdamWStep&) {
  m_pack = pack_of<float>(m), v_pack = pack_of<float>(v);
}
__device__ inline void round_moments(Pack<Bf16, kCount>& m_pack, Pack<Bf16, kCount>& v_pack, const float (&m)[kCount],
                                     const float (&v)[kCount], uint64_t first, const AdamWStep& step) {
  const PhiloxCounter r = device_philox4x32<10>(moment_counter(first / kCount, step.t), philox_key(step.seed));
  const uint32_t words[kCount] = {r.x, r.y, r.z, r.w};
  const auto pair = [](Bf16 low, Bf16 high) { return uint32_t{low.bits} | uint32_t{high.bits} << 16; };
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    m_pack.words[i / 2] = pair(round_first_moment(m[i], words[i]), round_first_moment(m[i + 1], words[i + 1]));
    v_pack.words[i / 2] = pair(round_second_moment(v[i], words[i]), round_second_moment(v[i + 1], words[i + 1]));
  }
}

// One pack a thread, without a loop, and the factors from memory: so an H100 updates 124M parameters at the speed of a
// copy (27 November 2026); blocks that loop and compute the factors take 6% more time.
template <typename Moment>
__global__ void __launch_bounds__(kThreads)
    adamw_kernel(const __grid_constant__ AdamWArrays<Moment> a, const AdamWStep* step) {
  const size_t first = (size_t{blockIdx.x} * kThreads + threadIdx.x) * kCount;
  if (first >= a.n || step->halted) return;
  const int valid = a.n - first < kCount ? static_cast<int>(a.n - first) : kCount;
  const AdamWFactors f = step->factors;
  const auto gradients = load_pack<kCount>(a.gradients + first, valid),
             old_params = load_pack<kCount>(a.params + first, valid);
  auto m_pack = load_pack<kCount>(a.m + first, valid), v_pack = load_pack<kCount>(a.v + first, valid);
  float params[kCount], m[kCount], v[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    params[i] = old_params[i], m[i] = m_pack[i], v[i] = v_pack[i];
    adamw_update(params[i], m[i], v[i], gradients[i], first + i < a.n_decayed ? f.keep : 1.0f, f);
  }
  round_moments(m_pack, v_pack, m, v, a.first + first, *step);
  store_pack(a.params + first, params, valid);
  store_pack(a.m + first, m_pack, valid);
  store_pack(a.v + first, v_pack, valid);
  if (a.params_bf16) store_pack(a.params_bf16 + first, params, valid);
}

}  // namespace

template <typename Moment>
void adamw(const CudaContext& ctx, const AdamWArrays<Moment>& a, const AdamWStep* step) {
  GLINT_CHECK(a.first % kMomentsPerDraw == 0, "draws serve ", kMomentsPerDraw, " elements; first is ", a.first);
  if (a.n == 0) return;
  constexpr size_t kPerBlock = kThreads * kCount;
  const auto what = [&] { return str_cat("adamw of ", a.n, " parameters"); };
  const dim3 grid(static_cast<unsigned>((a.n + kPerBlock - 1) / kPerBlock));
  launch(ctx, {grid, dim3(kThreads)}, what, adamw_kernel<Moment>, a, step);
}

template void adamw(const CudaContext&, const AdamWArrays<float>&, const AdamWStep*);
template void adamw(const CudaContext&, const AdamWArrays<Bf16>&, const AdamWStep*);

}  // namespace glint
