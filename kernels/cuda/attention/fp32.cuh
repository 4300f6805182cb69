// Shared by the fp32 attention kernels. They are structured like the bf16 ones, but use fp32 arithmetic: a warp owns
// kWarpRows rows of a tile of kTile x kTile scores and a lane one column; in products with tokens a lane owns the
// channels lane, lane + 32, ...
#pragma once

#include "kernels/causal_range.h"
#include "kernels/cuda/attention/launch.h"
#include "kernels/cuda/device.cuh"

namespace glint::attention::fp32 {

inline constexpr int kTile = 32, kWarps = 4, kThreads = 32 * kWarps, kWarpRows = kTile / kWarps;
inline constexpr int kMaxHS = 128, kLaneChannels = kMaxHS / 32;

__device__ inline int warp() { return threadIdx.x / 32; }
__device__ inline int lane() { return threadIdx.x % 32; }

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lanes));
  return x;
}
__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  return x;
}

// kTile tokens of one head. The odd row length spreads a column over all banks.
struct TokenTile {
  float data[kTile][kMaxHS + 1];

  // Tokens from `first`; zeros after the last.
  __device__ void load(const HeadView<const float>& view, int b, int first, int h, int tokens, int HS) {
    for (int at = threadIdx.x; at < kTile * HS; at += kThreads) {
      const int row = at / HS, c = at % HS;
      data[row][c] = first + row < tokens ? view.at(b, first + row, h)[c] : 0.0f;
    }
  }
};

__device__ inline float dot(const float* a, const float* b, int HS) {
  float sum = 0.0f;
  for (int c = 0; c < HS; ++c) sum = fmaf(a[c], b[c], sum);
  return sum;
}

// f(n, c) for the lane's channels: number n among them, c of the head.
template <typename F>
__device__ inline void for_channels(int HS, F f) {
#pragma unroll
  for (int n = 0; n < kLaneChannels; ++n) {
    const int c = lane() + 32 * n;
    if (c < HS) f(n, c);
  }
}

// Element (i, j) of dropped P and of dS, recomputed for backward; see backward.cuh for the formulas.
struct Gradient {
  float p, ds;
};
__device__ inline Gradient gradient_of(const AttentionBackward<float>& a, int b, int h, int i, int j, const float* q,
                                       const float* dout, const float* k, const float* v) {
  const AttentionShape& s = a.shape;
  if (i >= s.T || !CausalRange(s).is_visible(i, j)) return {0.0f, 0.0f};
  const int64_t row = row_of(s, b, h, i);
  const float p = exp2f((dot(q, k, s.HS) * s.scale - a.lse[row]) * kLog2E);
  const DropoutMask mask(a.dropout, s.NH, 0, b * s.NH + h);  // (b, h) as (0, b*NH + h): ptxas needs fewer registers
  if (!mask.keeps_attention(i, j)) return {0.0f, -p * a.scratch[row]};
  return {p, p * (dot(dout, v, s.HS) - a.scratch[row])};
}

inline std::string what_of(const char* kernel, const AttentionShape& s) {
  return str_cat(kernel, ", fp32, B ", s.B, ", T ", s.T, ", NH ", s.NH, ", HS ", s.HS);
}

}  // namespace glint::attention::fp32
