// linear_forward() of few rows, as in generation.
#include "tests/kernels/guarded.h"
#include "tests/kernels/ops/linear_oracle.h"

namespace glint::test {
namespace {

template <typename Scalar>
void check(RandomInputs& inputs, const Context& ctx, LinearShape shape, bool with_bias) {
  INFO("rows ", shape.rows, ", in ", shape.in, ", out ", shape.out, ", bias ", with_bias, ", bytes ", sizeof(Scalar),
       shape.layout == WeightLayout::in_out ? ", in_out" : ", out_in");
  const auto in = static_cast<size_t>(shape.in), out = static_cast<size_t>(shape.out);
  const auto x = rounded<Scalar>(inputs.normal(static_cast<size_t>(shape.rows) * in)),
             weight = rounded<Scalar>(inputs.normal(in * out)), bias = rounded<Scalar>(inputs.normal(out));
  const auto run = [&](int first, int rows) {
    LinearShape part = shape;
    part.rows = rows;
    const auto begin = x.begin() + first * shape.in;
    const Guarded<Scalar> from({begin, begin + rows * shape.in}), w(weight), b(bias),
        to(static_cast<size_t>(rows) * out);
    linear_forward(ctx, to.data(), from.data(), w.data(), with_bias ? b.data() : nullptr, part);
    return to.values();
  };
  const auto all = run(0, shape.rows);
  std::vector<float> plain;
  std::vector<double> exact;
  for (size_t r = 0; r < static_cast<size_t>(shape.rows); ++r)
    for (size_t o = 0; o < out; ++o) {
      float sum = with_bias ? bias[o] : 0.0f;
      double truth = sum;
      for (size_t i = 0; i < in; ++i) {
        const float w = weight[shape.layout == WeightLayout::in_out ? i * out + o : o * in + i];
        sum += x[r * in + i] * w;
        truth += static_cast<double>(x[r * in + i]) * w;
      }
      plain.push_back(sum), exact.push_back(truth);
    }
  check_as_good_in<Scalar>("few rows", all, plain, exact, shape.in);
  if (kOnCpu == (sizeof(Scalar) == 2)) return;  // the same bits: on a CPU in fp32, on a GPU in bf16
  std::vector<float> alone;
  for (int r = 0; r < shape.rows; ++r) {
    const auto one = run(r, 1);
    alone.insert(alone.end(), one.begin(), one.end());
  }
  CHECK(all == alone);
}

}  // namespace

TEST_CASE("few rows: as good as a plain sum, and the same bits for a row alone, small shapes") {
  RandomInputs inputs(1611);
  INFO("seed ", inputs.seed);
  for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in})
    for (const LinearShape& shape : {LinearShape{1, 8, 16}, {2, 24, 40}, {3, 1100, 24}, {5, 32, 72}, {16, 64, 8}}) {
      for (const bool with_bias : {false, true}) {
        for_each_matmul_context([&](const Context& ctx) {
          check<float>(inputs, ctx, {shape.rows, shape.in, shape.out, layout}, with_bias);
          check<Bf16>(inputs, ctx, {shape.rows, shape.in, shape.out, layout}, with_bias);
        });
      }
    }
}

}  // namespace glint::test
