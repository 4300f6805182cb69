// Attention's output over many dropout masks: its mean and its variance, against what follows from dropout's
// definition.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/dropout.h"
#include "src/ops.h"

namespace glint {

struct Estimate {
  double mean = 0, error = 0;  // error: the standard error of the mean
};
// The mean of equally good values.
Estimate estimate_of(const std::vector<double>& values);

struct MomentSettings {
  int heads = 4, T = 64, HS = 32;  // one sequence, causal, with normal inputs
  float p = 0.1f;
  int masks = 64;  // rounded up to a multiple of 64
  uint64_t seed = 1;
};

// O: the output without dropout, in double. q: the probability to be kept, (threshold + 1) / 256 for 8-bit draws.
struct DropoutMoments {
  Estimate scale;         // <output, O> / <O, O>
  double distance = 0;    // |mean output - O| / |O|
  double chance = 0;      // what that would be, from the number of masks alone, if the mean were O
  Estimate variance;      // sum of (output - q / (1 - p) O)^2 / sum of the formula, q (1 - q) / (1 - p)^2 sum P^2 V^2
  double lost_rows = 0;   // the share of first rows (which see one key) whose output is 0
  bool same_lse = false;  // the log-sum-exp is bit for bit that without dropout
  std::vector<double> row_variance, row_formula;  // of each query's output, mean over heads and channels
};
double kept_rate(float p);  // q
DropoutMoments measure_moments(const MomentSettings& settings, AttentionKind kind, DropoutVariant variant);

}  // namespace glint
