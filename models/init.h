// GPT-2's initialisation, Llama's too.
#pragma once

#include <cstdint>

#include "src/parameters.h"

namespace glint {

// N(0, 0.02), projections into the residual stream N(0, 0.02 / sqrt(2 layers)), weights of norms 1, biases 0. Values
// depend on the seed and the tensor's name only.
void initialize_parameters(Parameters& parameters, uint64_t seed, int layers);

}  // namespace glint
