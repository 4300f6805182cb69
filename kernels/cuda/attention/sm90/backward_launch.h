// Launches of the backward kernels, for one head size each.
#pragma once

#include "kernels/cuda/attention/sm90/backward.cuh"

namespace glint::attention::sm90 {

// kHS is the kernel's head size, at least that of the arguments. `blocks`: of threads.
template <int kHS>
void launch_backward_queries(const CudaContext& ctx, const BackwardArguments& a, int blocks);
template <int kHS>
void launch_backward_keys(const CudaContext& ctx, const BackwardArguments& a, int blocks);
// The latter with dQ. Needs D, and turn counters that are zero: launch_backward_prepare().
template <int kHS>
void launch_backward_fused(const CudaContext& ctx, const BackwardArguments& a, int blocks);
template <int kHS>
void launch_backward_prepare(const CudaContext& ctx, const BackwardArguments& a);

inline std::string backward_text(const char* kernel, const AttentionShape& s) {
  return str_cat("attention_backward, bf16, sm_90a, ", kernel, ", B ", s.B, ", T ", s.T, ", NH ", s.NH, ", HS ", s.HS);
}

}  // namespace glint::attention::sm90
