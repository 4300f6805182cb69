// The emulated device behind kernels/simt/cuda_headers/cuda_runtime.h: memory, streams, events, graphs. Where CUDA
// leaves a freedom, this device can take it, so that a program that counts on luck fails:
//
//   late     work on a stream runs when somebody waits for it, not before; streams overtake each other, and so do the
//            branches of a graph, in an order drawn from the seed. A missing event or synchronisation shows as wrong
//            numbers. (Copies from pageable host memory read it at once, as CUDA's do.)
//   guarded  the host gets a segmentation fault when it touches device memory itself, and a kernel that is handed the
//            address of host memory is refused.
//
// Device memory starts as NaN. The null stream is in order with all others, as CUDA's legacy default stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>

struct CUstream_st;

namespace simt {

struct DeviceOptions {
  bool late = false, guarded = false;  // `guarded` holds for memory allocated from then on
  uint64_t seed = 0;
  size_t memory = size_t{4} << 30;  // bytes that can be allocated
  int devices = 1, capability = 90;
  bool driver = true;
  bool plain_products = false;  // cuBLASLt knows no epilogue but the bias
};
// As the environment says: SIMT_DEVICE="late guarded seed=7 memory=1000000 devices=0 capability=75 no-driver
// plain-products".
DeviceOptions device_options(const char* text);
inline DeviceOptions device = device_options(std::getenv("SIMT_DEVICE"));

// What glint has asked of the device so far.
struct DeviceCounts {
  size_t allocated = 0, launches = 0, synchronisations = 0, graph_launches = 0;
};
inline DeviceCounts counts;

// Puts work at the end of a stream (or into the graph that the stream is captured in).
void enqueue(CUstream_st* stream, std::function<void()> work);

// Throws if a word of a kernel's argument is the address of host memory, in guarded mode. `what` names the launch.
void check_argument(const void* argument, size_t bytes, const std::function<std::string()>& what);

}  // namespace simt
