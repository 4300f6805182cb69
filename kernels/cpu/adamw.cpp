#include "kernels/adamw_update.h"
#include "kernels/cpu/parallel.h"

namespace glint {
namespace {

// One pass over memory, which limits the speed: 16 bytes read and 12 written per parameter, 14 with the copy.
template <bool kCopy>
void update(float* __restrict params, float* __restrict m, float* __restrict v, const float* __restrict gradients,
            Bf16* __restrict params_bf16, Range range, float keep, const AdamWFactors& factors) {
  const AdamWFactors f = factors;
#pragma omp simd
  for (size_t i = range.begin; i < range.end; ++i) {
    float param = params[i], mean = m[i], square = v[i];
    adamw_update(param, mean, square, gradients[i], keep, f);
    params[i] = param;
    m[i] = mean;
    v[i] = square;
    if constexpr (kCopy) params_bf16[i] = to_bf16(param);
  }
}

}  // namespace

void adamw(const CpuContext& ctx, float* params, float* m, float* v, const float* gradients, size_t n, size_t n_decayed,
           const AdamW& settings, const AdamWStep* step, Bf16* params_bf16) {
  if (step->halted) return;
  const AdamWFactors factors = adamw_factors(settings, *step);
  const auto update_range = params_bf16 ? update<true> : update<false>;
  parallel_ranges(ctx, n, 16, n, [&](Range range) {
    const size_t middle = std::clamp(n_decayed, range.begin, range.end);
    update_range(params, m, v, gradients, params_bf16, {range.begin, middle}, factors.keep, factors);
    update_range(params, m, v, gradients, params_bf16, {middle, range.end}, 1.0f, factors);
  });
}

}  // namespace glint
