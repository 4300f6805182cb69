// Hopper's instructions do what the PTX ISA says: emulated, and by the same cases on a GPU.
#include <doctest/doctest.h>

#include <string>

#include "tests/gpu/hopper_cases.h"

namespace glint {

TEST_CASE("hopper instructions: on random inputs what plain formulas give, small shapes") {
  if (!test::has_hopper()) return;
  test::RandomInputs inputs(20261206);
  INFO("seed ", inputs.seed);
  for (const test::HopperCase& c : test::hopper_cases()) {
    INFO(std::string(c.name));
    const std::vector<uint32_t> in = test::random_words(c, 3, inputs);
    CHECK(test::run_case(c, in) == test::plain_answer(c, in));
  }
}

}  // namespace glint
