// The kernel that prepares backward.
#pragma once

#include "kernels/cuda/attention/sm90/backward.cuh"

namespace glint::attention::sm90 {

// Fills the scratch but for dq: lse and D of all queries, counters that are zero. kHS: at least that of the arguments.
template <int kHS>
void launch_backward_prepare(const CudaContext& ctx, const BackwardArguments& a);

inline std::string backward_text(const char* kernel, const AttentionShape& s) {
  return str_cat("attention_backward, bf16, sm_90a, ", kernel, ", B ", s.B, ", T ", s.T, ", NH ", s.NH, ", HS ", s.HS);
}

}  // namespace glint::attention::sm90
