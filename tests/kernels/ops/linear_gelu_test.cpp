#include "kernels/linear_gelu.h"

#include "tests/kernels/ops/gelu_oracle.h"
#include "tests/kernels/ops/linear_oracle.h"

namespace glint::test {
namespace {

// cuBLASLt's tanh is approximate: on an H100 results in fp32 are off by up to 6.3e-6. Here 1.5e-5 are allowed, in
// units.
double terms_of_gelu(Gelu kind) { return kOnGpu && kind == Gelu::tanh ? 64.0 : 0.0; }

// The two kernels that may be fused, one after the other: the product rounded to Scalar, then GELU.
template <typename Scalar>
void check(RandomInputs& inputs, const LinearShape& shape, Gelu kind, bool with_bias) {
  INFO("rows ", shape.rows, ", in ", shape.in, ", out ", shape.out, ", tanh ", kind == Gelu::tanh, ", bias ", with_bias,
       ", bytes ", sizeof(Scalar));
  LinearProblem p = LinearProblem::of<Scalar>(inputs, shape);
  for (float& value : p.weight) value = to_float(from_float_to<Scalar>(value * 0.3f));
  const LinearProblem squared = p.squared();
  const double terms = terms_of(squared.forward<double>(with_bias)) + terms_of_gelu(kind),
               terms_dx = 1.2 * terms_of(squared.backward<double>(0.0).dx) + terms_of_gelu(kind);  // 1.2: the slope
  const auto plain_pre = rounded<Scalar>(p.forward<float>(with_bias));
  const auto exact_pre = p.forward<double>(with_bias);
  const std::vector<float> ones(plain_pre.size(), 1.0f);
  const auto plain_out = PlainGelu<float>(plain_pre, ones, kind).out;
  const auto exact_out = PlainGelu<double>(exact_pre, convert<double>(ones), kind).out;
  // In backward x is what the GELU before this layer got.
  const auto plain_dpre = PlainGelu<float>(p.x, rounded<Scalar>(p.backward<float>(0.0f).dx), kind).dx;
  const auto exact_dpre = PlainGelu<double>(convert<double>(p.x), p.backward<double>(0.0).dx, kind).dx;

  for_each_matmul_context([&](const Context& ctx) {
    const Guarded<Scalar> x(p.x), weight(p.weight), bias(p.bias), dout(p.dout);
    const Guarded<Scalar> out(p.dout.size()), pre(p.dout.size()), dpre(p.x.size());
    linear_gelu_forward<Scalar>(ctx, out.data(), pre.data(), x.data(), weight.data(), with_bias ? bias.data() : nullptr,
                                shape, kind);
    linear_gelu_backward_input<Scalar>(ctx, dpre.data(), dout.data(), weight.data(), x.data(), shape, kind);
    check_as_good_in<Scalar>("pre", pre.values(), plain_pre, exact_pre, terms);
    check_as_good_in<Scalar>("out", out.values(), plain_out, exact_out, terms);
    check_as_good_in<Scalar>("dpre", dpre.values(), plain_dpre, exact_dpre, terms_dx);
  });
}

}  // namespace

TEST_CASE("linear_gelu: agrees with double, fused or not, small shapes") {
  RandomInputs inputs(2502);
  INFO("seed ", inputs.seed);
  for (const Gelu kind : {Gelu::erf, Gelu::tanh}) {
    for (const LinearShape& shape : {LinearShape{6, 16, 40}, {3, 8, 7}, {20, 48, 24}}) {
      check<float>(inputs, shape, kind, true);
      check<Bf16>(inputs, shape, kind, shape.out == 40);
    }
  }
}

}  // namespace glint::test
