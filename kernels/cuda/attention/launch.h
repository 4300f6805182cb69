// The launchers of the attention kernels: one for each kernel, head size and type. `scratch` of the backward kernels is
// delta, (B, NH, T): D = keep probability * rowsum(dO * O), which launch_delta() writes and the others read.
#pragma once

#include "kernels/attention.h"

namespace glint::attention {

template <typename Scalar>
void launch_delta(const CudaContext& ctx, const AttentionBackward<Scalar>& a);

// bf16: kHS is the kernel's head size, at least shape.HS.
template <int kHS>
void launch_forward(const CudaContext& ctx, const AttentionForward<Bf16>& a);
template <int kHS>
void launch_backward_keys(const CudaContext& ctx, const AttentionBackward<Bf16>& a);
template <int kHS>
void launch_backward_queries(const CudaContext& ctx, const AttentionBackward<Bf16>& a);

void launch_forward_fp32(const CudaContext& ctx, const AttentionForward<float>& a);
void launch_backward_keys_fp32(const CudaContext& ctx, const AttentionBackward<float>& a);
void launch_backward_queries_fp32(const CudaContext& ctx, const AttentionBackward<float>& a);

}  // namespace glint::attention
