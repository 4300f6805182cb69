// The emulated device behind kernels/simt/cuda_headers/cuda_runtime.h: memory, streams, events, graphs. Where CUDA
// leaves the order open, this device can choose any, so that a program that relies on luck fails:
//
//   late     work on a stream runs only when the host waits for it; streams overtake each other, and so do the branches
//            of a graph, in an order drawn from the seed. A missing event or synchronisation shows as wrong
//            numbers. (Copies from pageable host memory read it at once, as CUDA's do.)
//   guarded  the host gets a segmentation fault when it touches device memory, and a launch that passes an address of
//            host memory throws.
//
// Device memory starts as NaN. The null stream synchronises with all others, as CUDA's legacy default stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>

struct CUstream_st;

namespace simt {

struct DeviceOptions {
  bool late = false, guarded = false;  // `guarded` applies to memory allocated afterwards
  uint64_t seed = 0;
  size_t memory = size_t{4} << 30;   // bytes that can be allocated
  int devices = 1, capability = 80;  // 80: compute capability 8.0
  int multiprocessors = 2;
  bool driver = true;
  bool plain_products = false;  // cuBLASLt supports no epilogue but the bias
  // cuBLASLt's algorithms of any product, each with its own order of summation. With several a product takes minutes
  // on the clock of events, so that measuring gives the same order every time: `fastest` is the fastest one, and
  // epilogues other than the bias are faster than what they replace, or slower.
  int algorithms = 1, fastest = 0;
  bool slow_epilogues = false;
};
// Parses the environment's SIMT_DEVICE, such as "late guarded seed=7 memory=1000000 devices=0 capability=90
// multiprocessors=3 no-driver plain-products algorithms=4 fastest=2 slow-epilogues".
DeviceOptions device_options(const char* text);
inline DeviceOptions device = device_options(std::getenv("SIMT_DEVICE"));

// Counts of the calls so far.
struct DeviceCounts {
  size_t allocated = 0, launches = 0, synchronisations = 0, graph_launches = 0;
};
inline DeviceCounts counts;

// Appends work to a stream (or to the graph that the stream is captured in).
void enqueue(CUstream_st* stream, std::function<void()> work);

// Throws if a word of a kernel's argument is the address of host memory, in guarded mode. `what` names the launch.
void check_argument(const void* argument, size_t bytes, const std::function<std::string()>& what);
template <typename Argument>
void check_argument(Argument argument, const std::function<std::string()>& what) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
  __builtin_clear_padding(&argument);  // it may hold part of an old address
#endif
#endif
  check_argument(&argument, sizeof argument, what);
}

}  // namespace simt
