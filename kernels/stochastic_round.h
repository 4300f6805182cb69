// Stochastic rounding of AdamW's moments to bf16: one definition for host and device. A value is rounded to one of its
// two neighbours, to the farther from zero with the probability of its distance from the nearer one. Its mean is the
// value itself, so changes below half a unit in the last place add up over steps; rounded to nearest they would be
// lost: with beta2 = 0.999 a second moment would never fall.
//
// P. Zamirai, J. Zhang, C. Aberger, C. De Sa, "Revisiting BFloat16 Training", 2020, arXiv:2010.06192; for Adam's states
// K. Ozkara, T. Yu, Y. Park, "Stochastic Rounding for LLM Training: Theory and Practice", 2025, arXiv:2502.20566.
//
// The random bits are a function of (seed, step, element): one Philox4x32-10 call serves four neighbouring elements,
// word i the i-th of them, lower half m and upper half v. The counter's last word has kMomentDomain, which no other
// use of the seed has: in dropout's layouts (kernels/dropout.h) that word is a sixteenth of an index at most.
#pragma once

#include "kernels/bf16.h"

namespace glint {

inline constexpr uint32_t kMomentDomain = 0x4D4F4D53;  // "MOMS"
inline constexpr int kMomentsPerDraw = 4;              // elements

GLINT_HOST_DEVICE constexpr PhiloxCounter moment_counter(uint64_t draw, uint64_t step) {
  return {low_word(draw), high_word(draw), low_word(step), high_word(step) ^ kMomentDomain};
}

// random: 16 bits. Zeros, infinities and NaN stay.
GLINT_HOST_DEVICE constexpr Bf16 round_stochastically(float value, uint32_t random) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const bool nan = (bits & 0x7fffffff) > 0x7f800000;
  return {static_cast<uint16_t>((nan ? bits | 0x400000 : bits + random) >> 16)};
}

// m and v of the element that has this word of a draw.
GLINT_HOST_DEVICE constexpr Bf16 round_first_moment(float m, uint32_t word) {
  return round_stochastically(m, word & 0xffff);
}
GLINT_HOST_DEVICE constexpr Bf16 round_second_moment(float v, uint32_t word) {
  return round_stochastically(v, word >> 16);
}

}  // namespace glint
