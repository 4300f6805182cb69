#include "kernels/qk_norm.h"

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

template <typename Real>
struct PlainQkNorm {
  std::vector<Real> out, rstd, dx;  // what does not belong to a normalised head stays as it is

  PlainQkNorm(const std::vector<Real>& x, const std::vector<Real>& dout, const QkNormShape& s) : out(x), dx(dout) {
    const auto HS = static_cast<size_t>(s.HS);
    for (int row = 0; row < s.rows; ++row)
      for (int head = 0; head < s.heads; ++head) {
        const auto at = static_cast<size_t>(row * s.stride + head * s.HS);
        Real squares = 0, product = 0;
        for (size_t i = 0; i < HS; ++i) squares += x[at + i] * x[at + i] / Real(HS);
        const Real r = 1 / std::sqrt(squares + Real(s.eps));
        for (size_t i = 0; i < HS; ++i) out[at + i] = x[at + i] * r, product += dout[at + i] * out[at + i] / Real(HS);
        for (size_t i = 0; i < HS; ++i) dx[at + i] = r * (dout[at + i] - out[at + i] * product);
        rstd.push_back(r);
      }
  }
};

template <typename Scalar>
void check(RandomInputs& inputs, const QkNormShape& shape, size_t offset = 0) {
  INFO("rows ", shape.rows, ", heads ", shape.heads, ", HS ", shape.HS, ", bytes ", sizeof(Scalar));
  const auto n = static_cast<size_t>(shape.rows * shape.stride);
  const auto x = rounded<Scalar>(inputs.normal(n, 2.0f)), dout = rounded<Scalar>(inputs.normal(n));
  const PlainQkNorm<float> plain(x, dout, shape);
  const PlainQkNorm<double> exact(convert<double>(x), convert<double>(dout), shape);
  // Backward reads the rounded heads.
  std::vector<double> rounding(n, sizeof(Scalar) == 2 ? 0x1p-7 * largest(exact.out) * largest(exact.rstd) : 0.0);
  std::vector<float> once;
  for_each_context([&](const Context& ctx) {
    const Guarded<Scalar> packed(x, offset), gradient(dout, offset);
    const Guarded<float> rstd(plain.rstd.size());
    qk_norm_forward(ctx, packed.data(), rstd.data(), shape);
    check_as_good_in<Scalar>("out", packed.values(), plain.out, exact.out);
    check_as_good("rstd", rstd.values(), plain.rstd, exact.rstd);
    const Scalar* const normed = packed.data();
    const float* const inverse = rstd.data();
    qk_norm_backward(ctx, gradient.data(), normed, inverse, shape);
    check_as_good_in<Scalar>("dx", gradient.values(), plain.dx, exact.dx, 0.0, rounding);
    if (once.empty()) once = gradient.values();
    CHECK(same_bits(gradient.values(), once));
  });
}

}  // namespace

TEST_CASE("qk_norm: agrees with double, forward and backward, and leaves values alone, small shapes") {
  RandomInputs inputs(2301);
  INFO("seed ", inputs.seed);
  for (const QkNormShape& shape : {QkNormShape{1, 1, 8, 8}, {5, 3, 40, 8}, {3, 2, 72, 24}, {7, 3, 4 * 64, 64}}) {
    check<float>(inputs, shape);
    check<Bf16>(inputs, shape);
  }
  check<float>(inputs, {5, 3, 40, 8}, 1);
  check<Bf16>(inputs, {5, 3, 40, 8}, 3);
}

TEST_CASE("qk_norm: large heads, and many") {
  RandomInputs inputs(2302);
  INFO("seed ", inputs.seed);
  check<float>(inputs, {9, 3, 4 * 256, 256});
  check<Bf16>(inputs, {9, 3, 4 * 136, 136});
  check<Bf16>(inputs, {600, 4, 6 * 16, 16});
}

TEST_CASE("qk_norm: the oracle's backward is the derivative of its forward") {
  RandomInputs inputs(2303);
  INFO("seed ", inputs.seed);
  const QkNormShape shape{2, 2, 24, 8};
  const auto x = convert<double>(inputs.normal(48)), dout = convert<double>(inputs.normal(48));
  check_gradient("dx", PlainQkNorm<double>(x, dout, shape).dx, finite_differences(x, [&](const auto& v) {
                   return dot(PlainQkNorm<double>(v, dout, shape).out, dout);
                 }));
}

}  // namespace glint::test
