// Peak rates of devices, measured or from data sheets: the reference for MFU and the benchmarks.
#pragma once

#include <string>

#include "src/device.h"
#include "src/tensor.h"

namespace glint {

// A GPU by NVIDIA's data sheet: dense bf16 products, memory, NVLink each way (of the SXM modules; A100 of 80 GB). The
// network between nodes is one InfiniBand port per GPU, NDR or HDR. 0: not listed.
struct GpuSheet {
  const char* name;
  double bf16_tflops;
  double memory_gb = 0, memory_gbs = 0, link_gbs = 0, net_gbs = 0;
};
// The sheet whose name is part of `name`, in any case ("NVIDIA H100 80GB HBM3", "h100"); null: none.
const GpuSheet* gpu_sheet(const std::string& name);

// fp32 fused multiply-adds with all of `threads` threads, in GFLOP/s (2 per element). Takes about 50 ms.
double measure_peak_gflops(int threads);
// Peak of a device in matrix products of this dtype, in GFLOP/s: for a GPU in bf16 from its data sheet, otherwise
// measured; 0 if there is not enough memory to measure.
double peak_gflops(const Device& device, DType dtype);
// STREAM's triad (J. McCalpin): reads two arrays, writes a third, far larger than the caches; in GB/s.
double measure_bandwidth(int threads);
// Memory bandwidth of a device, in GB/s.
double measure_bandwidth(const Device& device);

}  // namespace glint
