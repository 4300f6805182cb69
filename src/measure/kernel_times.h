// How fast single kernels are on a device: medians of `repeats` timed runs after one warm-up, each of several calls
// where one is short.
#pragma once

#include "kernels/matmul.h"
#include "src/device.h"
#include "src/ops.h"

namespace glint {

struct AttentionTimes {
  double forward_ms, backward_ms, total_ms;
  const char* kernels = "";  // of a GPU
};
// dropout: the drop probability. AttentionKind::reference: on a CPU in fp32 only.
AttentionTimes time_attention(const Device& device, DType dtype, AttentionKind kind, const AttentionShape& shape,
                              float dropout, int repeats);

// Of a linear layer's products, in GFLOP/s: forward, gradient of the input, gradient of the weight.
struct LinearRates {
  double forward, input, weight;
};
LinearRates measure_linear(const Device& device, DType dtype, const LinearShape& shape, int repeats);

}  // namespace glint
