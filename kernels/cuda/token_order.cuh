// A stable counting sort of the places of a batch by their tokens, so that the gradient of a token's row can be summed in a
// fixed order without atomics on floats. No bit depends on the order in which threads run.
#pragma once

#include <algorithm>

#include "kernels/cuda/device.cuh"

namespace glint {

// Where it works. The batch is cut into `chunks` runs of places, one after the other.
struct TokenOrder {
  const int32_t* tokens;  // (n)
  int n, V, chunks, chunk;
  int* counts;  // (chunks, V): occurrences in a chunk; then where the chunk's first one goes
  int* starts;  // (V + 1): token v's places are order[starts[v]] .. order[starts[v+1] - 1], rising
  int* order;   // (n)

  static constexpr int kMostChunks = 64;
  static size_t words(int n, int V) { return static_cast<size_t>(chunks_for(n)) * V + static_cast<size_t>(V) + 1 + static_cast<size_t>(n); }
  static int chunks_for(int n) { return std::clamp(n / 256, 1, kMostChunks); }
  TokenOrder(const int32_t* of_tokens, int of_n, int of_V, void* scratch)
      : tokens(of_tokens), n(of_n), V(of_V), chunks(chunks_for(of_n)), chunk((of_n + chunks - 1) / chunks),
        counts(static_cast<int*>(scratch)), starts(counts + static_cast<size_t>(chunks) * V), order(starts + V + 1) {}
};

// Launches the kernels that fill `starts` and `order`.
void sort_tokens(const CudaContext& ctx, const TokenOrder& order);

}  // namespace glint
