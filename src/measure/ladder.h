// The rungs of kernels/ladder on this machine: time, and error against double.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/ladder/ladder.h"
#include "src/device.h"

namespace glint {

struct RungResult {
  const char *name, *idea;
  ladder::Traffic traffic;
  double memory;  // scratch and log-sum-exp, bytes
  double forward_ms = INFINITY, backward_ms = INFINITY;
  double error = 0, share = 0;  // the largest of out, dq, dk, dv; the largest share of what is allowed
};

// A result for each rung, on one sequence of random inputs with as many keys as queries; p: the drop probability. Times
// are those of the fastest of `repeats` runs after one more. part_done is told how much is done, 0 to 1.
std::vector<RungResult> measure_rungs(const AttentionShape& shape, float p, int repeats, uint64_t seed,
                                      const std::function<void(double)>& part_done);

// The same of the kernels of a GPU: fp32, mma.sync and, where it runs, wgmma. In bf16 the inputs are rounded before.
// Traffic is each array once.
std::vector<RungResult> measure_device_rungs(const Device& device, const AttentionShape& shape, float p, int repeats,
                                             uint64_t seed, const std::function<void(double)>& part_done);

}  // namespace glint
