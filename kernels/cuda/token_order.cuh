// The places of a batch in the order of their tokens, equal tokens in the order of their places: what the gradient of
// an embedding table is summed by.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace glint {

// In 32-bit words.
size_t token_order_scratch(int n);

// The places 0 .. n-1 of tokens (n), each in [0, V), sorted; they lie in the scratch.
const int* sort_by_token(const CudaContext& ctx, const int32_t* tokens, int n, int V, int* scratch);

}  // namespace glint
