// Runs CUDA kernels on the CPU, from their own source: every CUDA thread is a fiber, and a block's fibers take turns on
// one OS thread, in an order that is a choice (Options::order). What that proves and what it cannot: README.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>

#include "kernels/simt/vector_types.h"

namespace simt {

enum class Order { forward, reverse, random };  // lowest thread first, highest first, drawn from the seed

// A bug to plant into a correct kernel, to see whether its tests notice.
enum class Fault {
  none,
  no_barrier,      // one of take_barrier_sites(), Options::fault_site, does nothing
  no_wait,         // no cp.async is waited for
  late_wait,       // every wait leaves one group more in flight
  short_copy,      // cp.async brings one 16-bit element too few
  swap_fragments,  // mma takes its second and third register of A the wrong way round
  // Hopper's
  no_proxy_fence,   // fence.proxy.async does nothing; only that of "shared" or "global" memory if fault_site says so
  no_wgmma_wait,    // no wgmma is waited for
  late_wgmma_wait,  // every wait leaves one group of wgmma more in flight
  no_syncwarp,      // one of take_syncwarp_sites(), Options::fault_site, does nothing
  wrong_bytes,      // an mbarrier expects 16 bytes too few
  wrong_stride,     // matrix descriptors have a stride 128 bytes too short
  wrong_turn,       // ld.acquire gives one more than was released
  early_release,    // arrivals at one of release_sites(), Options::fault_site, come before the wgmma wait ahead of them
};

struct Options {
  Order order = Order::forward;
  uint64_t seed = 0;            // of Order::random
  unsigned char poison = 0xff;  // fills shared memory when a block starts, and the target of a copy in flight
  unsigned workers = 1;         // OS threads that the blocks are spread over
  unsigned resident = 8;        // blocks that a worker may run at once
  unsigned registers = 0;       // of a thread at launch, which setmaxnreg moves; 0: as many as fit
  size_t stack_bytes = 64 << 10;
  Fault fault = Fault::none;
  std::string fault_site;  // "file:line"
  // Fault::early_release repeats, in the same order of threads, what ran before with note_releases set. Either run
  // begins with launch 0.
  bool note_releases = false;
  unsigned launch = 0;
};
inline Options options;  // of the launches that follow

// An error in a kernel, with the block and thread that it shows in.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] void fail(const std::string& message);  // adds the running thread's coordinates

// The largest dynamic shared memory of a block on any GPU so far (sm_90), in bytes.
inline constexpr size_t kMaxSharedBytes = 232448;

// The barriers that launches have reached since the last call of this: each __syncthreads as "file:line", each named
// barrier as "bar.sync N". And each __syncwarp.
std::set<std::string> take_barrier_sites();
std::set<std::string> take_syncwarp_sites();
// The mbarriers that threads have arrived at after waiting for wgmma, as "mbarrier ADDRESS", since launch 0.
std::set<std::string> release_sites();

// Runs kernel() once for every thread of the grid, with threadIdx and its like set; returns when all are done.
void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);

}  // namespace simt
