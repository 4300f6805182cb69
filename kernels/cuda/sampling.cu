// Drawing tokens, one block a sequence. Each of top-k, top-p and the draw looks for one token: the first at which the
// running sum of weights, over tokens in a certain order, exceeds a target. In the order of likelihood it is found two
// bits of the logit at a time, so that not all have to be sorted; in the order of tokens by cutting a range in 16, one
// for each warp. Weights are integers, so that their sums are exact.
#include "kernels/sampling.h"

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/pack.cuh"

namespace glint {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kMaxListed = 256;  // the largest top-k whose tokens are sorted
constexpr int kOneBits = 36;     // log2 of the likeliest token's weight: 2^17 of them have an exact sum in double
using Weight = unsigned long long;

// The order of floats as that of integers.
__device__ inline uint32_t key_of(float logit) {
  const uint32_t bits = __float_as_uint(logit);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// value * 2^kOneBits, rounded down; value in [0, 1]. Faster than the conversion to 64 bits.
__device__ inline Weight fixed_point(float value) {
  const uint32_t bits = __float_as_uint(value);
  const int down = 127 - static_cast<int>(bits >> 23);
  return down > kOneBits ? 0 : (Weight{(bits & 0x7fffffu) | 0x800000u} << (kOneBits - 23)) >> down;
}

// The weight of a token that is min_p times as likely as the likeliest.
__device__ inline Weight least_weight(float min_p) { return min_p > 0 ? fixed_point(min_p) : 0; }

// Tokens by falling logit, equal ones by rising number.
struct Place {
  uint32_t key;
  int token;

  __device__ bool before(const Place& other) const {
    return key > other.key || (key == other.key && token < other.token);
  }
};

struct Shared {
  BlockScratch<Weight, 3> sums;
  BlockScratch<float> maxima;
  Weight warps[kWarps];
  int listed;
  Place list[kMaxListed], sorted[kMaxListed];
  Weight weights[kMaxListed];
};

template <typename Scalar>
struct Row {
  const Scalar* logits;
  int V, never;
  Shared& shared;
  int turn = 0;

  // f(token, logit) for the tokens first .. end - 1 of this thread, one of `threads`.
  template <typename F>
  __device__ __forceinline__ void for_each(int first, int end, int thread, int threads, const F& f) const {
    constexpr int kCount = kPack<Scalar>, kAhead = 4;  // packs in flight
    const auto call = [&](int token, float logit) {
      if (token != never) f(token, logit);
    };
    const int stride = threads * kCount;
    int base = first + thread * kCount;
    if (is_aligned<Scalar, kCount>(logits + first)) {
      for (; base + (kAhead - 1) * stride + kCount <= end; base += kAhead * stride) {
        Pack<Scalar, kCount> packs[kAhead];
#pragma unroll
        for (int n = 0; n < kAhead; ++n) packs[n] = load_whole_pack<kCount>(logits + base + n * stride);
#pragma unroll
        for (int n = 0; n < kAhead; ++n) {
#pragma unroll
          for (int i = 0; i < kCount; ++i) call(base + n * stride + i, packs[n][i]);
        }
      }
    }
    for (; base < end; base += stride) {  // what is left, or not aligned
#pragma unroll 1
      for (int i = base; i < min(base + kCount, end); ++i) call(i, to_float(logits[i]));
    }
  }

  __device__ __forceinline__ float largest() {
    float most = -INFINITY;
    for_each(0, V, threadIdx.x, kThreads, [&](int, float logit) { most = fmaxf(most, logit); });
    return reduce_block(most, Max{}, shared.maxima, turn++);
  }

  template <typename Measure>
  __device__ __forceinline__ Weight sum(const Measure& measure) {
    Weight sums[3] = {};
    for_each(0, V, threadIdx.x, kThreads, [&](int token, float logit) { sums[0] += measure(token, logit); });
    reduce_group(sums, Sum{}, shared.sums, turn++, kWarps);
    return sums[0];
  }

  // In the order of tokens, the first whose running sum exceeds `target`, which is below the sum of all.
  template <typename Measure>
  __device__ int find_by_token(Weight target, const Measure& measure) {
    constexpr int kCount = kPack<Scalar>;
    int first = 0, length = V;
    while (length > kCount) {
      const int part = (length + kWarps * kCount - 1) / (kWarps * kCount) * kCount;  // of each warp; packs stay whole
      const int warp = threadIdx.x / 32, begin = first + warp * part, end = min(begin + part, first + length);
      Weight mine = 0;
      for_each(begin, end, threadIdx.x % 32, 32, [&](int token, float logit) { mine += measure(token, logit); });
      mine = reduce_warp(mine, Sum{});
      if (threadIdx.x % 32 == 0) shared.warps[warp] = mine;
      __syncthreads();
      int chosen = 0;
      for (; chosen + 1 < kWarps && target >= shared.warps[chosen]; ++chosen) target -= shared.warps[chosen];
      __syncthreads();
      length = min(part, length - chosen * part);
      first += chosen * part;
    }
    int found = first;
    for (int token = first; token < first + length; ++token) {
      if (token == never) continue;
      const Weight weight = measure(token, to_float(logits[token]));
      if (weight == 0) continue;
      found = token;
      if (target < weight) break;
      target -= weight;
    }
    return found;
  }

  // The same in the order of places.
  template <typename Measure>
  __device__ Place find_by_place(Weight target, const Measure& measure) {
    constexpr int kLowest = sizeof(Scalar) == 2 ? 16 : 0;  // a Bf16's other bits follow from its sign
    uint32_t key = 0;
    for (int shift = 30; shift >= kLowest; shift -= 2) {
      // Of the tokens that agree with the key above these two bits: the weights with bits 3, 2 and 1.
      Weight sums[3] = {};
      for_each(0, V, threadIdx.x, kThreads, [&](int token, float logit) {
        const uint32_t difference = (key_of(logit) ^ key) >> shift;
        if (difference == 0 || difference > 3) return;
        const Weight weight = measure(token, logit);
        sums[0] += difference == 3 ? weight : 0;
        sums[1] += difference == 2 ? weight : 0;
        sums[2] += difference == 1 ? weight : 0;
      });
      reduce_group(sums, Sum{}, shared.sums, turn++, kWarps);
      uint32_t bits = 3;
#pragma unroll
      for (int i = 0; i < 3; ++i) {
        if (bits != static_cast<uint32_t>(3 - i) || target < sums[i]) continue;
        target -= sums[i], bits -= 1;
      }
      key |= bits << shift;
    }
    const uint32_t mask = 0xffffffffu << kLowest;
    const int token = find_by_token(target, [&](int t, float logit) {
      return ((key_of(logit) ^ key) & mask) == 0 ? measure(t, logit) : Weight{0};
    });
    return {key_of(to_float(logits[token])), token};
  }
};

__device__ inline bool keeps(const Place& last, int token, float logit) { return !last.before({key_of(logit), token}); }

// The draw from the `count` likeliest tokens, at most kMaxListed: those up to `last`.
template <typename Scalar, typename Measure>
__device__ int draw_listed(Row<Scalar>& row, const Place& last, int count, double point, const SamplingOptions& options,
                           const Measure& weight) {
  Shared& shared = row.shared;
  if (threadIdx.x == 0) shared.listed = 0;
  __syncthreads();
  row.for_each(0, row.V, threadIdx.x, kThreads, [&](int token, float logit) {
    if (keeps(last, token, logit)) shared.list[atomicAdd(&shared.listed, 1)] = {key_of(logit), token};
  });
  __syncthreads();
  const int mine = threadIdx.x;
  if (mine < count) {  // in any order so far
    const Place place = shared.list[mine];
    int rank = 0;
    for (int i = 0; i < count; ++i) rank += shared.list[i].before(place);
    shared.sorted[rank] = place;
    shared.weights[rank] = weight(place.token, to_float(row.logits[place.token]));
  }
  __syncthreads();
  Weight total = 0;
  for (int i = 0; i < count; ++i) total += shared.weights[i];
  if (options.top_p < 1.0f) {
    const double enough = static_cast<double>(options.top_p) * static_cast<double>(total);
    total = 0;
    int kept = 0;
    for (; kept < count && static_cast<double>(total) < enough; ++kept) total += shared.weights[kept];
    count = kept;
  }
  const Weight least = least_weight(options.min_p);
  if (least > 0) {  // the list falls, so what is left is its beginning
    total = 0;
    int kept = 0;
    for (; kept < count && shared.weights[kept] >= least; ++kept) total += shared.weights[kept];
    count = kept;
  }
  auto target = min(static_cast<Weight>(point * static_cast<double>(total)), total - 1);
  int i = 0;
  for (; i + 1 < count && target >= shared.weights[i]; ++i) target -= shared.weights[i];
  return shared.sorted[i].token;
}

template <typename Scalar>
__device__ int draw(Row<Scalar>& row, double point, const SamplingOptions& options) {
  const float peak = row.largest();
  if (options.temperature == 0.0f) return row.find_by_token(0, [&](int, float logit) { return Weight{logit == peak}; });
  Place last{0, row.V};
  const int candidates = row.V - (row.never >= 0 && row.never < row.V ? 1 : 0);
  const bool narrowed = options.top_k > 0 && options.top_k < candidates;
  if (narrowed) last = row.find_by_place(options.top_k - 1, [](int, float) { return Weight{1}; });
  const float scale = 1.44269504f / options.temperature;
  const auto weight = [&](int token, float logit) -> Weight {
    return keeps(last, token, logit) ? fixed_point(ptx::exp2((logit - peak) * scale)) : 0;
  };
  if (narrowed && options.top_k <= kMaxListed) return draw_listed(row, last, options.top_k, point, options, weight);
  Weight total = row.sum(weight);
  if (options.top_p < 1.0f) {  // the smallest set of the most likely tokens with a total probability of top_p
    const auto enough = static_cast<Weight>(ceil(options.top_p * static_cast<double>(total)));
    last = row.find_by_place(min(max(enough, Weight{1}), total) - 1, weight);
    total = row.sum(weight);
  }
  const Weight least = least_weight(options.min_p);
  const auto likely = [&](int token, float logit) -> Weight {
    const Weight w = weight(token, logit);
    return w >= least ? w : 0;
  };
  if (least > 0) total = row.sum(likely);
  const auto target = min(static_cast<Weight>(point * static_cast<double>(total)), total - 1);
  if (narrowed || options.top_p < 1.0f) return row.find_by_place(target, likely).token;
  return row.find_by_token(target, likely);
}

template <typename Scalar>
__global__ void __launch_bounds__(kThreads)
    draw_kernel(int32_t* tokens, int32_t* record, const Scalar* logits, const Drawing drawing,
                const __grid_constant__ SamplingOptions options) {
  const int b = blockIdx.x;
  Row<Scalar> row{logits + static_cast<size_t>(b) * drawing.columns, drawing.vocab, options.never,
                  dynamic_shared<Shared>()};
  const int token = draw(row, sampling_point(options.seed, options.stream + b, drawing.index), options);
  if (threadIdx.x != 0) return;
  tokens[b] = record[b] = token;
  if (drawing.seen) drawing.seen[static_cast<size_t>(b) * drawing.vocab + token] = 1;
}

// out and drawing.seen: (B, V).
template <typename Scalar>
__global__ void __launch_bounds__(kFlatThreads)
    penalise_kernel(float* out, const Scalar* logits, const Drawing drawing, float penalty) {
  const size_t V = drawing.vocab;
  for_each_pack<1>(drawing.sequences * V, [&](size_t i, int) {
    const float logit = to_float(logits[i / V * drawing.columns + i % V]);
    out[i] = drawing.seen[i] ? penalised(logit, penalty) : logit;
  });
}

}  // namespace

template <typename Scalar>
void draw_tokens(const CudaContext& ctx, int32_t* tokens, int32_t* record, const Scalar* logits, void* scratch,
                 const Drawing& drawing, const SamplingOptions& options) {
  const auto what = [&] { return str_cat("draw_tokens, B ", drawing.sequences, ", V ", drawing.vocab); };
  const Launch rows = {dim3(static_cast<unsigned>(drawing.sequences)), dim3(kThreads), sizeof(Shared)};
  if (!drawing.seen) return launch(ctx, rows, what, draw_kernel<Scalar>, tokens, record, logits, drawing, options);
  const size_t n = static_cast<size_t>(drawing.sequences) * static_cast<size_t>(drawing.vocab);
  auto* changed = static_cast<float*>(scratch);
  launch(ctx, flat_launch(n, 1), what, penalise_kernel<Scalar>, changed, logits, drawing, options.repetition_penalty);
  Drawing from = drawing;
  from.columns = drawing.vocab;
  launch(ctx, rows, what, draw_kernel<float>, tokens, record, static_cast<const float*>(changed), from, options);
}

template void draw_tokens(const CudaContext&, int32_t*, int32_t*, const float*, void*, const Drawing&,
                          const SamplingOptions&);
template void draw_tokens(const CudaContext&, int32_t*, int32_t*, const Bf16*, void*, const Drawing&,
                          const SamplingOptions&);

}  // namespace glint
