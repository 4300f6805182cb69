// Normal random numbers from Philox, for initialisation: a value depends on the seed, its stream and its number alone.
// On the CPU for every device, so that the bits are the same on all.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace glint {

struct NormalStream {
  uint64_t seed;
  uint32_t domain;  // separates these draws from other uses of the seed
  uint64_t stream;
  double deviation;
};

// Values 4*block .. 4*block + 3: one Philox4x32-10 draw gives two pairs (G. E. P. Box, M. E. Muller, 1958).
std::array<float, 4> four_normals(const NormalStream& stream, uint64_t block);

// values (n) = values first .. first + n - 1 of the stream; first: a multiple of 4. The same bits as four_normals().
void draw_normals(const CpuContext& ctx, float* values, uint64_t first, size_t n, const NormalStream& stream);

}  // namespace glint
