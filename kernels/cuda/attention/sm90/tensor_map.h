// TMA's descriptions of the arrays that the kernels load.
#pragma once

#include "kernels/attention.h"
#include "kernels/cuda/ptx_sm90.cuh"

namespace glint::attention::sm90 {

// Boxes of 64 channels x `rows` tokens of one head of a (B, T, heads, HS) array, 128-byte swizzled. Coordinates are
// (channel, head, token, sequence); what lies beyond HS or T loads as zero. Throws Error if the driver refuses, or has
// no TMA.
CUtensorMap make_tensor_map(const HeadView<const Bf16>& view, int B, int T, int heads, int HS, int rows);

}  // namespace glint::attention::sm90
