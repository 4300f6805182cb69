#include "kernels/cuda/few_rows.h"

#include <algorithm>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kMostRows = 8;  // of one block
constexpr int kColumns = 16;  // of a block, for weights (in, out): 48 blocks for 768 columns
constexpr int kAhead = 8;     // rows of the weight that a thread has in flight
constexpr int kOutputs = 4;   // of a warp, for weights (out, in)

template <typename Scalar>
struct FewRows {
  Scalar* out;
  const Scalar *x, *weight, *bias;
  LinearShape shape;

  __device__ void store(int row, int column, float value) const {
    if (bias) value += to_float(bias[column]);
    Scalar& to = out[static_cast<size_t>(row) * shape.out + column];
    if constexpr (sizeof(Scalar) == 2) to = to_bf16(value);
    else to = value;
  }
};

// Weight (in, out). A block has kColumns of its columns: 32 or 64 bytes of each row. Its threads take rows in turn, and
// their sums are added at the end.
template <typename Scalar, int kRows>
__global__ void __launch_bounds__(kThreads) columns_kernel(const __grid_constant__ FewRows<Scalar> a) {
  constexpr int kCount = kPack<Scalar>, kLanes = kColumns / kCount, kGroups = kThreads / kLanes;
  using Sums = float[kWarps][kRows][kColumns];
  const int in = a.shape.in, width = a.shape.out, rows = a.shape.rows;
  const int column = blockIdx.x * kColumns + threadIdx.x % kLanes * kCount, first_row = blockIdx.y * kRows;
  const Scalar* weight = a.weight + column;
  const Scalar* x = a.x + static_cast<size_t>(first_row) * in;
  float sums[kRows][kCount] = {};
  for (int first = threadIdx.x / kLanes; first < in; first += kGroups * kAhead) {
    Pack<Scalar, kCount> w[kAhead] = {};
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      const int i = first + n * kGroups;
      if (i < in && column < width) w[n] = load_whole_pack<kCount>(weight + static_cast<size_t>(i) * width);
    }
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      const int i = first + n * kGroups;
      if (i >= in) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float factor = first_row + r < rows ? to_float(x[static_cast<size_t>(r) * in + i]) : 0.0f;
#pragma unroll
        for (int k = 0; k < kCount; ++k) sums[r][k] = fmaf(factor, w[n][k], sums[r][k]);
      }
    }
  }
  Sums& shared = dynamic_shared<Sums>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
#pragma unroll
      for (int distance = kLanes; distance < 32; distance *= 2)
        sums[r][k] += __shfl_xor_sync(0xffffffffu, sums[r][k], distance);
      if (lane < kLanes) shared[warp][r][lane * kCount + k] = sums[r][k];
    }
  }
  __syncthreads();
  const int r = threadIdx.x / kColumns, place = threadIdx.x % kColumns, result = blockIdx.x * kColumns + place;
  if (r >= kRows || first_row + r >= rows || result >= width) return;
  float total = 0.0f;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += shared[w][r][place];
  a.store(first_row + r, result, total);
}

// Weight (out, in): a warp computes kOutputs inner products for each row of x.
template <typename Scalar, int kRows>
__global__ void __launch_bounds__(kThreads) products_kernel(const __grid_constant__ FewRows<Scalar> a) {
  constexpr int kCount = kPack<Scalar>;
  const int in = a.shape.in, width = a.shape.out, rows = a.shape.rows, lane = threadIdx.x % 32;
  const int output = (blockIdx.x * kWarps + threadIdx.x / 32) * kOutputs, first_row = blockIdx.y * kRows;
  const Scalar* weight = a.weight + static_cast<size_t>(output) * in;
  const Scalar* x = a.x + static_cast<size_t>(first_row) * in;
  float sums[kOutputs][kRows] = {};
  for (int c = lane * kCount; c < in; c += 32 * kCount) {
    Pack<Scalar, kCount> w[kOutputs] = {};
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      if (output + o < width) w[o] = load_whole_pack<kCount>(weight + static_cast<size_t>(o) * in + c);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first_row + r >= rows) continue;
      const auto factors = load_whole_pack<kCount>(x + static_cast<size_t>(r) * in + c);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
        for (int k = 0; k < kCount; ++k) sums[o][r] = fmaf(factors[k], w[o][k], sums[o][r]);
      }
    }
  }
#pragma unroll
  for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float total = reduce_warp(sums[o][r], Sum{});
      if (lane == o * kRows + r && output + o < width && first_row + r < rows)
        a.store(first_row + r, output + o, total);
    }
  }
}

template <int kRows, typename Scalar>
void launch_few_rows(const CudaContext& ctx, const FewRows<Scalar>& a) {
  static_assert(kOutputs * kRows <= 32);
  const LinearShape& s = a.shape;
  const auto what = [&] { return str_cat("linear_forward, rows ", s.rows, ", in ", s.in, ", out ", s.out); };
  const auto blocks = [&](int outputs) {
    return dim3(static_cast<unsigned>((s.out + outputs - 1) / outputs),
                static_cast<unsigned>((s.rows + kRows - 1) / kRows));
  };
  if (s.layout == WeightLayout::in_out) {
    launch(ctx, {blocks(kColumns), dim3(kThreads), sizeof(float[kWarps][kRows][kColumns])}, what,
           columns_kernel<Scalar, kRows>, a);
  } else {
    launch(ctx, {blocks(kWarps * kOutputs), dim3(kThreads)}, what, products_kernel<Scalar, kRows>, a);
  }
}

}  // namespace

template <typename Scalar>
bool few_rows_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, const Scalar* weight, const Scalar* bias,
                      const LinearShape& shape) {
  const auto whole = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const int inner = shape.layout == WeightLayout::in_out ? shape.out : shape.in;
  if (shape.rows > kFewRows || inner % kPack<Scalar> != 0 || !whole(weight) || !whole(x)) return false;
  const FewRows<Scalar> a{out, x, weight, bias, shape};
  if (shape.rows == 1) launch_few_rows<1>(ctx, a);
  else if (shape.rows == 2) launch_few_rows<2>(ctx, a);
  else if (shape.rows <= 4) launch_few_rows<4>(ctx, a);
  else launch_few_rows<kMostRows>(ctx, a);
  return true;
}

template bool few_rows_forward(const CudaContext&, float*, const float*, const float*, const float*,
                               const LinearShape&);
template bool few_rows_forward(const CudaContext&, Bf16*, const Bf16*, const Bf16*, const Bf16*, const LinearShape&);

}  // namespace glint
