#include "kernels/matmul.h"

#include "kernels/check.h"
#include "kernels/cpu/few_rows.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/vector_loops.h"
#include "kernels/reduce.h"

namespace glint {
namespace {

void check_engine(const CpuContext& ctx) {
#ifndef GLINT_WITH_ONEDNN
  if (ctx.matmul == MatmulEngine::onednn)
    throw UserError("this build has no oneDNN: use `matmul` eigen, or install libdnnl-dev and build again");
#else
  (void)ctx;
#endif
}

void multiply(const CpuContext& ctx, const Product& product) {
  check_engine(ctx);
#ifdef GLINT_WITH_ONEDNN
  if (ctx.matmul == MatmulEngine::onednn) {
    multiply_onednn(ctx, product);
    return;
  }
#endif
  multiply_eigen(ctx, product);
}

// out (rows, n) += bias (n) in every row
void add_bias(const CpuContext& ctx, float* out, const float* bias, size_t rows, size_t n) {
  using simd::Floats;
  parallel_ranges(ctx, rows, 1, rows * n / 4, [=](Range range) {
    for (size_t row = range.begin; row < range.end; ++row) {
      float* to = out + row * n;
      simd::map(
          to, n, [](Floats a, Floats b) { return a + b; }, to, bias);
    }
  });
}

}  // namespace

void linear_forward(const CpuContext& ctx, float* out, const float* x, const float* weight, const float* bias,
                    const LinearShape& shape) {
  check_engine(ctx);
  if (shape.rows <= kFewRows) {
    few_rows_forward(ctx, out, x, weight, bias, shape);
    return;
  }
  const bool transposed = shape.layout == WeightLayout::out_in;
  multiply(ctx, {shape.rows, shape.out, shape.in, {x, false}, {weight, transposed}, out, Write::set});
  if (bias) add_bias(ctx, out, bias, static_cast<size_t>(shape.rows), static_cast<size_t>(shape.out));
}

void linear_backward_input(const CpuContext& ctx, float* dx, const float* dout, const float* weight,
                           const LinearShape& shape, Write write) {
  const bool transposed = shape.layout == WeightLayout::in_out;
  multiply(ctx, {shape.rows, shape.in, shape.out, {dout, false}, {weight, transposed}, dx, write});
}

size_t linear_backward_weight_scratch(const CpuContext&, const LinearShape&) { return 0; }

void linear_backward_weight(const CpuContext& ctx, float* dweight, float* dbias, const float* x, const float* dout,
                            float*, const LinearShape& shape, Write write) {
  if (shape.layout == WeightLayout::in_out) {
    multiply(ctx, {shape.in, shape.out, shape.rows, {x, true}, {dout, false}, dweight, write});
  } else {
    multiply(ctx, {shape.out, shape.in, shape.rows, {dout, true}, {x, false}, dweight, write});
  }
  if (dbias) column_sums(ctx, dbias, dout, shape.rows, shape.out, nullptr, write);
}

}  // namespace glint
