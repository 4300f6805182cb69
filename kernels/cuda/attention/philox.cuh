// The random words of the attention mask (draw_attention of kernels/dropout.h) in loops of which one block coordinate
// stays: what the other does not change is computed outside, and the keys of the rounds lie in uniform registers.
//
// With x[r], y[r], z[r], w[r] the counter after round r and kx, ky the keys of the rounds, Philox4x32 is
//   x[r] = high(M1 z[r-1]) ^ y[r-1] ^ kx[r]    y[r] = low(M1 z[r-1])
//   z[r] = high(M0 x[r-1]) ^ w[r-1] ^ ky[r]    w[r] = low(M0 x[r-1])
// from (x, y) = a number c of sequence, head and lane, z = block row, w = block column. So the row enters x[1] and
// y[1], and through them x[2], z[2], w[2], x[3], y[3], z[3], w[3]; the column enters z[1], and through it x[2], y[2],
// x[3], z[3], w[3]. Of the 14 products, 10 are left where the row stays, and 10.5 where two columns stay.
#pragma once

#include "kernels/cuda/dropout.cuh"

namespace glint::attention {

// Keys of the rounds. `on` false: nothing is read, and the keys are zero.
struct PhiloxKeys {
  static constexpr int kRounds = 7;

  __device__ explicit PhiloxKeys(const Dropout& dropout, bool on = true) {
    if (!on) return;
    PhiloxKey key = philox_key(dropout.rng->seed);
#pragma unroll
    for (int round = 1; round <= kRounds; ++round) {
      x[round] = ptx::uniform(key.x);
      y[round] = ptx::uniform(key.y);
      key = {key.x + kPhiloxWeyl0, key.y + kPhiloxWeyl1};
    }
  }

  // Rounds 4 to 7. x4_key: what is left to be added to x[4].
  __device__ void finish(uint32_t (&random)[4], uint32_t x3, uint32_t z3, uint32_t w3, uint32_t y3,
                         uint32_t x4_key) const {
    uint32_t c[4] = {x3, y3, z3, w3};
#pragma unroll
    for (int round = 4; round <= kRounds; ++round) {
      const WideProduct p0(kPhiloxMultiplier0, c[0]), p1(kPhiloxMultiplier1, c[2]);
      c[0] = p1.high ^ c[1] ^ (round == 4 ? x4_key : x[round]);
      c[1] = p1.low;
      c[2] = p0.high ^ c[3] ^ y[round];
      c[3] = p0.low;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) random[i] = c[i];
  }

  uint32_t x[kRounds + 1] = {}, y[kRounds + 1] = {};
};

// A block row stays, block columns go by. All lanes of a warp call it together.
struct RowPhilox {
  // What is known of z[1] and so on before the column is: a lane's own.
  struct Row {
    uint32_t z1, x2, x3, z3, x4;
  };

  __device__ explicit RowPhilox(const Dropout& dropout, bool on = true) : site(dropout), keys(dropout, on) {}

  // Of a block row of head h of NH of sequence b of the micro-batch.
  __device__ Row row(int b, int NH, int h, uint32_t block_row) const {
    return row(DropoutMask(site, NH, b, h).offset + threadIdx.x % 32, block_row);
  }
  // Of the counters {c, block_row, any}.
  __device__ Row row(uint64_t c, uint32_t block_row) const {
    const WideProduct from_c(kPhiloxMultiplier0, low_word(c)), from_row(kPhiloxMultiplier1, block_row);
    const WideProduct from_x1(kPhiloxMultiplier0, from_row.high ^ high_word(c) ^ keys.x[1]);
    const WideProduct from_z2(kPhiloxMultiplier1, from_x1.high ^ from_c.low ^ keys.y[2]);
    return {from_c.high ^ keys.y[1], from_row.low ^ keys.x[2], from_z2.high ^ keys.x[3], from_x1.low ^ keys.y[3],
            from_z2.low ^ keys.x[4]};
  }

  // This lane's 16 bytes of the block.
  __device__ void draw(uint32_t (&random)[4], const Row& known, uint32_t block_column) const {
    const WideProduct from_z1(kPhiloxMultiplier1, known.z1 ^ block_column);
    const WideProduct from_x2(kPhiloxMultiplier0, from_z1.high ^ known.x2);
    keys.finish(random, from_z1.low ^ known.x3, from_x2.high ^ known.z3, from_x2.low, 0, known.x4);
  }

  const Dropout& site;
  PhiloxKeys keys;
};

// Two neighbouring block columns stay, block rows go by. All lanes of a warp call it together.
struct ColumnPhilox {
  // What is known of x[1] and so on before the row is: a lane's own. In registers or, where those are short, in shared
  // memory.
  struct alignas(8) Columns {
    uint32_t x1, z2, x2[2], x3[2];
  };

  __device__ explicit ColumnPhilox(const Dropout& dropout, bool on = true) : site(dropout), keys(dropout, on) {}

  // Of block columns block_column and block_column + 1 of head h of NH of sequence b of the micro-batch.
  __device__ Columns columns(int b, int NH, int h, uint32_t block_column) const {
    const uint64_t c = DropoutMask(site, NH, b, h).offset + threadIdx.x % 32;
    const WideProduct from_c(kPhiloxMultiplier0, low_word(c));
    Columns known;
    known.x1 = high_word(c) ^ keys.x[1];
    known.z2 = from_c.low ^ keys.y[2];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const WideProduct from_z1(kPhiloxMultiplier1, from_c.high ^ (block_column + k) ^ keys.y[1]);
      known.x2[k] = from_z1.high ^ keys.x[2];
      known.x3[k] = from_z1.low ^ keys.x[3];
    }
    return known;
  }

  // This lane's 16 bytes of each of the two blocks.
  __device__ void draw(uint32_t (&random)[2][4], const Columns& known, uint32_t block_row) const {
    const WideProduct from_row(kPhiloxMultiplier1, block_row);
    const WideProduct from_x1(kPhiloxMultiplier0, from_row.high ^ known.x1);
    const WideProduct from_z2(kPhiloxMultiplier1, from_x1.high ^ known.z2);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const WideProduct from_x2(kPhiloxMultiplier0, from_row.low ^ known.x2[k]);
      const uint32_t z3 = from_x2.high ^ from_x1.low ^ keys.y[3];
      keys.finish(random[k], from_z2.high ^ known.x3[k], z3, from_x2.low, from_z2.low, keys.x[4]);
    }
  }

  const Dropout& site;
  PhiloxKeys keys;
};

}  // namespace glint::attention
