// Softmax and cross-entropy, one block per row. A row is read once and held in registers, or if it is too long, read
// again for the gradient.
#include "kernels/cross_entropy.h"

#include <algorithm>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr float kLog2E = 1.44269504f;
constexpr int kMaxThreads = 1024;

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

// The row in registers: thread t holds packs t, t + threads, ...
template <typename Scalar, int kHeld>
struct HeldRow {
  static constexpr int kCount = kPack<Scalar>;

  __device__ HeldRow(const Scalar* z, int row_V) : V(row_V) {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) packs[k] = load_logits(z, first(k), V);
  }
  __device__ static int first(int k) { return (threadIdx.x + k * blockDim.x) * kCount; }

  __device__ Softmax softmax(Shared& shared) {
    float largest = -INFINITY, total = 0.0f;
    each([&](float logit) { largest = fmaxf(largest, logit); });  // a NaN shows in the total
    largest = reduce_block(largest, Max{}, shared.largest, 0);
    forget();
    each([&](float logit) { total += exp_shifted(logit, largest); });
    return {largest, reduce_block(total, Sum{}, shared.total, 0)};
  }
  __device__ void forget() {
#pragma unroll
    for (auto& pack : packs) pack.forget();
  }
  template <typename F>
  __device__ void each(const F& f) const {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) f(packs[k][i]);
    }
  }
  // to[index] = f(index, logit)
  template <typename F>
  __device__ void map(Scalar* to, const F& f) {
    forget();
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (first(k) >= V) continue;
      float values[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = f(first(k) + i, packs[k][i]);
      store_pack(to + first(k), values, V - first(k));
    }
  }

  Pack<Scalar, kCount> packs[kHeld];
  int V;
};

// The row in memory. One pass computes its maximum and total (M. Milakov, N. Gimelshein, "Online normalizer
// calculation for softmax", 2018).
template <typename Scalar>
struct LongRow {
  static constexpr int kCount = kPack<Scalar>;

  __device__ LongRow(const Scalar* row_z, int row_V) : z(row_z), V(row_V) {}

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
  template <typename F>
  __device__ void map(Scalar* to, const F& f) const {
    for (int c = threadIdx.x * kCount; c < V; c += blockDim.x * kCount) {
      const auto pack = load_pack<kCount>(z + c, V - c);
      float values[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = f(c + i, pack[i]);
      store_pack(to + c, values, V - c);
    }
  }

  const Scalar* z;
  int V;
};

template <typename Scalar, typename Row>
__global__ void __launch_bounds__(kMaxThreads) cross_entropy_kernel(const __grid_constant__ Arguments<Scalar> a) {
  auto& shared = dynamic_shared<Shared>();
  const size_t at = static_cast<size_t>(blockIdx.x) * a.columns;
  const int target = a.targets[blockIdx.x];
  const bool is_token = target >= 0 && target < a.V;
  float target_logit = NAN;
  if (is_token && threadIdx.x == 0) target_logit = load_pack<kPack<Scalar>>(a.logits + at + target, 1)[0];
  __syncwarp();  // unlike shuffles, orders memory: the logit is read before it is overwritten
  Row row(a.logits + at, a.V);
  const Softmax softmax = row.softmax(shared);
  if (threadIdx.x == 0) a.losses[blockIdx.x] = logf(softmax.total) + (softmax.largest - target_logit);
  if (!a.dlogits) return;
  const float factor = a.gradient_scale / softmax.total;
  row.map(a.dlogits + at, [&](int i, float logit) {
    return exp_shifted(logit, softmax.largest) * factor - (i == target ? a.gradient_scale : 0.0f);
  });
  for (int i = a.V + threadIdx.x; i < a.columns; i += blockDim.x) a.dlogits[at + i] = Scalar{};
}

template <typename Scalar>
void launch_cross_entropy(const CudaContext& ctx, const Arguments<Scalar>& a, int rows) {
  const auto what = [&] { return str_cat("cross_entropy, rows ", rows, ", V ", a.V); };
  GLINT_CHECK(rows > 0 && a.V > 0, "cross entropy of ", rows, " rows of ", a.V);
  const int packs = (a.V + kPack<Scalar> - 1) / kPack<Scalar>;
  const auto run = [&](int held, auto kernel) {
    const int threads = std::min((packs + held - 1) / held, kMaxThreads), whole_warps = (threads + 31) / 32 * 32;
    launch(ctx, {dim3(rows), dim3(whole_warps), sizeof(Shared)}, what, kernel, a);
  };
  if (packs <= 2 * 256) run(2, cross_entropy_kernel<Scalar, HeldRow<Scalar, 2>>);
  else if (packs <= 7 * kMaxThreads) run(7, cross_entropy_kernel<Scalar, HeldRow<Scalar, 7>>);  // bf16: V up to 57344
  else run(7, cross_entropy_kernel<Scalar, LongRow<Scalar>>);
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
