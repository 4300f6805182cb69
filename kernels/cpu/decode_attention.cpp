#include "kernels/decode_attention.h"

#include "kernels/check.h"
#include "kernels/kv_cache.h"

namespace glint {

template <typename Scalar>
void decode_attention(const CpuContext& ctx, const DecodeAttention<Scalar>& a) {
  const AttentionShape& shape = a.shape;
  GLINT_CHECK(shape.T == 1, "T ", shape.T);
  const int first = *a.position;
  const int64_t row = a.row(), values = a.capacity * row;
  const auto of_sequence = [](HeadView<const Scalar> view, int b) {
    view.data = view.at(b, 0, 0);
    return view;
  };
  for (int b = 0; b < shape.B; ++b)
    kv_cache_append(ctx, a.cache + 2 * b * values, first, of_sequence(a.k, b), of_sequence(a.v, b),
                    {1, shape.NKV, shape.HS, a.capacity});
  AttentionShape now = shape;
  now.S = first + 1;
  const HeadView<const Scalar> k{a.cache, 2 * values, row, shape.HS}, v{a.cache + values, 2 * values, row, shape.HS};
  attention_forward(ctx, AttentionForward<Scalar>{.out = a.out, .q = a.q, .k = k, .v = v, .shape = now});
}

template void decode_attention(const CpuContext&, const DecodeAttention<float>&);
template void decode_attention(const CpuContext&, const DecodeAttention<Bf16>&);

void advance_position(const CpuContext&, int* position) { *position += 1; }

}  // namespace glint
