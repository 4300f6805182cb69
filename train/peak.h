// What this machine can do at most, measured: the yardstick of MFU and of the benchmarks.
#pragma once

#include "src/device.h"
#include "src/tensor.h"

namespace glint {

// fp32 fused multiply-adds with all of `threads` threads, in GFLOP/s (2 per element). Takes about 50 ms.
double measure_peak_gflops(int threads);
// What a device does at most in matrix products of this dtype, in GFLOP/s: a GPU's by its data sheet, or as measured
// where the table has it not; 0 where there is no memory left to measure in.
double peak_gflops(const Device& device, DType dtype);
// Reads two arrays and writes a third, far larger than the caches, in GB/s (STREAM's triad, J. McCalpin).
double measure_bandwidth(int threads);
// What a device moves to and from its memory, in GB/s.
double measure_bandwidth(const Device& device);

}  // namespace glint
