// The keys and values of a sequence being generated.
#pragma once

#include <cstdint>

#include "kernels/attention.h"
#include "kernels/context.h"

namespace glint {

struct KvCacheShape {
  int T;      // tokens to append
  int heads;  // NKV
  int HS;
  int capacity;  // positions in the cache
};

// Copies k, v (1, T, heads, HS views) to positions first .. first+T-1 of cache (2, capacity, heads, HS): keys, then
// values. Scalar: float, Bf16.
template <typename Scalar>
void kv_cache_append(const CpuContext& ctx, Scalar* cache, int first, HeadView<const Scalar> k,
                     HeadView<const Scalar> v, const KvCacheShape& shape);
template <typename Scalar>
void kv_cache_append(const CudaContext& ctx, Scalar* cache, int first, HeadView<const Scalar> k,
                     HeadView<const Scalar> v, const KvCacheShape& shape);

}  // namespace glint
