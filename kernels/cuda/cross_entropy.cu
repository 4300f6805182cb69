// Softmax and cross-entropy, one block per row. A row is read once and held in shared memory, or if it is too long,
// read again for the gradient.
#include "kernels/cross_entropy.h"

#include <algorithm>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/check_cuda.h"
#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr int kMaxThreads = 1024;
constexpr size_t kReservedShared = 1024;  // bytes that the system takes of every block's

struct Shared {
  BlockScratch<float> largest, total;
};

template <typename Scalar>
struct Arguments {
  float* losses;
  const Scalar* logits;
  Scalar* dlogits;  // the logits again; null: forward only
  const int32_t* targets;
  float gradient_scale;
  int V, columns;
};

__device__ inline float exp_shifted(float logit, float largest) { return ptx::exp2((logit - largest) * kLog2E); }

// Statistics of a row, the same in all threads.
struct Softmax {
  float largest, total;  // of the logits, of exp(logit - largest)
};

// A pack of the row, padded with -infinity, which changes neither the maximum nor the sum.
template <typename Scalar>
__device__ Pack<Scalar, kPack<Scalar>> load_logits(const Scalar* z, int first, int V) {
  constexpr int kCount = kPack<Scalar>;
  auto pack = load_pack<kCount>(z + min(first, V), V - first);
  if (V - first >= kCount) return pack;
  float values[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = i < V - first ? pack[i] : -INFINITY;
  return pack_of<Scalar>(values);
}

// The row in shared memory, padded with -infinity: thread t holds packs t, t + threads, ..., so that there is no
// barrier.
template <typename Scalar>
struct SharedRow {
  static constexpr int kCount = kPack<Scalar>, kResident = 1;

  __device__ SharedRow(const Scalar* z, int row_V, Shared& shared)
      : packs(reinterpret_cast<Scalar*>(&shared + 1)), V(row_V) {
    for (int c = threadIdx.x * kCount; c < V; c += blockDim.x * kCount) {
      if (c + kCount <= V && is_aligned<Scalar, kCount>(z + c)) ptx::cp_async(packs + c, z + c, true);
      else store_whole_pack(packs + c, load_logits(z, c, V));
    }
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
  }

  __device__ Softmax softmax(Shared& shared) const {
    float largest = -INFINITY, total = 0.0f;
    each([&](float logit) { largest = fmaxf(largest, logit); });  // a NaN shows in the total
    largest = reduce_block(largest, Max{}, shared.largest, 0);
    each([&](float logit) { total += exp_shifted(logit, largest); });
    return {largest, reduce_block(total, Sum{}, shared.total, 0)};
  }
  template <typename F>
  __device__ void each(const F& f) const {
    for (int c = threadIdx.x * kCount; c < V; c += blockDim.x * kCount) {
      const auto pack = load(c);
#pragma unroll
      for (int i = 0; i < kCount; ++i) f(pack[i]);
    }
  }
  __device__ Pack<Scalar, kCount> load(int c) const { return load_whole_pack<kCount>(packs + c); }
  __device__ float logit(int i) const { return to_float(packs[i]); }

  Scalar* packs;
  int V;
};

// The row in memory. One pass computes its maximum and total (M. Milakov, N. Gimelshein, "Online normalizer
// calculation for softmax", 2018).
template <typename Scalar>
struct LongRow {
  static constexpr int kCount = kPack<Scalar>, kResident = 2;

  __device__ LongRow(const Scalar* row_z, int row_V, Shared&) : z(row_z), V(row_V) {}

  __device__ Softmax softmax(Shared& shared) const {
    float largest = -INFINITY, total = 0.0f;
    for (int c = threadIdx.x * kCount; c < V; c += blockDim.x * kCount) {
      const auto pack = load_logits(z, c, V);
      float new_largest = largest;
#pragma unroll
      for (int i = 0; i < kCount; ++i) new_largest = fmaxf(new_largest, pack[i]);
      if (new_largest > largest) {
        total *= exp_shifted(largest, new_largest);  // 0 at first
        largest = new_largest;
      }
      const float shift = largest == -INFINITY ? 0.0f : largest;  // while all are -infinity
#pragma unroll
      for (int i = 0; i < kCount; ++i) total += exp_shifted(pack[i], shift);
    }
    const float of_block = reduce_block(largest, Max{}, shared.largest, 0);
    if (largest != -INFINITY) total *= exp_shifted(largest, of_block);
    return {of_block, reduce_block(total, Sum{}, shared.total, 0)};
  }
  __device__ Pack<Scalar, kCount> load(int c) const { return load_pack<kCount>(z + c, V - c); }
  __device__ float logit(int i) const { return to_float(z[i]); }

  const Scalar* z;
  int V;
};

template <typename Scalar, typename Row>
__global__ void __launch_bounds__(kMaxThreads, Row::kResident)
    cross_entropy_kernel(const __grid_constant__ Arguments<Scalar> a) {
  constexpr int kCount = kPack<Scalar>;
  auto& shared = dynamic_shared<Shared>();
  const size_t at = static_cast<size_t>(blockIdx.x) * a.columns;
  const int target = a.targets[blockIdx.x];
  const bool is_token = target >= 0 && target < a.V;
  const Row row(a.logits + at, a.V, shared);
  const Softmax softmax = row.softmax(shared);
  if (threadIdx.x == (is_token ? target / kCount % blockDim.x : 0)) {  // which reads it, and overwrites it later
    a.losses[blockIdx.x] = logf(softmax.total) + (softmax.largest - (is_token ? row.logit(target) : NAN));
  }
  if (!a.dlogits) return;
  const float factor = a.gradient_scale / softmax.total;
  for (int c = threadIdx.x * kCount; c < a.V; c += blockDim.x * kCount) {
    const auto pack = row.load(c);
    float values[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values[i] = exp_shifted(pack[i], softmax.largest) * factor - (c + i == target ? a.gradient_scale : 0.0f);
    }
    store_pack(a.dlogits + at + c, values, a.V - c);
  }
  for (int i = a.V + threadIdx.x; i < a.columns; i += blockDim.x) a.dlogits[at + i] = Scalar{};
}

// Two blocks of half the threads, of which one loads while the other computes, are faster than one: on an H200, 28
// November 2026, 32768 x 50257 in bf16, 1.63 ms and 1.84 (two of all threads); from registers, one block, 2.32; read
// twice 2.10; a copy of the logits 1.55.
template <typename Scalar>
void launch_cross_entropy(const CudaContext& ctx, const Arguments<Scalar>& a, int rows) {
  const auto what = [&] { return str_cat("cross_entropy, rows ", rows, ", V ", a.V); };
  GLINT_CHECK(rows > 0 && a.V > 0, "cross entropy of ", rows, " rows of ", a.V);
  const size_t packs = (static_cast<size_t>(a.V) + kPack<Scalar> - 1) / kPack<Scalar>;
  const size_t bytes = sizeof(Shared) + packs * 16;
  const size_t most = static_cast<size_t>(device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin));
  if (bytes > most) {
    launch(ctx, {dim3(rows), dim3(kMaxThreads), sizeof(Shared)}, what, cross_entropy_kernel<Scalar, LongRow<Scalar>>,
           a);
    return;
  }
  const bool two = 2 * bytes + kReservedShared <= most;
  const size_t threads = std::min<size_t>((packs / 2 + 31) / 32 * 32, two ? kMaxThreads / 2 : kMaxThreads);
  launch(ctx, {dim3(rows), dim3(std::max<size_t>(threads, 32)), bytes}, what,
         cross_entropy_kernel<Scalar, SharedRow<Scalar>>, a);
}

}  // namespace

template <typename Scalar>
void cross_entropy_forward(const CudaContext& ctx, float* losses, const Scalar* logits, const int32_t* targets,
                           const CrossEntropyShape& shape) {
  launch_cross_entropy(ctx, Arguments<Scalar>{losses, logits, nullptr, targets, 0.0f, shape.V, shape.columns},
                       shape.rows);
}

template <typename Scalar>
void cross_entropy_forward_backward(const CudaContext& ctx, float* losses, Scalar* logits, const int32_t* targets,
                                    float gradient_scale, const CrossEntropyShape& shape) {
  launch_cross_entropy(ctx, Arguments<Scalar>{losses, logits, logits, targets, gradient_scale, shape.V, shape.columns},
                       shape.rows);
}

template void cross_entropy_forward(const CudaContext&, float*, const float*, const int32_t*, const CrossEntropyShape&);
template void cross_entropy_forward(const CudaContext&, float*, const Bf16*, const int32_t*, const CrossEntropyShape&);
template void cross_entropy_forward_backward(const CudaContext&, float*, float*, const int32_t*, float,
                                             const CrossEntropyShape&);
template void cross_entropy_forward_backward(const CudaContext&, float*, Bf16*, const int32_t*, float,
                                             const CrossEntropyShape&);

}  // namespace glint
