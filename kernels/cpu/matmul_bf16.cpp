// Linear layers of bf16 arrays: products of their values in fp32, rounded where a bf16 array is written.
#include "kernels/cpu/widened.h"
#include "kernels/matmul.h"

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

}  // namespace

void linear_forward(const CpuContext& ctx, Bf16* out, const Bf16* x, const Bf16* weight, const Bf16* bias, const LinearShape& shape) {
  const Sizes n(shape);
  const Widened wide_x(ctx, x, n.x), wide_weight(ctx, weight, n.weight), wide_bias(ctx, bias, n.bias);
  Widened result(n.out);
  linear_forward(ctx, result.data(), wide_x.data(), wide_weight.data(), wide_bias.data(), shape);
  result.store(ctx, out);
}

void linear_backward_input(const CpuContext& ctx, Bf16* dx, const Bf16* dout, const Bf16* weight, const LinearShape& shape, Write write) {
  const Sizes n(shape);
  const Widened wide_dout(ctx, dout, n.out), wide_weight(ctx, weight, n.weight);
  Widened result = write == Write::add ? Widened(ctx, dx, n.x) : Widened(n.x);
  linear_backward_input(ctx, result.data(), wide_dout.data(), wide_weight.data(), shape, write);
  result.store(ctx, dx);
}

void linear_backward_weight(const CpuContext& ctx, float* dweight, float* dbias, const Bf16* x, const Bf16* dout, float* scratch,
                            const LinearShape& shape, Write write) {
  const Sizes n(shape);
  const Widened wide_x(ctx, x, n.x), wide_dout(ctx, dout, n.out);
  linear_backward_weight(ctx, dweight, dbias, wide_x.data(), wide_dout.data(), scratch, shape, write);
}

}  // namespace glint
