// bfloat16 as it lies in memory: the upper half of a float. Kernels that compute with it have their own conversions.
#pragma once

#include <cstdint>

namespace glint {

struct alignas(2) Bf16 {
  uint16_t bits;
};

}  // namespace glint
