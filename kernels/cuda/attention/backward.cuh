// Attention backward in bf16: FlashAttention-2's Algorithm 2 split in two, a kernel whose blocks own queries and sum dQ
// over the keys, and one whose blocks own keys and sum dK and dV over the queries. Seven products where one kernel
// would need five, but no atomics: results are bitwise repeatable. With pk = keep probability, s = scale and M the keep
// mask:
//   P = exp(S - LSE),  D = pk * rowsum(dO * O),  dS = P * (M * dP - D),  dP = dO V^T
//   dV = 1/pk * (M * P)^T dO,  dQ = s/pk * dS K,  dK = s/pk * dS^T Q
#pragma once

#include "kernels/cuda/attention/causal_mask.cuh"
#include "kernels/cuda/attention/tile_dropout.cuh"

namespace glint::attention {

inline constexpr int kRows = 16, kTile = kRows * kWarps;  // rows of a warp and of a block; width of a tile

inline std::string backward_text(const char* kernel, const AttentionShape& s) {
  return str_cat("attention_backward, bf16, ", kernel, ", B ", s.B, ", T ", s.T, ", NH ", s.NH, ", HS ", s.HS);
}

}  // namespace glint::attention
