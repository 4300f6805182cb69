#include "kernels/convert.h"

#include "kernels/cpu/parallel.h"

namespace glint {

void convert(const CpuContext& ctx, Bf16* to, const float* from, size_t n) {
  parallel_ranges(ctx, n, 64, n / 2, [=](Range range) {
    for (size_t i = range.begin; i < range.end; ++i) to[i] = to_bf16(from[i]);
  });
}
void convert(const CpuContext& ctx, float* to, const Bf16* from, size_t n) {
  parallel_ranges(ctx, n, 64, n / 2, [=](Range range) {
    for (size_t i = range.begin; i < range.end; ++i) to[i] = to_float(from[i]);
  });
}

}  // namespace glint
