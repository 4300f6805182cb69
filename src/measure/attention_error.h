// What rounding does to attention: one call's inputs, its results by a device's kernels and in double, and the
// distance.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attention.h"
#include "kernels/ladder/ladder.h"
#include "src/device.h"
#include "src/ops.h"

namespace glint {

// One call of attention, forward and backward: contiguous q, dout (B, T, NH, HS) and k, v (B, S, NKV, HS).
struct AttentionCase {
  AttentionShape shape;
  std::vector<float> q, k, v, dout;
  float p = 0;
  RngState rng{};
};
AttentionCase random_attention_case(const AttentionShape& shape, float p, uint64_t seed);  // normal, of deviation 1
AttentionCase rounded_to_bf16(AttentionCase x);

template <typename Real>
struct AttentionResults {
  std::vector<Real> out, dq, dk, dv;
  bool operator==(const AttentionResults&) const = default;
};
// By the kernels of a device, in bf16 from inputs that are rounded to it; by a rung of kernels/ladder; in double.
AttentionResults<float> run_attention(const Device& device, DType dtype, AttentionKind kind, const AttentionCase& x);
AttentionResults<float> run_rung(const ladder::Rung& rung, const AttentionCase& x);
// bf16_elements, ds_terms (unless null): as in ladder::attention_in_double(), which returns the latter.
AttentionResults<double> run_in_double(const AttentionCase& x, bool bf16_elements = false, double* ds_terms = nullptr);
AttentionResults<float> rounded_to_bf16(const AttentionResults<double>& exact);

// The reference in bf16 (fp32 has the kernels' own): as a framework computes it, each matrix rounded when it is stored.
AttentionResults<float> run_plain_bf16(const AttentionCase& x);

// The root of the mean square of the differences, against that of the exact values.
struct AttentionErrors {
  double out, dq, dk, dv;
};
double relative_error(const std::vector<float>& got, const std::vector<double>& exact);
AttentionErrors errors_of(const AttentionResults<float>& got, const AttentionResults<double>& exact);
// The errors of exact results that are rounded to bf16 once: no kernel that writes bf16 can have smaller ones.
AttentionErrors errors_of_bf16(const AttentionResults<double>& exact);

// The same with its keys and values in another order; in_order() puts dk and dv back. For one sequence without causal
// mask and dropout: then the result is the same but for rounding.
std::vector<int> random_order(int keys, uint64_t seed);
AttentionCase with_keys_in(const AttentionCase& x, const std::vector<int>& order);
AttentionResults<float> in_order(AttentionResults<float> results, const AttentionCase& x,
                                 const std::vector<int>& order);

}  // namespace glint
