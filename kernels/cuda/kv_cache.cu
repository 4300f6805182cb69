#include "kernels/kv_cache.h"

#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/row_dropout.cuh"

namespace glint {
namespace {

template <typename Scalar>
struct Append {
  HeadView<const Scalar> k, v;
  Scalar *keys, *values;  // (T, heads, HS), at the first position
  KvCacheShape shape;
};

// One warp per token and head, for keys and values.
template <typename Scalar>
__global__ void __launch_bounds__(32 * kRowsPerBlock) append_kernel(const __grid_constant__ Append<Scalar> a) {
  constexpr int kCount = kPack<Scalar>;
  for_each_row(a.shape.T * a.shape.heads, a.shape.HS, [&](int row, size_t first) {
    const int t = row / a.shape.heads, h = row - t * a.shape.heads;
    const Scalar *key = a.k.at(0, t, h), *value = a.v.at(0, t, h);
    for_each_channel_pack<kCount>(a.shape.HS, [&](int c, int valid) {
      store_pack(a.keys + first + c, load_pack<kCount>(key + c, valid), valid);
      store_pack(a.values + first + c, load_pack<kCount>(value + c, valid), valid);
    });
  });
}

}  // namespace

template <typename Scalar>
void kv_cache_append(const CudaContext& ctx, Scalar* cache, int first, HeadView<const Scalar> k,
                     HeadView<const Scalar> v, const KvCacheShape& shape) {
  GLINT_CHECK(first >= 0 && first + shape.T <= shape.capacity, "position ", first, " + ", shape.T, " of ",
              shape.capacity);
  const auto what = [&] { return str_cat("kv_cache_append, T ", shape.T, ", heads ", shape.heads, ", HS ", shape.HS); };
  const size_t row = static_cast<size_t>(shape.heads) * static_cast<size_t>(shape.HS);
  Scalar* keys = cache + static_cast<size_t>(first) * row;
  const Append<Scalar> a{k, v, keys, keys + static_cast<size_t>(shape.capacity) * row, shape};
  launch(ctx, row_launch(static_cast<size_t>(shape.T) * static_cast<size_t>(shape.heads)), what, append_kernel<Scalar>,
         a);
}

template void kv_cache_append(const CudaContext&, float*, int, HeadView<const float>, HeadView<const float>,
                              const KvCacheShape&);
template void kv_cache_append(const CudaContext&, Bf16*, int, HeadView<const Bf16>, HeadView<const Bf16>,
                              const KvCacheShape&);

}  // namespace glint
