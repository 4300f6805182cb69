#include <cstring>

#include "kernels/adamw_update.h"
#include "kernels/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox_simd.h"
#include "kernels/stochastic_round.h"

namespace glint {
namespace {

constexpr size_t kBlock = 512;  // elements whose draws are made at once

// The words of the elements from number `first`, a multiple of kMomentsPerDraw.
void draw(uint32_t (&words)[kBlock], uint64_t first, const AdamWStep& step) {
  using namespace simd;
  const PhiloxCounter common = moment_counter(0, step.t);
  const Words z = same(common.z), w = same(common.w);
  for (size_t at = 0; at < kBlock; at += 8 * kMomentsPerDraw) {
    const uint64_t number = (first + at) / kMomentsPerDraw;
    const Word4 even = Word4{0, 2, 4, 6} + number, odd = Word4{1, 3, 5, 7} + number;
    const PhiloxCounters r = simd::philox4x32<10>({{even, odd}, {even >> 32, odd >> 32}, z, w}, philox_key(step.seed));
    // Lanes of the four words -> the four words of each lane.
    const UInt8 rx = low_words(r.x), ry = low_words(r.y), rz = low_words(r.z), rw = low_words(r.w);
    const UInt8 xy0145 = __builtin_shufflevector(rx, ry, 0, 8, 1, 9, 4, 12, 5, 13);
    const UInt8 xy2367 = __builtin_shufflevector(rx, ry, 2, 10, 3, 11, 6, 14, 7, 15);
    const UInt8 zw0145 = __builtin_shufflevector(rz, rw, 0, 8, 1, 9, 4, 12, 5, 13);
    const UInt8 zw2367 = __builtin_shufflevector(rz, rw, 2, 10, 3, 11, 6, 14, 7, 15);
    const UInt8 in_order[4] = {__builtin_shufflevector(xy0145, zw0145, 0, 1, 8, 9, 2, 3, 10, 11),
                               __builtin_shufflevector(xy2367, zw2367, 0, 1, 8, 9, 2, 3, 10, 11),
                               __builtin_shufflevector(xy0145, zw0145, 4, 5, 12, 13, 6, 7, 14, 15),
                               __builtin_shufflevector(xy2367, zw2367, 4, 5, 12, 13, 6, 7, 14, 15)};
    std::memcpy(words + at, in_order, sizeof in_order);
  }
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
void adamw(const CpuContext& ctx, const AdamWArrays<Moment>& a, const AdamWStep* step) {
  constexpr bool kDraws = sizeof(Moment) == sizeof(Bf16);
  GLINT_CHECK(a.first % kMomentsPerDraw == 0, "draws serve ", kMomentsPerDraw, " elements; first is ", a.first);
  if (step->halted) return;
  const AdamWFactors& factors = step->factors;
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

template void adamw(const CpuContext&, const AdamWArrays<float>&, const AdamWStep*);
template void adamw(const CpuContext&, const AdamWArrays<Bf16>&, const AdamWStep*);

}  // namespace glint
