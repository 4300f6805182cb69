#include "kernels/cuda/token_order.cuh"

namespace glint {
namespace {

constexpr int kThreads = 256, kScanThreads = 1024;

__global__ void clear_kernel(const TokenOrder o) {
  const size_t i = size_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < static_cast<size_t>(o.chunks) * o.V) o.counts[i] = 0;
}

// A block a chunk. Whole numbers: their sum is the same in any order.
__global__ void count_kernel(const TokenOrder o) {
  const int end = min(o.n, static_cast<int>(blockIdx.x + 1) * o.chunk);
  for (int i = blockIdx.x * o.chunk + threadIdx.x; i < end; i += kThreads) {
    atomicAdd(&o.counts[static_cast<size_t>(blockIdx.x) * o.V + o.tokens[i]], 1);
  }
}

// A thread a token: its occurrences before each chunk, and in all.
__global__ void total_kernel(const TokenOrder o) {
  const int v = blockIdx.x * kThreads + threadIdx.x;
  if (v >= o.V) return;
  int total = 0;
  for (int c = 0; c < o.chunks; ++c) {
    int& count = o.counts[static_cast<size_t>(c) * o.V + v];
    const int here = count;
    count = total;
    total += here;
  }
  o.starts[v + 1] = total;
}

struct ScanScratch {
  int sums[kScanThreads];
};

// One block: running totals in place. A thread has a stretch of tokens to itself.
__global__ void __launch_bounds__(kScanThreads) scan_kernel(const TokenOrder o) {
  ScanScratch& shared = dynamic_shared<ScanScratch>();
  const int stretch = (o.V + kScanThreads - 1) / kScanThreads;
  const int first = min(o.V, static_cast<int>(threadIdx.x) * stretch), end = min(o.V, first + stretch);
  int sum = 0;
  for (int v = first; v < end; ++v) sum += o.starts[v + 1];
  shared.sums[threadIdx.x] = sum;
  __syncthreads();
  for (int distance = 1; distance < kScanThreads; distance *= 2) {
    const int before = static_cast<int>(threadIdx.x) >= distance ? shared.sums[threadIdx.x - distance] : 0;
    __syncthreads();
    shared.sums[threadIdx.x] += before;
    __syncthreads();
  }
  int running = shared.sums[threadIdx.x] - sum;
  if (threadIdx.x == 0) o.starts[0] = 0;
  for (int v = first; v < end; ++v) {
    running += o.starts[v + 1];
    o.starts[v + 1] = running;
  }
}

// A warp a chunk, 32 places at a time: lanes with the same token go behind one another in the order of the lanes.
__global__ void __launch_bounds__(32) place_kernel(const TokenOrder o) {
  int* next = o.counts + static_cast<size_t>(blockIdx.x) * o.V;
  const int begin = blockIdx.x * o.chunk, end = min(o.n, begin + o.chunk), lane = threadIdx.x;
  for (int first = begin; first < end; first += 32) {
    const int i = first + lane;
    const int token = i < end ? o.tokens[i] : -1;
    int before = 0, same = 0;
    for (int other = 0; other < 32; ++other) {
      const bool equal = __shfl_sync(0xffffffffu, token, other) == token;
      same += equal;
      before += equal && other < lane;
    }
    const int at = token >= 0 ? next[token] : 0;
    __syncwarp();  // all have read where their token goes on
    if (token >= 0) {
      o.order[o.starts[token] + at + before] = i;
      if (before + 1 == same) next[token] = at + same;  // the last of them
    }
    __syncwarp();
  }
}

}  // namespace

void sort_tokens(const CudaContext& ctx, const TokenOrder& o) {
  const auto what = [&] { return text("sort_tokens, n ", o.n, ", V ", o.V); };
  const auto blocks = [](size_t n) { return dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads)); };
  launch(ctx, {blocks(static_cast<size_t>(o.chunks) * o.V), dim3(kThreads)}, what, clear_kernel, o);
  launch(ctx, {dim3(static_cast<unsigned>(o.chunks)), dim3(kThreads)}, what, count_kernel, o);
  launch(ctx, {blocks(static_cast<size_t>(o.V)), dim3(kThreads)}, what, total_kernel, o);
  launch(ctx, {dim3(1), dim3(kScanThreads), sizeof(ScanScratch)}, what, scan_kernel, o);
  launch(ctx, {dim3(static_cast<unsigned>(o.chunks)), dim3(32)}, what, place_kernel, o);
}

}  // namespace glint
