// What the attention kernels take, and the functions that launch them: one for each kernel, head size and type.
#pragma once

#include "kernels/attention.h"

namespace glint::attention {

inline constexpr float kLog2E = 1.44269504f;

// A Dropout with its rule, which the host works out. Scale is 1 where dropout is off.
struct DropoutRule {
  const RngState* rng;
  uint64_t site;
  uint32_t threshold;
  float scale;
};

template <typename Scalar>
struct ForwardArguments {
  HeadView<const Scalar> q, k, v;  // (B, T, NH, HS), (B, S, NKV, HS)
  HeadView<Scalar> out;            // (B, T, NH, HS)
  float* lse;                      // (B, NH, T), natural; null: not wanted
  AttentionShape shape;
  DropoutRule dropout;
};

template <typename Scalar>
struct BackwardArguments {
  HeadView<const Scalar> q, k, v, out, dout;
  HeadView<Scalar> dq, dk, dv;
  const float* lse;  // (B, NH, T)
  float* delta;      // (B, NH, T), keep probability * rowsum(dO * O)
  AttentionShape shape;
  DropoutRule dropout;
};

template <int kHS, typename Scalar>
void launch_forward(const CudaContext& ctx, const ForwardArguments<Scalar>& a);
template <typename Scalar>
void launch_delta(const CudaContext& ctx, const BackwardArguments<Scalar>& a);
template <int kHS, typename Scalar>
void launch_backward_keys(const CudaContext& ctx, const BackwardArguments<Scalar>& a);
template <int kHS, typename Scalar>
void launch_backward_queries(const CudaContext& ctx, const BackwardArguments<Scalar>& a);

}  // namespace glint::attention
