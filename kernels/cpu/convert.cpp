#include "kernels/convert.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

template <typename To, typename From>
void convert_ranges(const CpuContext& ctx, To* out, const From* x, size_t n) {
  parallel_ranges(ctx, n, 16, n / 4, [=](Range range) {
    simd::map(
        out + range.begin, range.end - range.begin, [](simd::Floats value) { return value; }, x + range.begin);
  });
}

}  // namespace

void convert(const CpuContext& ctx, Bf16* out, const float* x, size_t n) { convert_ranges(ctx, out, x, n); }
void convert(const CpuContext& ctx, float* out, const Bf16* x, size_t n) { convert_ranges(ctx, out, x, n); }

}  // namespace glint
