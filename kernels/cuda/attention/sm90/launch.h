// The attention kernels for Hopper (sm_90a: wgmma and TMA), bf16, head sizes up to 128. kernels/attention.h has the
// arguments; kernels/cuda/attention.cu chooses between these and the mma.sync kernels.
#pragma once

#include "kernels/attention.h"

namespace glint::attention::sm90 {

// Scratch of forward, in floats; of backward: HopperBackwardScratch. Nothing is expected of its contents.
size_t forward_scratch(const AttentionShape& shape);

void launch_forward(const CudaContext& ctx, const AttentionForward<Bf16>& a);
void launch_backward(const CudaContext& ctx, const AttentionBackward<Bf16>& a);

}  // namespace glint::attention::sm90
