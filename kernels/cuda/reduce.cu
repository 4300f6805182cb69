// Sums in double, and the search for values that are not finite.
#include "kernels/reduce.h"

#include <algorithm>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr int kThreads = 256;
constexpr size_t kMaxBlocks = 1024;  // partial sums; independent of the GPU, so that bits are too

struct Identity {
  __device__ double operator()(double x) const { return x; }
};
struct Square {
  __device__ double operator()(double x) const { return x * x; }
};

unsigned blocks_for(size_t n) {
  return static_cast<unsigned>(std::clamp<size_t>((n + kReduceBlock - 1) / kReduceBlock, 1, kMaxBlocks));
}

// partial (blocks): each block's sum of op(x) over its packs, or the result if there is one block.
template <typename Op, typename T>
__global__ void __launch_bounds__(kThreads) sum_kernel(double* partial, const T* x, size_t n) {
  constexpr int kCount = 16 / sizeof(float);
  const Op op;
  double total = 0.0;
  if constexpr (sizeof(T) == sizeof(float)) {
    for_each_pack<kCount>(n, [&](size_t first, int valid) {
      const auto values = load_pack<kCount>(x + first, valid);
#pragma unroll
      for (int i = 0; i < kCount; ++i) total += op(static_cast<double>(values[i]));  // 0 past the end
    });
  } else {
    for_each_pack<1>(n, [&](size_t i, int) { total += op(x[i]); });
  }
  total = reduce_block(total, Sum{}, dynamic_shared<BlockScratch<double>>(), 0);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

template <typename Op>
void sum_of(const CudaContext& ctx, double* result, const float* x, size_t n, void* scratch) {
  const auto what = [&] { return str_cat("sum of ", n, " elements"); };
  const unsigned blocks = blocks_for(n);
  const size_t shared = sizeof(BlockScratch<double>);
  double* partial = blocks == 1 ? result : static_cast<double*>(scratch);
  launch(ctx, {dim3(blocks), dim3(kThreads), shared}, what, sum_kernel<Op, float>, partial, x, n);
  if (blocks == 1) return;
  launch(ctx, {dim3(1), dim3(kThreads), shared}, what, sum_kernel<Identity, double>, result,
         static_cast<const double*>(partial), size_t{blocks});
}

__global__ void set_kernel(unsigned long long* result, unsigned long long value) { *result = value; }

// The exponent's bits are all ones in NaN and infinity only. The least of the indices found is the same in any order.
template <typename Scalar>
__global__ void __launch_bounds__(kThreads)
    first_not_finite_kernel(unsigned long long* result, const Scalar* x, size_t n) {
  constexpr int kCount = kPack<Scalar>;
  for_each_pack<kCount>(n, [&](size_t first, int valid) {
    const auto values = load_pack<kCount>(x + first, valid);
    int found = kCount;
#pragma unroll
    for (int i = kCount - 1; i >= 0; --i) {
      if ((__float_as_uint(values[i]) & 0x7f800000u) == 0x7f800000u) found = i;
    }
    if (found < kCount) atomicMin(result, static_cast<unsigned long long>(first + found));
  });
}

}  // namespace

size_t reduce_scratch(const CudaContext&, size_t n) { return blocks_for(n) * sizeof(double); }

void sum(const CudaContext& ctx, double* result, const float* x, size_t n, void* scratch) {
  sum_of<Identity>(ctx, result, x, n, scratch);
}
void sum_of_squares(const CudaContext& ctx, double* result, const float* x, size_t n, void* scratch) {
  sum_of<Square>(ctx, result, x, n, scratch);
}

void sum(const CudaContext& ctx, double* result, const double* x, size_t n) {
  const auto what = [&] { return str_cat("sum of ", n, " doubles"); };
  launch(ctx, {dim3(1), dim3(kThreads), sizeof(BlockScratch<double>)}, what, sum_kernel<Identity, double>, result, x,
         n);
}

template <typename Scalar>
void first_not_finite(const CudaContext& ctx, uint64_t* result, const Scalar* x, size_t n) {
  static_assert(sizeof(uint64_t) == sizeof(unsigned long long));
  const auto what = [&] { return str_cat("first_not_finite of ", n, " elements"); };
  auto* index = reinterpret_cast<unsigned long long*>(result);
  launch(ctx, {dim3(1), dim3(1)}, what, set_kernel, index, static_cast<unsigned long long>(n));
  launch(ctx, flat_launch(n, kPack<Scalar>), what, first_not_finite_kernel<Scalar>, index, x, n);
}

template void first_not_finite(const CudaContext&, uint64_t*, const float*, size_t);
template void first_not_finite(const CudaContext&, uint64_t*, const Bf16*, size_t);

}  // namespace glint
