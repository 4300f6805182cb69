// Inputs for the wrappers of kernels/cuda/ptx.cuh, ptx_sm90.cuh and wgmma.cuh, their answers by plain formulas
// (NVIDIA's "PTX ISA"), and how far two answers may lie apart.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/gpu/ptx_kernels.h"
#include "tests/random.h"

namespace glint::test {

struct PtxCase {
  const char* name;
  Wrapper wrapper;
  // One group: its lanes' words, as words_of(wrapper) says.
  void (*fill)(uint32_t* in, RandomInputs& inputs);
  void (*answer)(uint32_t* out, const uint32_t* in);
  // Whether word `index` of a group's answer may be either; in: the group's inputs.
  bool (*agree)(const uint32_t* in, int index, uint32_t a, uint32_t b);
};
const std::vector<PtxCase>& ptx_cases();
std::vector<PtxCase> sm90_cases();  // those of them that need compute capability 9.0

// Why this program cannot run the case on this device; null if it can.
const char* why_not(const PtxCase& c);

// Of any number of groups.
std::vector<uint32_t> random_words(const PtxCase& c, int groups, RandomInputs& inputs);
std::vector<uint32_t> plain_answer(const PtxCase& c, const std::vector<uint32_t>& in);
std::vector<uint32_t> run_case(const PtxCase& c, const std::vector<uint32_t>& in);  // on the device

// The indices at which two answers do not agree.
std::vector<size_t> disagreements(const PtxCase& c, const std::vector<uint32_t>& in, const std::vector<uint32_t>& a,
                                  const std::vector<uint32_t>& b);

}  // namespace glint::test
