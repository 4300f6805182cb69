// Runs CUDA kernels on the CPU, from their own source: every CUDA thread is a fiber, and a block's fibers take turns on
// one OS thread. Which one goes next is a choice (Options::order), so that a kernel that lacks a barrier can be shown
// to. kernels/cuda/device.cuh and ptx.cuh include this emulator where the compiler is not nvcc; kernels know nothing of
// it.
//
//   simt.h               options, errors, launch
//   fiber.h              stacks to switch between, told to AddressSanitizer and ThreadSanitizer
//   block.h, block.cpp   one thread block: its threads, scheduler and shared memory
//   meeting.cpp          where threads meet: barriers and warp collectives
//   cuda.h, warp.h, vector_types.h, vector_access.h, bf16.h   the names of CUDA C++ for a host compiler; no CUDA toolkit is needed
//   ptx.h                cp.async, ldmatrix, mma.sync: what the wrappers of kernels/cuda/ptx.cuh do here
//
// What it finds: a missing barrier or wait (shared memory starts poisoned, and so is the target of a copy until the
// wait that covers it), barrier and warp divergence, deadlock, misaligned copies, wrong fragments and swizzles. With
// AddressSanitizer, shared or global memory out of bounds. With ThreadSanitizer every fiber counts as a thread and only
// barriers order them, so that a race is reported with both lines even where the values come out right.
//
// What it cannot prove: that the text of a PTX wrapper says what its emulation does, the strength of the memory model,
// how hardware schedules, speed, the rounding of tensor cores and of approximate functions. For that, run the wrappers
// on a GPU against the emulation.
//
// Limits: a thread that returns before a barrier is reported as a deadlock, though sm_70 and later tolerate it; two
// benign stores of one value are a race; an overflow from one member of a shared struct into the next is seen only by
// UndefinedBehaviorSanitizer, in arrays of known bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>

#include "tests/simt/vector_types.h"

namespace simt {

enum class Order { forward, reverse, random };  // lowest thread first, highest first, drawn from the seed

// A bug to plant into a sound kernel, to see whether its tests notice.
enum class Fault {
  none,
  no_barrier,      // one __syncthreads of the source, Options::fault_site, does nothing
  no_wait,         // no cp.async is waited for
  late_wait,       // every wait leaves one group more in flight
  short_copy,      // cp.async brings one 16-bit element too few
  swap_fragments,  // mma takes its second and third register of A the wrong way round
};

struct Options {
  Order order = Order::forward;
  uint64_t seed = 0;            // of Order::random
  unsigned char poison = 0xff;  // fills shared memory when a block starts, and the target of a copy in flight
  unsigned workers = 1;         // OS threads that the blocks are spread over
  size_t stack_bytes = 64 << 10;
  Fault fault = Fault::none;
  std::string fault_site;  // "file:line"
};
inline Options options;  // of the launches that follow

// What is wrong with a kernel, with the block and thread where it shows.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[noreturn]] void fail(const std::string& message);  // adds the running thread's coordinates

// The largest dynamic shared memory of a block on any GPU so far (sm_90), in bytes.
inline constexpr size_t kMaxSharedBytes = 232448;

// The __syncthreads that launches have come to since the last call, as "file:line".
std::set<std::string> take_barrier_sites();

// Runs kernel() once for every thread of the grid, with threadIdx and its like set; returns when all are done.
void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);

}  // namespace simt
