// What the kernels draw dropout's masks with: kernels/dropout.h's arithmetic in fewer instructions.
#pragma once

#include "kernels/cuda/ptx.cuh"
#include "kernels/dropout.h"

namespace glint {

struct WideProduct {
  __device__ WideProduct(uint32_t x, uint32_t y) { ptx::multiply_wide(low, high, x, y); }
  uint32_t low, high;
};

// philox4x32 of kernels/philox.h.
template <int kRounds>
__device__ inline PhiloxCounter device_philox4x32(PhiloxCounter c, PhiloxKey k) {
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const WideProduct p0(kPhiloxMultiplier0, c.x), p1(kPhiloxMultiplier1, c.z);
    c = {p1.high ^ c.y ^ k.x, p1.low, p0.high ^ c.w ^ k.y, p0.low};
    k = {k.x + kPhiloxWeyl0, k.y + kPhiloxWeyl1};
  }
  return c;
}

// Keeps the numbers whose byte is at most the threshold, two at a time: bytes compare as the f16 that have them as
// lower half and are between 1 and 1.25. (As in FlashAttention-2, but for the upper half: it has subnormal numbers.)
struct KeepPairs {
  __device__ explicit KeepPairs(uint32_t threshold) : limit(kHighByte << 24 | kHighByte << 8 | threshold * 0x10001u) {}

  // A pair of 16 bits each, or two floats; their bytes are the lower (half 0) or upper two of `random`.
  __device__ void apply(uint32_t& pair, uint32_t random, int half) const {
    pair = ptx::keep_up_to(pair, values(random, half), limit);
  }
  __device__ void apply(float& low, float& high, uint32_t random, int half) const {
    ptx::keep_up_to(low, high, values(random, half), limit);
  }

  static constexpr uint32_t kHighByte = 0x3c;
  __device__ static uint32_t values(uint32_t random, int half) {
    return ptx::byte_permute(random, half ? 0x4342 : 0x4140, kHighByte);
  }

  uint32_t limit;
};

}  // namespace glint
