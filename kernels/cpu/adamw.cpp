#include "kernels/adamw_update.h"
#include "kernels/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_simd.h"
#include "kernels/stochastic_round.h"

namespace glint {
namespace {

constexpr size_t kBlock = 8 * kMomentsPerDraw;  // elements whose draws are made at once

// The words of the elements from number `first`, a multiple of kMomentsPerDraw.
void draw(uint32_t (&words)[kBlock], uint64_t first, const AdamWStep& step) {
  using namespace simd;
  const uint64_t number = first / kMomentsPerDraw;
  const Word4 even = Word4{0, 2, 4, 6} + number, odd = Word4{1, 3, 5, 7} + number;
  const PhiloxCounter common = moment_counter(0, step.t);
  const PhiloxCounters random = simd::philox4x32<10>(
      {{even, odd}, {even >> 32, odd >> 32}, same(common.z), same(common.w)}, philox_key(step.seed));
  const UInt8 x = low_words(random.x), y = low_words(random.y), z = low_words(random.z), w = low_words(random.w);
  for (size_t i = 0; i < 8; ++i)
    words[4 * i] = x[i], words[4 * i + 1] = y[i], words[4 * i + 2] = z[i], words[4 * i + 3] = w[i];
}

// One pass over memory, which limits the speed: 16 bytes read and 12 written per parameter with moments in fp32, 12 and
// 8 in bf16; 2 more written with the copy. words: of the elements from `base`, for bf16.
template <typename Moment, bool kCopy>
void update(const AdamWArrays<Moment>& arrays, Range range, float keep, const AdamWFactors& factors,
            const uint32_t* __restrict words, size_t base) {
  float* __restrict params = arrays.params;
  Moment* __restrict m = arrays.m, * __restrict v = arrays.v;
  const float* __restrict gradients = arrays.gradients;
  Bf16* __restrict params_bf16 = arrays.params_bf16;
  const AdamWFactors f = factors;
#pragma omp simd
  for (size_t i = range.begin; i < range.end; ++i) {
    float param = params[i], mean = to_float(m[i]), square = to_float(v[i]);
    adamw_update(param, mean, square, gradients[i], keep, f);
    params[i] = param;
    if constexpr (sizeof(Moment) == sizeof(float)) {
      m[i] = mean;
      v[i] = square;
    } else {
      m[i] = round_first_moment(mean, words[i - base]);
      v[i] = round_second_moment(square, words[i - base]);
    }
    if constexpr (kCopy) params_bf16[i] = to_bf16(param);
  }
}

}  // namespace

template <typename Moment>
void adamw(const CpuContext& ctx, const AdamWArrays<Moment>& a, const AdamW& settings, const AdamWStep* step) {
  constexpr bool kDraws = sizeof(Moment) == sizeof(Bf16);
  GLINT_CHECK(a.first % kMomentsPerDraw == 0, "draws serve ", kMomentsPerDraw, " elements; first is ", a.first);
  if (step->halted) return;
  const AdamWFactors factors = adamw_factors(settings, *step);
  const auto update_range = a.params_bf16 ? update<Moment, true> : update<Moment, false>;
  parallel_ranges(ctx, a.n, kBlock, a.n, [&](Range range) {
    const size_t size = kDraws ? kBlock : range.end - range.begin;
    uint32_t words[kBlock];
    for (size_t begin = range.begin; begin < range.end; begin += size) {
      const size_t end = std::min(begin + size, range.end), middle = std::clamp(a.n_decayed, begin, end);
      if constexpr (kDraws) draw(words, a.first + begin, *step);
      update_range(a, {begin, middle}, factors.keep, factors, words, begin);
      update_range(a, {middle, end}, 1.0f, factors, words, begin);
    }
  });
}

template void adamw(const CpuContext&, const AdamWArrays<float>&, const AdamW&, const AdamWStep*);
template void adamw(const CpuContext&, const AdamWArrays<Bf16>&, const AdamW&, const AdamWStep*);

}  // namespace glint
