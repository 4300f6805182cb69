// The positions of a batch sorted by token, equal tokens by position: the order in which the gradient of an embedding
// table is summed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace glint {

// In 32-bit words.
size_t token_order_scratch(int n);

// The positions 0 .. n-1 of tokens (n), each in [0, V), sorted; stored in the scratch.
const int* sort_by_token(const CudaContext& ctx, const int32_t* tokens, int n, int V, int* scratch);

}  // namespace glint
