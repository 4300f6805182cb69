// Inputs for the probes of Hopper's instructions, and their answers by plain formulas (NVIDIA's "PTX ISA"). All are
// exact: products are of small integers.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/gpu/hopper_kernels.h"
#include "tests/random.h"

namespace glint::test {

struct HopperCase {
  const char* name;
  HopperProbe probe;
  // One block: words_of(probe).
  void (*fill)(uint32_t* in, RandomInputs& inputs);
  void (*answer)(uint32_t* out, const uint32_t* in);
};
const std::vector<HopperCase>& hopper_cases();

// Whether this build has them and the current device is one of compute capability 9.0 (or emulated).
bool has_hopper();

// Of any number of blocks.
std::vector<uint32_t> random_words(const HopperCase& c, int blocks, RandomInputs& inputs);
std::vector<uint32_t> plain_answer(const HopperCase& c, const std::vector<uint32_t>& in);
std::vector<uint32_t> run_case(const HopperCase& c, const std::vector<uint32_t>& in);  // on the device

}  // namespace glint::test
