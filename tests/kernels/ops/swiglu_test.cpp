#include "kernels/swiglu.h"

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

template <typename Real>
struct PlainSwiglu {
  std::vector<Real> out, dpacked;

  PlainSwiglu(const std::vector<Real>& packed, const std::vector<Real>& dout, size_t H) : dpacked(packed.size()) {
    for (size_t i = 0; i < dout.size(); ++i) {
      const size_t at = i / H * 2 * H + i % H;
      const Real gate = packed[at], up = packed[at + H], s = 1 / (1 + std::exp(-gate));
      out.push_back(gate * s * up);
      dpacked[at] = dout[i] * up * (s + gate * s * (1 - s));
      dpacked[at + H] = dout[i] * gate * s;
    }
  }
};

template <typename Scalar>
void check(RandomInputs& inputs, int rows, int H, size_t offset = 0) {
  INFO("rows ", rows, ", H ", H, ", offset ", offset, ", bytes ", sizeof(Scalar));
  const size_t n = static_cast<size_t>(rows) * static_cast<size_t>(H);
  const auto packed = rounded<Scalar>(inputs.normal(2 * n, 3.0f)), dout = rounded<Scalar>(inputs.normal(n));
  const PlainSwiglu<float> plain(packed, dout, static_cast<size_t>(H));
  const PlainSwiglu<double> exact(convert<double>(packed), convert<double>(dout), static_cast<size_t>(H));
  std::vector<float> once;
  for_each_context([&](const Context& ctx) {
    const Guarded<Scalar> in(packed, offset), gradient(dout, offset), out(n, offset);
    swiglu_forward<Scalar>(ctx, out.data(), in.data(), rows, H);
    check_as_good_in<Scalar>("out", out.values(), plain.out, exact.out);
    swiglu_backward<Scalar>(ctx, in.data(), gradient.data(), rows, H);
    check_as_good_in<Scalar>("dpacked", in.values(), plain.dpacked, exact.dpacked);
    if (once.empty()) once = in.values();
    CHECK(same_bits(in.values(), once));
  });
}

}  // namespace

TEST_CASE("swiglu: agrees with the formula in double, forward and backward, small shapes") {
  RandomInputs inputs(2201);
  INFO("seed ", inputs.seed);
  for (const int H : {1, 7, 8, 17, 64, 200}) {
    for (const int rows : {1, 5}) {
      check<float>(inputs, rows, H);
      check<Bf16>(inputs, rows, H);
    }
  }
  check<float>(inputs, 3, 64, 1);
  check<Bf16>(inputs, 3, 64, 3);
}

TEST_CASE("swiglu: many elements") {
  RandomInputs inputs(2202);
  INFO("seed ", inputs.seed);
  check<float>(inputs, 70, 344);
  check<Bf16>(inputs, 70, 344);
}

TEST_CASE("swiglu: the oracle's backward is the derivative of its forward") {
  RandomInputs inputs(2203);
  INFO("seed ", inputs.seed);
  const auto packed = convert<double>(inputs.normal(24)), dout = convert<double>(inputs.normal(12));
  check_gradient(
      "dpacked", PlainSwiglu<double>(packed, dout, 4).dpacked,
      finite_differences(packed, [&](const auto& x) { return dot(PlainSwiglu<double>(x, dout, 4).out, dout); }));
}

TEST_CASE("swiglu: large numbers of both signs, infinities and NaN") {
  const std::vector<float> packed = {-1e30f, -200.0f, 90.0f, 1e30f, std::nanf(""), 1.0f, 1.0f, 1.0f, 1.0f, 1.0f};
  const Guarded<float> in(packed), out(5), dout(std::vector<float>(5, 1.0f));
  swiglu_forward<float>(Context{}, out.data(), in.data(), 1, 5);
  const auto got = out.values();
  CHECK(std::abs(got[1]) < 1e-30f);
  CHECK(got[2] == 90.0f);
  CHECK(got[3] == 1e30f);
  CHECK(std::isnan(got[4]));
  swiglu_backward<float>(Context{}, in.data(), dout.data(), 1, 5);
  const auto gradient = in.values();
  CHECK(std::abs(gradient[1]) < 1e-30f);
  CHECK(gradient[3] == 1.0f);
  CHECK(std::isnan(gradient[4]));
}

}  // namespace glint::test
