// A radix sort, byte by byte from the lowest, each pass stable: count, scan, scatter. No atomics, so
// the order is deterministic.
#include "kernels/cuda/token_order.cuh"

#include <algorithm>
#include <utility>

#include "kernels/cuda/device.cuh"

namespace glint {
namespace {

constexpr int kDigits = 256, kWarps = 8, kRounds = 8;
constexpr int kTile = kWarps * kRounds * 32;  // positions of a block; a warp has kRounds * 32 neighbouring ones
constexpr int kScanThreads = 1024;

int tiles_of(int n) { return std::max((n + kTile - 1) / kTile, 1); }

struct Pass {
  const int32_t* tokens;
  const int* from;  // positions in the order so far; null: 0, 1, ...
  int n, shift;

  __device__ int position(int i) const { return from ? from[i] : i; }
  __device__ int digit(int position) const { return tokens[position] >> shift & (kDigits - 1); }
};

struct Counters {
  int warps[kWarps][kDigits];
};

// f(valid, position, its digit, lanes of the warp with the same digit) for every position of this warp, in order; all
// lanes take part in every call.
template <typename F>
__device__ void for_each_round(const Pass& pass, const F& f) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int round = 0; round < kRounds; ++round) {
    const int i = blockIdx.x * kTile + (warp * kRounds + round) * 32 + lane;
    const bool valid = i < pass.n;
    const int position = valid ? pass.position(i) : 0, digit = valid ? pass.digit(position) : kDigits;
    f(valid, position, digit, __match_any_sync(0xffffffffu, digit));
    __syncwarp();
  }
}

__device__ inline bool is_highest(unsigned equal) { return equal >> (threadIdx.x % 32) == 1; }  // lane of `equal`
__device__ inline int before(unsigned equal) { return __popc(equal & ((1u << (threadIdx.x % 32)) - 1)); }

// counters.warps[w][d] = how often digit d occurs in the positions of warp w.
__device__ inline void count_digits(Counters& counters, const Pass& pass) {
  int* mine = counters.warps[threadIdx.x / 32];
  for (int d = threadIdx.x % 32; d < kDigits; d += 32) mine[d] = 0;
  __syncwarp();
  for_each_round(pass, [&](bool valid, int, int digit, unsigned equal) {
    if (valid && is_highest(equal)) mine[digit] += __popc(equal);
  });
  __syncthreads();
}

// counts (kDigits, tiles)
__global__ void __launch_bounds__(32 * kWarps) count_kernel(int* counts, const __grid_constant__ Pass pass) {
  auto& counters = dynamic_shared<Counters>();
  count_digits(counters, pass);
  static_assert(kDigits == 32 * kWarps);
  int total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += counters.warps[w][threadIdx.x];
  counts[threadIdx.x * gridDim.x + blockIdx.x] = total;
}

// Exclusive prefix sum of counts (n). One block; a thread has neighbouring counts.
__global__ void __launch_bounds__(kScanThreads) scan_kernel(int* counts, int n) {
  auto& warps = dynamic_shared<int[kScanThreads / 32]>();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, each = (n + kScanThreads - 1) / kScanThreads;
  const int begin = min(static_cast<int>(threadIdx.x) * each, n), end = min(begin + each, n);
  int total = 0;
  for (int i = begin; i < end; ++i) total += counts[i];
  int up_to_here = total;  // of the warp
  for (int distance = 1; distance < 32; distance *= 2) {
    const int below = __shfl_up_sync(0xffffffffu, up_to_here, distance);
    if (lane >= distance) up_to_here += below;
  }
  if (lane == 31) warps[warp] = up_to_here;
  __syncthreads();
  int sum = up_to_here - total;
  for (int w = 0; w < warp; ++w) sum += warps[w];
  for (int i = begin; i < end; ++i) {
    const int count = counts[i];
    counts[i] = sum;
    sum += count;
  }
}

// to (n): positions sorted by the current digit; starts (kDigits, tiles): first index of each tile's.
__global__ void __launch_bounds__(32 * kWarps)
    scatter_kernel(int* to, const int* starts, const __grid_constant__ Pass pass) {
  auto& counters = dynamic_shared<Counters>();
  count_digits(counters, pass);
  int start = starts[threadIdx.x * gridDim.x + blockIdx.x];
  for (int w = 0; w < kWarps; ++w) {  // counts become starts
    const int count = counters.warps[w][threadIdx.x];
    counters.warps[w][threadIdx.x] = start;
    start += count;
  }
  __syncthreads();
  int* mine = counters.warps[threadIdx.x / 32];
  for_each_round(pass, [&](bool valid, int position, int digit, unsigned equal) {
    const int first = valid ? mine[digit] : 0;
    if (valid) to[first + before(equal)] = position;
    __syncwarp();
    if (valid && is_highest(equal)) mine[digit] = first + __popc(equal);
  });
}

}  // namespace

size_t token_order_scratch(int n) {
  return 2 * static_cast<size_t>(n) + static_cast<size_t>(kDigits) * static_cast<size_t>(tiles_of(n));
}

const int* sort_by_token(const CudaContext& ctx, const int32_t* tokens, int n, int V, int* scratch) {
  const auto what = [&] { return str_cat("order of ", n, " tokens"); };
  const int tiles = tiles_of(n);
  int *order = scratch, *next = scratch + n, *counts = next + n;
  Pass pass{tokens, nullptr, n, 0};
  for (; pass.shift == 0 || (V - 1) >> pass.shift > 0; pass.shift += 8) {
    launch(ctx, {dim3(tiles), dim3(32 * kWarps), sizeof(Counters)}, what, count_kernel, counts, pass);
    launch(ctx, {dim3(1), dim3(kScanThreads), kScanThreads / 32 * sizeof(int)}, what, scan_kernel, counts,
           kDigits * tiles);
    launch(ctx, {dim3(tiles), dim3(32 * kWarps), sizeof(Counters)}, what, scatter_kernel, next,
           static_cast<const int*>(counts), pass);
    std::swap(order, next);
    pass.from = order;
    if (pass.shift == 24) break;
  }
  return order;
}

}  // namespace glint
