// Token plus position embedding. Backward sums the rows of a token in the order of their positions, from a list sorted
// by token: within chunks of the list first, then over chunks for tokens that span several.
#include "kernels/embedding.h"

#include <algorithm>

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/row_dropout.cuh"
#include "kernels/cuda/token_order.cuh"

namespace glint {
namespace {

constexpr int kChunk = 64;             // positions that one warp sums
constexpr int kWarps = 4, kAhead = 4;  // rows that a warp has in flight

template <typename Scalar>
__global__ void __launch_bounds__(32 * kRowsPerBlock)
    forward_kernel(Scalar* out, const int32_t* tokens, const Scalar* wte, const Scalar* wpe, const EmbeddingShape shape,
                   const __grid_constant__ Dropout site) {
  constexpr int kCount = kPack<Scalar>;
  const RowDropout dropout(site, shape.T);
  const int first_position = shape.first_position ? *shape.first_position : 0;
  for_each_row(shape.B * shape.T, shape.C, [&](int row, size_t first) {
    const Scalar* token = wte + static_cast<size_t>(tokens[row]) * shape.C;
    const Scalar* position = wpe ? wpe + static_cast<size_t>(first_position + row % shape.T) * shape.C : nullptr;
    for_each_channel_pack<kCount>(shape.C, [&](int c, int valid) {
      const auto a = load_pack<kCount>(token + c, valid),
                 b = position ? load_pack<kCount>(position + c, valid) : Pack<Scalar, kCount>{};
      float values[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = a[i] + b[i];
      dropout.apply(values, pack_of<float>(values), row, c);
      store_pack(out + first + c, values, valid);
    });
  });
}

__global__ void __launch_bounds__(kFlatThreads) clear_kernel(float* to, size_t n) {
  for_each_pack<4>(n, [&](size_t first, int valid) { store_pack(to + first, {0.0f, 0.0f, 0.0f, 0.0f}, valid); });
}

template <typename Scalar>
struct Gradient {
  const Scalar* dout;  // (B*T, C)
  const int32_t* tokens;
  const int* order;  // (B*T), sorted by token
  float* dwte;
  float* partial;  // (chunks, 2, C): sums of a token that starts in an earlier chunk, of one that continues in the next
  int rows, T, C;
  Dropout site;

  __device__ int token_at(int i) const { return tokens[order[i]]; }
  // Whether the chunk's last token continues in the next chunk.
  __device__ bool continues(int chunk) const {
    const int end = (chunk + 1) * kChunk;
    return end < rows && token_at(end - 1) == token_at(end);
  }
};

// The lane's pack of channels.
template <typename Scalar>
struct Channels {
  static constexpr int kCount = kPack<Scalar>;
  __device__ explicit Channels(int C) : first((blockIdx.y * 32 + threadIdx.x % 32) * kCount), valid(C - first) {}
  int first, valid;
};

template <int kCount>
__device__ void add_to(float* to, const float (&sums)[kCount], int valid) {
  const auto before = load_pack<kCount>(to, valid);
  float after[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) after[i] = before[i] + sums[i];
  store_pack(to, after, valid);
}

template <typename Scalar>
__device__ void add_dropped(float (&sums)[kPack<Scalar>], const Pack<Scalar, kPack<Scalar>>& pack,
                            const RowDropout& dropout, int row, int c) {
  constexpr int kCount = kPack<Scalar>;
  float values[kCount];
  dropout.apply(values, pack, row, c);
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums[i] += values[i];
}

// One warp per chunk of the order and 32 packs of channels.
template <typename Scalar>
__global__ void __launch_bounds__(32 * kWarps) sum_chunks_kernel(const __grid_constant__ Gradient<Scalar> a) {
  constexpr int kCount = kPack<Scalar>;
  const int chunk = blockIdx.x * kWarps + threadIdx.x / 32, begin = chunk * kChunk, end = min(begin + kChunk, a.rows);
  if (begin >= end) return;  // the whole warp: there is no barrier
  const Channels<Scalar> channels(a.C);
  const RowDropout dropout(a.site, a.T);
  const int c = channels.first;
  float* partial = a.partial + static_cast<size_t>(chunk) * 2 * a.C + c;
  float sums[kCount] = {};
  int token = a.token_at(begin);
  bool began_earlier = chunk > 0 && a.continues(chunk - 1);
  for (int i = begin; i < end; i += kAhead) {
    int rows[kAhead], tokens[kAhead];
    Pack<Scalar, kCount> ahead[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) rows[k] = i + k < end ? a.order[i + k] : 0;
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      tokens[k] = a.tokens[rows[k]];
      ahead[k] = load_pack<kCount>(a.dout + static_cast<size_t>(rows[k]) * a.C + min(c, a.C),
                                   i + k < end ? channels.valid : 0);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (i + k >= end) continue;
      if (tokens[k] != token) {  // the previous token is complete, unless it started in an earlier chunk
        if (began_earlier) store_pack(partial, sums, channels.valid);
        else add_to(a.dwte + static_cast<size_t>(token) * a.C + c, sums, channels.valid);
        began_earlier = false;
        token = tokens[k];
#pragma unroll
        for (int j = 0; j < kCount; ++j) sums[j] = 0.0f;
      }
      add_dropped<Scalar>(sums, ahead[k], dropout, rows[k], c);
    }
  }
  if (began_earlier) store_pack(partial, sums, channels.valid);
  else if (a.continues(chunk)) store_pack(partial + a.C, sums, channels.valid);
  else add_to(a.dwte + static_cast<size_t>(token) * a.C + c, sums, channels.valid);
}

// One warp per chunk with a token that starts there and continues in the next.
template <typename Scalar>
__global__ void __launch_bounds__(32 * kWarps) sum_long_tokens_kernel(const __grid_constant__ Gradient<Scalar> a) {
  constexpr int kCount = kPack<Scalar>;
  const int chunk = blockIdx.x * kWarps + threadIdx.x / 32, begin = chunk * kChunk;
  if (begin >= a.rows || !a.continues(chunk)) return;
  const int token = a.token_at(begin + kChunk - 1);
  if (chunk > 0 && a.token_at(begin - 1) == token) return;  // it starts earlier
  int low = begin + kChunk, high = a.rows;                  // low has the token, high does not
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    (a.token_at(middle) == token ? low : high) = middle;
  }
  const int last = low / kChunk;  // chunk
  const Channels<Scalar> channels(a.C);
  const float* partial = a.partial + min(channels.first, a.C);
  const auto of_chunk = [&](int j, int which) {
    const bool valid = j <= last;
    return load_pack<kCount>(partial + (static_cast<size_t>(valid ? j : chunk) * 2 + which) * a.C,
                             valid ? channels.valid : 0);
  };
  float sums[kCount];
  const auto first = of_chunk(chunk, 1);
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums[i] = first[i];
  for (int j = chunk + 1; j <= last; j += kAhead) {
    Pack<float, kCount> ahead[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) ahead[k] = of_chunk(j + k, 0);
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) sums[i] += ahead[k][i];  // 0 past the last
    }
  }
  add_to(a.dwte + static_cast<size_t>(token) * a.C + channels.first, sums, channels.valid);
}

// One warp per position and 32 packs of channels: the sum over the sequences, in order.
template <typename Scalar>
__global__ void __launch_bounds__(32 * kWarps) position_kernel(float* dwpe, const Scalar* dout, int B, int T, int C,
                                                               const __grid_constant__ Dropout site, Write write) {
  constexpr int kCount = kPack<Scalar>;
  const int t = blockIdx.x * kWarps + threadIdx.x / 32;
  const Channels<Scalar> channels(C);
  const RowDropout dropout(site, T);
  if (t >= T || channels.valid <= 0) return;
  float sums[kCount] = {};
  for (int first = 0; first < B; first += kAhead) {
    Pack<Scalar, kCount> ahead[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const bool valid = first + k < B;
      const size_t row = static_cast<size_t>(valid ? first + k : first) * T + t;
      ahead[k] = load_pack<kCount>(dout + row * C + channels.first, valid ? channels.valid : 0);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (first + k < B) add_dropped<Scalar>(sums, ahead[k], dropout, (first + k) * T + t, channels.first);
    }
  }
  float* to = dwpe + static_cast<size_t>(t) * C + channels.first;
  if (write == Write::add) add_to(to, sums, channels.valid);
  else store_pack(to, sums, channels.valid);
}

int chunks_of(int rows) { return (rows + kChunk - 1) / kChunk; }

// Words of the sorted list, a multiple of four: the array after it is read 16 bytes at a time.
size_t order_words(int rows) { return (token_order_scratch(rows) + 3) / 4 * 4; }

}  // namespace

template <typename Scalar>
void embedding_forward(const CudaContext& ctx, Scalar* out, const int32_t* tokens, const Scalar* wte, const Scalar* wpe,
                       const EmbeddingShape& shape, const Dropout& dropout) {
  const auto what = [&] { return str_cat("embedding_forward, B ", shape.B, ", T ", shape.T, ", C ", shape.C); };
  const size_t rows = static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T);
  launch(ctx, row_launch(rows), what, forward_kernel<Scalar>, out, tokens, wte, wpe, shape, dropout);
}

size_t embedding_backward_scratch(const CudaContext&, const EmbeddingShape& shape) {
  const int rows = shape.B * shape.T;
  return order_words(rows) + static_cast<size_t>(chunks_of(rows)) * 2 * static_cast<size_t>(shape.C);
}

template <typename Scalar>
void embedding_backward(const CudaContext& ctx, float* dwte, float* dwpe, const Scalar* dout, const int32_t* tokens,
                        void* scratch, const EmbeddingShape& shape, const Dropout& dropout, Write write_dwte,
                        Write write_dwpe) {
  GLINT_CHECK(shape.first_position == nullptr, "backward starts at position 0");
  const auto what = [&] {
    return str_cat("embedding_backward, B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", V ", shape.V);
  };
  const int rows = shape.B * shape.T, chunks = chunks_of(rows);
  const unsigned tiles = (shape.C + 32 * kPack<Scalar> - 1) / (32 * kPack<Scalar>);
  const auto grid = [&](int warps) { return Launch{dim3((warps + kWarps - 1) / kWarps, tiles), dim3(32 * kWarps)}; };
  if (write_dwte == Write::set) {
    const size_t n = static_cast<size_t>(shape.V) * static_cast<size_t>(shape.C);
    launch(ctx, flat_launch(n, 4), what, clear_kernel, dwte, n);
  }
  const int* order = sort_by_token(ctx, tokens, rows, shape.V, static_cast<int*>(scratch));
  float* partial = static_cast<float*>(scratch) + order_words(rows);
  const Gradient<Scalar> a{dout, tokens, order, dwte, partial, rows, shape.T, shape.C, dropout};
  launch(ctx, grid(chunks), what, sum_chunks_kernel<Scalar>, a);
  launch(ctx, grid(chunks), what, sum_long_tokens_kernel<Scalar>, a);
  if (!dwpe) return;
  launch(ctx, grid(shape.T), what, position_kernel<Scalar>, dwpe, dout, shape.B, shape.T, shape.C, a.site, write_dwpe);
}

template void embedding_forward(const CudaContext&, float*, const int32_t*, const float*, const float*,
                                const EmbeddingShape&, const Dropout&);
template void embedding_forward(const CudaContext&, Bf16*, const int32_t*, const Bf16*, const Bf16*,
                                const EmbeddingShape&, const Dropout&);
template void embedding_backward(const CudaContext&, float*, float*, const float*, const int32_t*, void*,
                                 const EmbeddingShape&, const Dropout&, Write, Write);
template void embedding_backward(const CudaContext&, float*, float*, const Bf16*, const int32_t*, void*,
                                 const EmbeddingShape&, const Dropout&, Write, Write);

}  // namespace glint
