// Products by oneDNN's matmul primitive, which multiplies bf16 where the CPU has instructions for it.
#include "kernels/cpu/product.h"

#include "kernels/convert.h"
#include "tests/kernels/compare.h"
#include "tests/random.h"

#ifdef GLINT_WITH_ONEDNN

namespace glint::test {
namespace {

const int kSizes[][3] = {{1, 1, 1}, {3, 17, 5}, {64, 1, 31}, {65, 40, 24}, {1, 64, 48}, {130, 65, 33}, {70, 200, 130}};

}  // namespace

TEST_CASE("products by oneDNN's primitive agree with Eigen's, in every layout, set and added") {
  RandomInputs inputs(803);
  INFO("seed ", inputs.seed);
  for (const auto& [M, N, K] : kSizes) {
    const std::vector<float> a = inputs.normal(static_cast<size_t>(M * K)),
                             b = inputs.normal(static_cast<size_t>(K * N));
    for (int turned = 0; turned < 4; ++turned) {
      for (const Write write : {Write::set, Write::add}) {
        std::vector<float> c(static_cast<size_t>(M * N), write == Write::set ? std::nanf("") : 0.5f), expected = c;
        Product product{M, N, K, {a.data(), turned % 2 == 1}, {b.data(), turned / 2 == 1}, c.data(), write};
        multiply_primitive(CpuContext{.threads = 2}, product);
        product.c = expected.data();
        multiply_eigen(CpuContext{.threads = 1}, product);
        double apart = 0;
        for (size_t i = 0; i < c.size(); ++i) apart = std::max(apart, std::abs(double{c[i]} - expected[i]));
        CHECK(apart <= 1e-6 * (1 + K));
      }
    }
  }
}

// Where the CPU has no instructions for bf16, both are products in fp32.
TEST_CASE("bf16 linear layers by oneDNN agree with fp32 but for the last bit") {
  RandomInputs inputs(804);
  INFO("seed ", inputs.seed, ", bf16 products by oneDNN: ", cpu_multiplies_bf16());
  const auto bf16 = [&](size_t n) {
    std::vector<Bf16> values(n);
    convert(CpuContext{}, values.data(), inputs.normal(n).data(), n);
    return values;
  };
  for (const auto& size : kSizes) {
    const int rows = size[0], in = size[1], out = size[2];
    for (const WeightLayout layout : {WeightLayout::in_out, WeightLayout::out_in}) {
      const LinearShape shape{rows, in, out, layout};
      const size_t nx = static_cast<size_t>(rows * in), nw = static_cast<size_t>(in * out),
                   no = static_cast<size_t>(rows * out);
      const auto x = bf16(nx), weight = bf16(nw), dout = bf16(no), bias = bf16(static_cast<size_t>(out)),
                 before = bf16(nx);
      struct Results {
        std::vector<Bf16> out, biased, dx;
        std::vector<float> dweight, dbias;
      };
      const auto results_of = [&](const CpuContext& ctx) {
        Results r{std::vector<Bf16>(no), std::vector<Bf16>(no), before, std::vector<float>(nw, 0.25f),
                  std::vector<float>(bias.size(), 1.0f)};
        linear_forward(ctx, r.out.data(), x.data(), weight.data(), nullptr, shape);
        linear_forward(ctx, r.biased.data(), x.data(), weight.data(), bias.data(), shape);
        linear_backward_input(ctx, r.dx.data(), dout.data(), weight.data(), shape, Write::add);
        linear_backward_weight(ctx, r.dweight.data(), r.dbias.data(), x.data(), dout.data(), nullptr, shape,
                               Write::add);
        return r;
      };
      const Results got = results_of({.threads = 2, .matmul = MatmulEngine::onednn}),
                    expected = results_of({.matmul = MatmulEngine::eigen});
      const auto check = [&](const char* what, const auto& ours, const auto& theirs, int terms) {
        INFO(what, ", rows ", rows, ", in ", in, ", out ", out);
        const auto value = [](auto v) {
          if constexpr (std::is_same_v<decltype(v), Bf16>) return to_float(v);
          else return v;
        };
        for (size_t i = 0; i < ours.size(); ++i) {
          const float a = value(ours[i]), b = value(theirs[i]);
          const float ulp = sizeof ours[i] == 2 ? std::abs(b) * 0x1p-7f : 0.0f;
          CHECK(std::abs(a - b) <= ulp + 1e-6f * static_cast<float>(1 + terms));
        }
      };
      check("out", got.out, expected.out, in);
      check("out with bias", got.biased, expected.biased, in);
      check("dx", got.dx, expected.dx, out);
      check("dweight", got.dweight, expected.dweight, rows);
      check("dbias", got.dbias, expected.dbias, rows);
    }
  }
}

}  // namespace glint::test

#endif
