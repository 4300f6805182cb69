#include "kernels/linear_gelu.h"

#include "tests/kernels/ops/gelu_oracle.h"
#include "tests/kernels/ops/linear_oracle.h"

namespace glint::test {
namespace {

// What a check compares with, and how far off a result may be.
struct Expected {
  std::vector<float> plain;
  std::vector<double> exact;
  double terms;               // see allowed_error
  std::vector<double> known;  // of cuBLASLt's approximate tanh; empty where tanh is exact

  template <typename Scalar>
  void check(const std::string& what, const std::vector<float>& got) const {
    check_as_good_in<Scalar>(what, got, plain, exact, terms, known);
  }
  // In fp32.
  bool accepts(const std::vector<float>& got) const {
    return worst_error(got, exact, known) <= allowed_error(plain, exact, terms);
  }
};

// A GELU behind a layer, or before it in backward, and the results expected.
struct GeluProblem : LinearProblem {
  bool with_bias;
  std::vector<double> exact_pre, exact_dout;  // what GELU gets, forward and backward
  Expected pre, out, dpre;

  template <typename Scalar>
  static GeluProblem of(RandomInputs& inputs, const LinearShape& shape, Gelu kind, bool with_bias,
                        bool approximate_tanh) {
    GeluProblem p{LinearProblem::of<Scalar>(inputs, shape), with_bias, {}, {}, {}, {}, {}};
    for (float& value : p.weight) value = to_float(from_float_to<Scalar>(value * 0.3f));
    const LinearProblem squared = p.squared();
    const double terms = terms_of(squared.forward<double>(with_bias)),
                 terms_dx = 1.2 * terms_of(squared.backward<double>(0.0).dx);  // 1.2: the slope
    p.exact_pre = p.forward<double>(with_bias), p.exact_dout = p.backward<double>(0.0).dx;
    p.pre = {rounded<Scalar>(p.forward<float>(with_bias)), p.exact_pre, terms, {}};
    const std::vector<float> ones(p.exact_pre.size(), 1.0f);
    p.out = {PlainGelu<float>(p.pre.plain, ones, kind).out,
             PlainGelu<double>(p.exact_pre, convert<double>(ones), kind).out,
             terms,
             {}};
    // In backward x is what the GELU before this layer got.
    p.dpre = {PlainGelu<float>(p.x, rounded<Scalar>(p.backward<float>(0.0f).dx), kind).dx,
              PlainGelu<double>(convert<double>(p.x), p.exact_dout, kind).dx,
              terms_dx,
              {}};
    if (!approximate_tanh) return p;
    for (const double x : p.exact_pre) p.out.known.push_back(gelu_error(x));
    for (size_t i = 0; i < p.x.size(); ++i)
      p.dpre.known.push_back(std::abs(p.exact_dout[i]) * gelu_slope_error(p.x[i]));
    return p;
  }
};

// The two kernels that may be fused, one after the other: the product rounded to Scalar, then GELU.
template <typename Scalar>
void check(RandomInputs& inputs, const LinearShape& shape, Gelu kind, bool with_bias) {
  INFO("rows ", shape.rows, ", in ", shape.in, ", out ", shape.out, ", tanh ", kind == Gelu::tanh, ", bias ", with_bias,
       ", bytes ", sizeof(Scalar));
  const auto p = GeluProblem::of<Scalar>(inputs, shape, kind, with_bias, kOnGpu && kind == Gelu::tanh);
  for_each_matmul_context([&](const Context& ctx) {
    const Guarded<Scalar> x(p.x), weight(p.weight), bias(p.bias), dout(p.dout);
    const Guarded<Scalar> out(p.dout.size()), pre(p.dout.size()), dpre(p.x.size());
    linear_gelu_forward<Scalar>(ctx, out.data(), pre.data(), x.data(), weight.data(), with_bias ? bias.data() : nullptr,
                                shape, kind);
    linear_gelu_backward_input<Scalar>(ctx, dpre.data(), dout.data(), weight.data(), x.data(), shape, kind);
    p.pre.template check<Scalar>("pre", pre.values());
    p.out.template check<Scalar>("out", out.values());
    p.dpre.template check<Scalar>("dpre", dpre.values());
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

// What may be off is stated by a model of the error (gelu_oracle.h), which must not let a wrong formula through.
TEST_CASE("linear_gelu: the bound for an approximate tanh accepts one, and no wrong formula") {
  RandomInputs inputs(2503);
  INFO("seed ", inputs.seed);
  const double root = std::sqrt(M_2_PI);
  // (1 + tanh(u)) / 2 * x and its slope, u = root * (x + cubic * x^3), for a relative error of tanh.
  struct Formula {
    double root, cubic, relative;
    double out(double x) const { return x / 2 * (1 + tanh(x)); }
    double slope(double x) const {
      return (1 + tanh(x)) / 2 + x / 2 * (1 - tanh(x) * tanh(x)) * root * (1 + 3 * cubic * x * x);
    }
    double tanh(double x) const { return (1 + relative) * std::tanh(root * (x + cubic * x * x * x)); }
  };
  for (const LinearShape& shape : {LinearShape{6, 16, 40}, {3, 8, 7}, {20, 48, 24}}) {
    INFO("rows ", shape.rows, ", in ", shape.in, ", out ", shape.out);
    const auto p = GeluProblem::of<float>(inputs, shape, Gelu::tanh, true, true);
    const auto accepted = [&](const auto& gelu_of, const auto& slope_of) {
      std::vector<float> out, dpre;
      for (const double x : p.exact_pre) out.push_back(static_cast<float>(gelu_of(x)));
      for (size_t i = 0; i < p.x.size(); ++i)
        dpre.push_back(static_cast<float>(p.exact_dout[i] * slope_of(static_cast<double>(p.x[i]))));
      return std::pair(p.out.accepts(out), p.dpre.accepts(dpre));
    };
    const auto both = [&](const Formula& f) {
      return accepted([&](double x) { return f.out(x); }, [&](double x) { return f.slope(x); });
    };
    using Both = std::pair<bool, bool>;
    CHECK(both({root, 0.044715, kTanhApprox}) == Both(true, true));
    CHECK(both({root, 0.044715, -kTanhApprox}) == Both(true, true));
    CHECK(both({root, 0.044715, 4 * kTanhApprox}) == Both(false, false));
    CHECK(both({root, 0.0, 0.0}) == Both(false, false));
    CHECK(both({root, 0.045, 0.0}) == Both(false, false));
    CHECK(both({0.7978, 0.044715, 0.0}) == Both(false, false));
    CHECK(accepted([](double x) { return gelu(x, Gelu::erf); }, [](double x) { return gelu_slope(x, Gelu::erf); }) ==
          Both(false, false));
  }
}

}  // namespace glint::test
