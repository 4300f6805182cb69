#include "kernels/kv_cache.h"

#include <algorithm>

#include "kernels/check.h"

namespace glint {

template <typename Scalar>
void kv_cache_append(const CpuContext&, Scalar* cache, int first, HeadView<const Scalar> k, HeadView<const Scalar> v,
                     const KvCacheShape& shape) {
  GLINT_CHECK(first >= 0 && first + shape.T <= shape.capacity, "position ", first, " + ", shape.T, " of ",
              shape.capacity);
  const int64_t row = static_cast<int64_t>(shape.heads) * shape.HS;
  Scalar* keys = cache + first * row;
  Scalar* values = keys + shape.capacity * row;
  for (int t = 0; t < shape.T; ++t)
    for (int h = 0; h < shape.heads; ++h) {
      std::copy_n(k.at(0, t, h), shape.HS, keys + t * row + h * shape.HS);
      std::copy_n(v.at(0, t, h), shape.HS, values + t * row + h * shape.HS);
    }
}

template void kv_cache_append(const CpuContext&, float*, int, HeadView<const float>, HeadView<const float>,
                              const KvCacheShape&);
template void kv_cache_append(const CpuContext&, Bf16*, int, HeadView<const Bf16>, HeadView<const Bf16>,
                              const KvCacheShape&);

}  // namespace glint
