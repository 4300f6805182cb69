// The head and the loss by chunks of rows. In training a chunk's gradients are computed while its logits are there, as
// in Liger Kernel (P.-L. Hsu et al., 2024): no logits are kept or computed again for backward.
#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy.h"
#include "kernels/matmul.h"
#include "src/ops.h"

namespace glint {

namespace {

struct HeadLoss {
  Tensor x, weight, targets, logits, losses;
  GradientSink dx, dweight;
  float gradient_scale;
  bool training;
  int rows, C, V, columns, chunk;

  LinearShape shape_of(int count) const { return {count, C, columns, WeightLayout::out_in}; }

  template <typename Scalar>
  void run(const auto& ctx) const {
    const Scalar *w = weight.data<Scalar>(), *no_bias = nullptr;
    Scalar* z = logits.data<Scalar>();
    for (int first = 0; first < rows; first += chunk) {
      const int count = std::min(chunk, rows - first);
      const size_t at = static_cast<size_t>(first) * static_cast<size_t>(C);
      const Scalar* rows_of_x = x.data<Scalar>() + at;
      float* to = losses.f32() + first;
      linear_forward(ctx, z, rows_of_x, w, no_bias, shape_of(count));
      if (!training) {
        cross_entropy_forward(ctx, to, z, targets.i32() + first, {count, V, columns});
        continue;
      }
      cross_entropy_forward_backward(ctx, to, z, targets.i32() + first, gradient_scale, {count, V, columns});
      linear_backward_weight(ctx, dweight.data(), nullptr, rows_of_x, z, nullptr, shape_of(count),
                             first == 0 ? dweight.write() : Write::add);
      linear_backward_input(ctx, dx.data<Scalar>() + at, z, w, shape_of(count), dx.write());
    }
  }

  // Read and written: logits are in memory only a chunk at a time, but all of them pass through it.
  double bytes(double size) const {
    const double all = rows, chunks = std::ceil(all / chunk), weights = static_cast<double>(columns) * C;
    if (!training) return size * (all * C + 2 * all * columns + chunks * weights);
    return size * (2 * all * C + 4 * all * columns + chunks * weights) + sizeof(float) * (2 * chunks - 1) * weights;
  }
};

}  // namespace

Tensor linear_cross_entropy(Graph& g, Tensor x, Tensor weight, Tensor targets, float gradient_scale, int V, int chunk) {
  const int rows = x.shape().rows(), columns = weight.shape()[0], C = weight.shape()[1];
  GLINT_CHECK(x.shape().last() == C, x.name(), " has ", x.shape().last(), " channels, ", weight.name(), " takes ", C);
  GLINT_CHECK(targets.shape().elements() == static_cast<size_t>(rows), "targets and ", x.name(), " differ in rows");
  GLINT_CHECK(0 < V && V <= columns, "V ", V, " of ", columns, " columns");
  GLINT_CHECK(chunk > 0, "a chunk of ", chunk, " rows");
  chunk = std::min(chunk, rows);
  const Tensor logits = g.tensor("logits", {chunk, columns}), losses = g.tensor("losses", {rows}, DType::f32);
  const HeadLoss op{
      x,    weight, targets, logits,  losses, g.gradient_into(x), g.gradient_into(weight), gradient_scale, g.training(),
      rows, C,      V,       columns, chunk};
  g.record({.name = "linear_cross_entropy",
            .inputs = {x, weight, targets},
            .outputs = {losses},
            .forward_sinks = {op.dx, op.dweight},
            .scratch = logits,
            .forward = g.on_device([=]<typename Scalar>(const auto& ctx) { op.template run<Scalar>(ctx); }),
            .flops = (g.training() ? 3 : 1) * flops_of(op.shape_of(rows)),
            .forward_bytes = op.bytes(static_cast<double>(bytes_of(g.options().dtype)))});
  return losses;
}

}  // namespace glint
