#include "kernels/convert.h"

#include "tests/kernels/guarded.h"

namespace glint::test {

TEST_CASE("convert: to bf16 as to_bf16 does, and back exactly, small shapes") {
  RandomInputs inputs(1404);
  INFO("seed ", inputs.seed);
  for (const size_t n : {1, 3, 8, 17, 64, 1000, 20001}) {
    for (const size_t offset : {0, 1, 4}) {
      std::vector<float> x = inputs.normal(n);
      x[0] = 3.4e38f;
      x[n / 2] = std::nanf("");
      for_each_context([&](const Context& ctx) {
        const Guarded<float> from(x, offset), back(n, offset);
        const Guarded<Bf16> to(n, offset);
        convert(ctx, to.data(), from.data(), n);
        convert(ctx, back.data(), to.data(), n);
        const std::vector<float> expected = rounded<Bf16>(x), got = to.values();
        for (size_t i = 0; i < n; ++i) CHECK((got[i] == expected[i] || (std::isnan(got[i]) && i == n / 2)));
        CHECK(same_bits(back.values(), got));
        if (kOnCpu) CHECK(same_bits(got, expected));
      });
    }
  }
}

}  // namespace glint::test
