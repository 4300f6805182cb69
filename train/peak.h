// What this machine can do at most, measured: the yardstick of MFU and of the benchmarks.
#pragma once

namespace glint {

// fp32 fused multiply-adds with all of `threads` threads, in GFLOP/s (2 per element). Takes about 50 ms.
double measure_peak_gflops(int threads);
// Reads two arrays and writes a third, far larger than the caches, in GB/s (STREAM's triad, J. McCalpin).
double measure_bandwidth(int threads);

}  // namespace glint
