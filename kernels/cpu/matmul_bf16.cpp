// Linear layers of bf16 arrays: products and sums in fp32, rounded where a bf16 array is written. With oneDNN if the
// CPU has bf16 instructions; otherwise values are converted to fp32 first, which is slower than fp32.
#include "kernels/cpu/few_rows.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/widened.h"
#include "kernels/matmul.h"
#include "kernels/reduce.h"

namespace glint {

namespace {

struct Sizes {
  size_t x, weight, out, bias;

  explicit Sizes(const LinearShape& s)
      : x(static_cast<size_t>(s.rows) * static_cast<size_t>(s.in)),
        weight(static_cast<size_t>(s.in) * static_cast<size_t>(s.out)),
        out(static_cast<size_t>(s.rows) * static_cast<size_t>(s.out)),
        bias(static_cast<size_t>(s.out)) {}
};

// False if the product has to be computed in fp32.
template <typename Result>
bool multiplied(const CpuContext& ctx, const ProductOf<Bf16, Result>& product, const Bf16* bias = nullptr) {
#ifdef GLINT_WITH_ONEDNN
  static const bool possible = cpu_multiplies_bf16();
  if (possible && ctx.matmul == MatmulEngine::onednn) {
    multiply_primitive(ctx, product, bias);
    return true;
  }
#endif
  static_cast<void>(ctx), static_cast<void>(product), static_cast<void>(bias);
  return false;
}

}  // namespace

void linear_forward(const CpuContext& ctx, Bf16* out, const Bf16* x, const Bf16* weight, const Bf16* bias,
                    const LinearShape& shape) {
  if (shape.rows == 1) {  // more are faster by bf16 instructions
    few_rows_forward(ctx, out, x, weight, bias, shape);
    return;
  }
  const bool transposed = shape.layout == WeightLayout::out_in;
  if (multiplied(
          ctx,
          ProductOf<Bf16, Bf16>{shape.rows, shape.out, shape.in, {x, false}, {weight, transposed}, out, Write::set},
          bias))
    return;
  const Sizes n(shape);
  const Widened wide_x(ctx, x, n.x), wide_weight(ctx, weight, n.weight), wide_bias(ctx, bias, n.bias);
  Widened result(n.out);
  linear_forward(ctx, result.data(), wide_x.data(), wide_weight.data(), wide_bias.data(), shape);
  result.store(ctx, out);
}

void linear_backward_input(const CpuContext& ctx, Bf16* dx, const Bf16* dout, const Bf16* weight,
                           const LinearShape& shape, Write write) {
  const bool transposed = shape.layout == WeightLayout::in_out;
  if (multiplied(
          ctx, ProductOf<Bf16, Bf16>{shape.rows, shape.in, shape.out, {dout, false}, {weight, transposed}, dx, write}))
    return;
  const Sizes n(shape);
  const Widened wide_dout(ctx, dout, n.out), wide_weight(ctx, weight, n.weight);
  Widened result = write == Write::add ? Widened(ctx, dx, n.x) : Widened(n.x);
  linear_backward_input(ctx, result.data(), wide_dout.data(), wide_weight.data(), shape, write);
  result.store(ctx, dx);
}

void linear_backward_weight(const CpuContext& ctx, float* dweight, float* dbias, const Bf16* x, const Bf16* dout,
                            float* scratch, const LinearShape& shape, Write write) {
  const bool in_out = shape.layout == WeightLayout::in_out;
  const FactorOf<Bf16> left{in_out ? x : dout, true}, right{in_out ? dout : x, false};
  const int rows = in_out ? shape.in : shape.out, columns = in_out ? shape.out : shape.in;
  if (multiplied(ctx, ProductOf<Bf16, float>{rows, columns, shape.rows, left, right, dweight, write})) {
    if (dbias) column_sums(ctx, dbias, dout, shape.rows, shape.out, scratch, write);
    return;
  }
  const Sizes n(shape);
  const Widened wide_x(ctx, x, n.x), wide_dout(ctx, dout, n.out);
  linear_backward_weight(ctx, dweight, dbias, wide_x.data(), wide_dout.data(), scratch, shape, write);
}

}  // namespace glint
