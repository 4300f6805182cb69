// Where backward has the dropout mask from: three answers. Each is built for one head, and has two verbs: draw() in
// forward, again() in backward; both return the mask of a tile. Without dropout they keep nothing and draw nothing.
#pragma once

#include "kernels/ladder/head.h"

namespace glint::ladder {

// The mask of a tile.
struct Keep {
  // What dropout multiplies element (i, j) of P with.
  float factor(int i, int j) const { return bytes ? bytes[i * stride + j] * scale : 1.0f; }

  const uint8_t* bytes = nullptr;  // 1: kept, 0: dropped; null: no dropout
  int stride = 0;
  float scale = 1.0f;  // 1 / (1 - p)
};

// The tile from query i0 and key j0, as kernels/dropout.h defines it: a Philox call serves 16 elements of 16 x 32.
inline void draw_tile(uint8_t* keep, int stride, const DropoutMask& mask, int i0, int j0) {
  for (int i = 0; i < kTile; i += 16) {
    for (int j = 0; j < kTile; j += 32) {
      for (int lane = 0; lane < 32; ++lane) {
        const PhiloxCounter draw = draw_attention(mask.seed, mask.offset, 0, static_cast<uint32_t>(i0 + i) / 16,
                                                  static_cast<uint32_t>(j0 + j) / 32, static_cast<uint32_t>(lane));
        uint8_t* const first = keep + (i + lane / 4) * stride + j + lane % 4 * 2;
        for (int n = 0; n < 16; ++n) {
          first[n / 2 % 2 * 8 * stride + n / 8 * 16 + n / 4 % 2 * 8 + n % 2] = byte_of(draw, n) <= mask.threshold;
        }
      }
    }
  }
}

// A matrix of bytes, as frameworks keep it.
struct ByteMask {
  static size_t kept(const AttentionShape& shape) { return Matrix(shape).size() / sizeof(float); }

  ByteMask(const DropoutMask& drawn, float* kept, const AttentionShape& shape)
      : mask(drawn), matrix(shape), bytes(reinterpret_cast<uint8_t*>(kept)) {}
  Keep draw(int i0, int j0) {
    if (mask.on) draw_tile(bytes + matrix.at(i0, j0), matrix.columns, mask, i0, j0);
    return again(i0, j0);
  }
  Keep again(int i0, int j0) const {
    return mask.on ? Keep{bytes + matrix.at(i0, j0), matrix.columns, mask.scale} : Keep{};
  }

  DropoutMask mask;
  Matrix matrix;
  uint8_t* bytes;
};

// A matrix of bits: one eighth of the memory, for packing and unpacking.
struct BitMask {
  static size_t kept(const AttentionShape& shape) { return Matrix(shape).size() / 8 / sizeof(float); }

  BitMask(const DropoutMask& drawn, float* kept, const AttentionShape& shape)
      : mask(drawn), matrix(shape), bits(reinterpret_cast<uint8_t*>(kept)) {}
  Keep draw(int i0, int j0) {
    if (!mask.on) return {};
    draw_tile(tile, kTile, mask, i0, j0);
    for_each_byte(i0, j0, [](uint8_t& packed, const uint8_t* keep) {
      packed = 0;
      for (int bit = 0; bit < 8; ++bit) packed = static_cast<uint8_t>(packed | keep[bit] << bit);
    });
    return {tile, kTile, mask.scale};
  }
  Keep again(int i0, int j0) {
    if (!mask.on) return {};
    for_each_byte(i0, j0, [](uint8_t packed, uint8_t* keep) {
      for (int bit = 0; bit < 8; ++bit) keep[bit] = packed >> bit & 1;
    });
    return {tile, kTile, mask.scale};
  }

  DropoutMask mask;
  Matrix matrix;
  uint8_t* bits;
  uint8_t tile[kTile * kTile];

 private:
  // f(packed byte, its 8 elements) for the tile.
  template <typename F>
  void for_each_byte(int i0, int j0, const F& f) {
    for (int i = 0; i < kTile; ++i) {
      for (int j = 0; j < kTile; j += 8) f(bits[matrix.at(i0 + i, j0 + j) / 8], tile + i * kTile + j);
    }
  }
};

// Nothing is kept: the mask is a function of the RNG state and the position, so backward draws it again.
struct DrawnMask {
  static size_t kept(const AttentionShape&) { return 0; }

  DrawnMask(const DropoutMask& drawn, float*, const AttentionShape&) : mask(drawn) {}
  Keep draw(int i0, int j0) {
    if (!mask.on) return {};
    draw_tile(tile, kTile, mask, i0, j0);
    return {tile, kTile, mask.scale};
  }
  Keep again(int i0, int j0) { return draw(i0, j0); }

  DropoutMask mask;
  uint8_t tile[kTile * kTile];
};

// The mask of a head; what it keeps begins `behind` floats into what the head keeps.
template <typename Mask, typename Arguments>
Mask mask_of(const Arguments& a, const Head& head, size_t behind = 0) {
  return {DropoutMask(a.dropout, a.shape.NH, head.b, head.h), head.kept + behind, a.shape};
}

// out += dropout(P) V of a tile. p: (kTile, kTile).
inline void add_values(const AttentionForward<float>& a, const Head& head, const Tile& tile, const float* p,
                       const Keep& keep) {
  for (int i = 0; i < tile.queries; ++i) {
    float* const out = a.out.at(head.b, tile.i0 + i, head.h);
    for (int j = 0; j < tile.visible(i); ++j) {
      add_scaled(out, a.v.at(head.b, tile.j0 + j, head.kv), keep.factor(i, j) * p[i * kTile + j], a.shape.HS);
    }
  }
}

}  // namespace glint::ladder
