// One query a head against the keys so far: limited by reading the cache. A block has up to kSplitKeys keys of a head;
// longer caches are split among blocks, and a second kernel combines their results, as flash-decoding does (T. Dao,
// D. Haziza, F. Massa, G. Sizov, 2023). Within a block groups of lanes take keys in turn, each with its own online
// softmax; these are combined in a fixed order at the end.
#include "kernels/decode_attention.h"

#include "kernels/attention_check.h"
#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32, kMaxHS = 128;
constexpr int kSplitKeys = 1024;
constexpr int kAhead = 4;  // keys of a group whose loads are in flight
constexpr float kLog2E = 1.44269504f;

int splits_for(int capacity) { return (capacity + kSplitKeys - 1) / kSplitKeys; }

template <typename Scalar>
struct Decode {
  DecodeAttention<Scalar> a;
  int lanes;   // per key: a power of two that covers the packs of HS
  int splits;  // of the whole cache
};

// An online softmax over some keys (exponents are of base 2), with the pack of output channels of one lane.
template <int kCount>
struct Partial {
  float max = -INFINITY, sum = 0.0f;
  float o[kCount] = {};

  // Adds kAhead keys; a score of -inf: none.
  template <typename Values>
  __device__ void add(const float (&score)[kAhead], const Values (&v)[kAhead]) {
    float new_max = max;
#pragma unroll
    for (int n = 0; n < kAhead; ++n) new_max = fmaxf(new_max, score[n]);
    if (new_max == -INFINITY) return;
    const float alpha = ptx::exp2(max - new_max);
    max = new_max;
    sum *= alpha;
#pragma unroll
    for (float& x : o) x *= alpha;
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      const float p = ptx::exp2(score[n] - new_max);
      sum += p;
#pragma unroll
      for (int i = 0; i < kCount; ++i) o[i] = fmaf(p, v[n][i], o[i]);
    }
  }
  // With that of the lane `distance` away, which gets the same.
  __device__ void merge_across(int distance) {
    float other[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) other[i] = __shfl_xor_sync(0xffffffffu, o[i], distance);
    const float other_max = __shfl_xor_sync(0xffffffffu, max, distance),
                other_sum = __shfl_xor_sync(0xffffffffu, sum, distance);
    merge(other_max, other_sum, other);
  }
  __device__ void merge(float other_max, float other_sum, const float (&other)[kCount]) {
    const float new_max = fmaxf(max, other_max);
    if (new_max == -INFINITY) return;
    const float alpha = ptx::exp2(max - new_max), other_alpha = ptx::exp2(other_max - new_max);
    max = new_max;
    sum = sum * alpha + other_sum * other_alpha;
#pragma unroll
    for (int i = 0; i < kCount; ++i) o[i] = o[i] * alpha + other[i] * other_alpha;
  }
};

struct Shared {
  float max[kWarps], sum[kWarps];
  float o[kWarps][kMaxHS];
};

// Where a split leaves its result: HS channels, not divided by the sum, then maximum and sum.
__device__ inline float* split_result(float* scratch, const AttentionShape& s, int b, int h, int splits, int split) {
  return scratch + (size_t{static_cast<unsigned>(b * s.NH + h)} * splits + split) * (s.HS + 2);
}

template <typename Scalar>
__global__ void __launch_bounds__(kThreads) decode_kernel(const __grid_constant__ Decode<Scalar> d) {
  constexpr int kCount = kPack<Scalar>;
  const DecodeAttention<Scalar>& a = d.a;
  const AttentionShape& s = a.shape;
  const int h = blockIdx.x, b = blockIdx.y, split = blockIdx.z, group_size = s.NH / s.NKV, kv = h / group_size;
  const int position = *a.position, begin = split * kSplitKeys, end = min(position + 1, begin + kSplitKeys);
  if (begin >= end) return;  // the whole block
  const int lane = threadIdx.x % d.lanes, group = threadIdx.x / d.lanes, groups = kThreads / d.lanes;
  const int c = lane * kCount, packs = s.HS / kCount;
  const bool has_channels = lane < packs;
  const size_t row = size_t{static_cast<unsigned>(s.NKV)} * s.HS;
  Scalar* keys = a.cache + size_t{blockIdx.y} * 2 * a.capacity * row + static_cast<size_t>(kv) * s.HS + c;
  Scalar* values = keys + a.capacity * row;
  const Scalar *new_key = a.k.at(b, 0, kv) + c, *new_value = a.v.at(b, 0, kv) + c;

  float q[kCount];
  const Pack<Scalar, kCount> query =
      has_channels ? load_whole_pack<kCount>(a.q.at(b, 0, h) + c) : Pack<Scalar, kCount>{};
#pragma unroll
  for (int i = 0; i < kCount; ++i) q[i] = query[i] * (s.scale * kLog2E);

  struct Keys {
    Pack<Scalar, kCount> k[kAhead], v[kAhead];
  };
  const auto load = [&](int first) {
    Keys loaded = {};
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      const int j = first + n * groups + group;
      if (j >= end || !has_channels) continue;
      // The new token's row of the cache may not be written yet.
      loaded.k[n] = load_whole_pack<kCount>(j == position ? new_key : keys + j * row);
      loaded.v[n] = load_whole_pack<kCount>(j == position ? new_value : values + j * row);
    }
    return loaded;
  };

  Partial<kCount> partial;
  Keys next = load(begin);
  for (int first = begin; first < end; first += groups * kAhead) {  // the same for all threads
    const Keys now = next;
    next = load(first + groups * kAhead);  // while these are used
    float score[kAhead];
#pragma unroll
    for (int n = 0; n < kAhead; ++n) {
      score[n] = 0.0f;
#pragma unroll
      for (int i = 0; i < kCount; ++i) score[n] = fmaf(q[i], now.k[n][i], score[n]);
      for (int distance = d.lanes / 2; distance > 0; distance /= 2)
        score[n] += __shfl_xor_sync(0xffffffffu, score[n], distance);
      if (first + n * groups + group >= end) score[n] = -INFINITY;
    }
    partial.add(score, now.v);
  }

  // The groups of a warp, then the warps.
  for (int distance = d.lanes; distance < 32; distance *= 2) partial.merge_across(distance);
  Shared& shared = dynamic_shared<Shared>();
  const int warp = threadIdx.x / 32, channel = threadIdx.x;
  if (threadIdx.x % 32 == 0) shared.max[warp] = partial.max, shared.sum[warp] = partial.sum;
  if (channel % 32 < d.lanes && has_channels) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) shared.o[warp][c + i] = partial.o[i];
  }
  __syncthreads();
  if (channel < s.HS) {
    Partial<1> total;
    for (int w = 0; w < kWarps; ++w) total.merge(shared.max[w], shared.sum[w], {shared.o[w][channel]});
    if (d.splits == 1) {
      a.out.at(b, 0, h)[channel] = from_float<Scalar>(total.o[0] / total.sum);
    } else {
      float* to = split_result(a.scratch, s, b, h, d.splits, split);
      to[channel] = total.o[0];
      if (channel == 0) to[s.HS] = total.max, to[s.HS + 1] = total.sum;
    }
  }
  if (end == position + 1 && h % group_size == 0 && channel < packs) {
    store_pack(keys + position * row, load_whole_pack<kCount>(new_key));
    store_pack(values + position * row, load_whole_pack<kCount>(new_value));
  }
}

template <typename Scalar>
__global__ void __launch_bounds__(kMaxHS) combine_kernel(const __grid_constant__ Decode<Scalar> d) {
  const AttentionShape& s = d.a.shape;
  const int h = blockIdx.x, b = blockIdx.y, channel = threadIdx.x;
  if (channel >= s.HS) return;
  Partial<1> total;
  for (int split = 0; split <= *d.a.position / kSplitKeys; ++split) {
    const float* from = split_result(d.a.scratch, s, b, h, d.splits, split);
    total.merge(from[s.HS], from[s.HS + 1], {from[channel]});
  }
  d.a.out.at(b, 0, h)[channel] = from_float<Scalar>(total.o[0] / total.sum);
}

__global__ void advance_kernel(int* position) { *position += 1; }

}  // namespace

size_t decode_attention_scratch(const CudaContext&, const AttentionShape& shape, int capacity) {
  const auto splits = static_cast<size_t>(splits_for(capacity));
  if (splits == 1) return 0;
  return static_cast<size_t>(shape.B) * static_cast<size_t>(shape.NH) * splits * static_cast<size_t>(shape.HS + 2);
}

template <typename Scalar>
void decode_attention(const CudaContext& ctx, const DecodeAttention<Scalar>& a) {
  const AttentionShape& s = a.shape;
  attention::check_attention(s, {});
  GLINT_CHECK(s.T == 1 && s.HS <= kMaxHS && s.B <= 65535 && a.capacity >= 1, "T ", s.T, ", HS ", s.HS, ", B ", s.B,
              ", capacity ", a.capacity);
  const auto whole = [](const auto& view) {
    return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && view.batch_stride % kPack<Scalar> == 0 &&
           view.head_stride % kPack<Scalar> == 0;
  };
  GLINT_CHECK(whole(a.q) && whole(a.k) && whole(a.v) && reinterpret_cast<uintptr_t>(a.cache) % 16 == 0,
              "q, k, v and the cache have to begin at, and step by, multiples of 16 bytes");
  Decode<Scalar> d{a, 1, splits_for(a.capacity)};
  while (d.lanes * kPack<Scalar> < s.HS) d.lanes *= 2;
  const auto what = [&] { return str_cat("decode_attention, B ", s.B, ", NH ", s.NH, ", HS ", s.HS); };
  const auto heads = static_cast<unsigned>(s.NH), sequences = static_cast<unsigned>(s.B);
  launch(ctx, {dim3(heads, sequences, static_cast<unsigned>(d.splits)), dim3(kThreads), sizeof(Shared)}, what,
         decode_kernel<Scalar>, d);
  if (d.splits > 1) launch(ctx, {dim3(heads, sequences), dim3(kMaxHS)}, what, combine_kernel<Scalar>, d);
}

template void decode_attention(const CudaContext&, const DecodeAttention<float>&);
template void decode_attention(const CudaContext&, const DecodeAttention<Bf16>&);

void advance_position(const CudaContext& ctx, int* position) {
  launch(
      ctx, {dim3(1), dim3(1)}, [] { return "advance_position"; }, advance_kernel, position);
}

}  // namespace glint
