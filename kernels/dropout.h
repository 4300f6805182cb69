// Dropout masks, never stored: a pure function of (seed, offset) and the element's place, drawn again in backward.
//
// Two layouts share one numbering of Philox counters. A dropout site owns 32 * B * H consecutive offsets of a step
// (B sequences of the *global* batch, H query heads; H = 1 in the row layout); a later site's range lies behind it.
//
//   attention layout, element (b, h, i, j) of P: FlashAttention-2's, bit for bit. One draw serves the 16 elements
//     that one lane of an mma.m16n8 accumulator holds of a 16 x 32 block.
//       lane = 4*(i%8) + (j%8)/2,  c = offset + 32*(b*H + h) + lane,  counter = {lo(c), hi(c), i/16, j/32}
//       byte = 8*((j/16)%2) + 4*((j/8)%2) + 2*((i/8)%2) + j%2
//   row layout, element (b, t, c) of an activation (embedding and residual dropout): 16 neighbouring channels a draw.
//       counter = {lo(offset + 32*b), hi(offset + 32*b), t, c/16},  byte = c % 16
//
// In both, key = seed, Philox4x32-7, little-endian bytes; kept if byte <= threshold.
#pragma once

#include <cstdint>

#include "kernels/philox.h"

namespace glint {

// Where random numbers stand. Lives in the device's memory; kernels get a pointer to it, so that a recorded step can be
// replayed with new masks. The trainer advances it.
struct RngState {
  uint64_t seed = 0;
  uint64_t offset = 0;          // first offset of this optimizer step
  uint64_t step = 0;            // optimizer step
  uint64_t first_sequence = 0;  // index, in the global batch, of sequence 0 of the batch at hand
};

// One dropout site as a kernel sees it. p = 0 is off: no random number is drawn and rng may be null.
struct Dropout {
  float p = 0.0f;
  const RngState* rng = nullptr;
  uint64_t site = 0;  // this site's first offset, counted from rng->offset

  constexpr bool on() const { return p > 0.0f; }
};

// Offsets that one site consumes per step.
constexpr uint64_t dropout_offsets(uint64_t global_batch, uint64_t heads) { return 32 * global_batch * heads; }

// How a random byte becomes keep or drop, and the factor of what is kept (FlashAttention-2's pair: the threshold is
// quantised to 8 bits, the scale is not).
struct KeepRule {
  uint8_t threshold;
  float scale;
};
GLINT_HOST_DEVICE constexpr KeepRule keep_rule(float p) {
  const float keep_probability = 1.0f - p;
  return {static_cast<uint8_t>(keep_probability * 255.0), 1.0f / keep_probability};  // 255.0: a double product, floored
}

GLINT_HOST_DEVICE constexpr uint8_t byte_of(const PhiloxCounter& draw, int index) {
  const uint32_t word = index < 8 ? (index < 4 ? draw.x : draw.y) : (index < 12 ? draw.z : draw.w);
  return static_cast<uint8_t>(word >> (8 * (index % 4)));
}

// The 16 bytes that serve `lane` of the 16 x 32 block (block_row, block_column); sequence_head = b*H + h.
GLINT_HOST_DEVICE constexpr PhiloxCounter draw_attention(uint64_t seed, uint64_t offset, uint64_t sequence_head,
                                                         uint32_t block_row, uint32_t block_column, uint32_t lane) {
  const uint64_t c = offset + 32 * sequence_head + lane;
  return philox4x32<7>({low_word(c), high_word(c), block_row, block_column}, philox_key(seed));
}
GLINT_HOST_DEVICE constexpr bool keep_attention(uint64_t seed, uint64_t offset, uint64_t sequence_head, uint32_t i,
                                                uint32_t j, uint8_t threshold) {
  const uint32_t lane = 4 * (i % 8) + (j % 8) / 2;
  const int index = static_cast<int>(8 * ((j / 16) % 2) + 4 * ((j / 8) % 2) + 2 * ((i / 8) % 2) + j % 2);
  return byte_of(draw_attention(seed, offset, sequence_head, i / 16, j / 32, lane), index) <= threshold;
}

// The 16 bytes that serve channels 16*group .. 16*group+15 of token t of sequence b.
GLINT_HOST_DEVICE constexpr PhiloxCounter draw_row(uint64_t seed, uint64_t offset, uint64_t b, uint32_t t, uint32_t group) {
  const uint64_t c = offset + 32 * b;
  return philox4x32<7>({low_word(c), high_word(c), t, group}, philox_key(seed));
}
GLINT_HOST_DEVICE constexpr bool keep_row(uint64_t seed, uint64_t offset, uint64_t b, uint32_t t, uint32_t channel,
                                          uint8_t threshold) {
  return byte_of(draw_row(seed, offset, b, t, channel / 16), static_cast<int>(channel % 16)) <= threshold;
}

}  // namespace glint
