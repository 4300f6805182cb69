// Products by oneDNN's matmul primitive, which multiplies bf16 where the CPU has instructions for it. Those are in
// ops/matmul_test.cpp.
#include "kernels/cpu/product.h"

#include "tests/kernels/compare.h"
#include "tests/random.h"

#ifdef GLINT_WITH_ONEDNN

namespace glint::test {

TEST_CASE("products by oneDNN's primitive agree with Eigen's, in every layout, set and added") {
  RandomInputs inputs(803);
  INFO("seed ", inputs.seed);
  const int sizes[][3] = {{1, 1, 1}, {3, 17, 5}, {64, 1, 31}, {65, 40, 24}, {1, 64, 48}, {130, 65, 33}, {70, 200, 130}};
  for (const auto& [M, N, K] : sizes) {
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

}  // namespace glint::test

#endif
