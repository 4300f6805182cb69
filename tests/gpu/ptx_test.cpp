// The wrappers of kernels/cuda/ptx.cuh, ptx_sm90.cuh and wgmma.cuh do what the PTX ISA says: emulated, and by the same
// cases on a GPU.
#include <doctest/doctest.h>

#include <string>

#include "tests/gpu/ptx_cases.h"

namespace glint {

TEST_CASE("ptx wrappers: on random inputs what plain formulas give") {
  test::RandomInputs inputs(20261201);
  INFO("seed ", inputs.seed);
  for (const test::PtxCase& c : test::ptx_cases()) {
    INFO(std::string(c.name));
    if (test::why_not(c)) continue;
    const int groups = 40 * 32 / test::words_of(c.wrapper).lanes;
    const std::vector<uint32_t> in = test::random_words(c, groups, inputs);
    CHECK(test::disagreements(c, in, test::run_case(c, in), test::plain_answer(c, in)).empty());
  }
}

TEST_CASE("ptx wrappers: a wrong bit in any answer shows") {
  test::RandomInputs inputs(20261202);
  INFO("seed ", inputs.seed);
  for (const test::PtxCase& c : test::ptx_cases()) {
    INFO(std::string(c.name));
    const std::vector<uint32_t> in = test::random_words(c, 1, inputs), good = test::plain_answer(c, in);
    CHECK(test::disagreements(c, in, good, good).empty());
    for (size_t i = 0; i < good.size(); i += 1 + good.size() / 200) {
      std::vector<uint32_t> bad = good;
      bad[i] ^= 0x40000000;  // of a float, the highest bit of its exponent
      CHECK(test::disagreements(c, in, bad, good) == std::vector<size_t>{i});
    }
  }
}

}  // namespace glint
