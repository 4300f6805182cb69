// Backward's items, blocks of keys, and the tiles of queries that go by.
#pragma once

#include "kernels/cuda/attention/sm90/backward.cuh"

namespace glint::attention::sm90 {

// Keys j0 .. j0 + kBlockRows - 1 of key head kv of sequence b. Of each head the last block first, which is the order in
// which blocks add to dQ: a block waits for such as were taken before it. Heads in sections, whose blocks take turns.
struct KeyBlock {
  __device__ KeyBlock(const BackwardArguments& arguments, int item) : a(arguments) {
    const AttentionShape& shape = a.shape();
    const int blocks = (shape.S + kBlockRows - 1) / kBlockRows, heads = shape.B * shape.NKV;
    const int first = item / (a.section * blocks) * a.section, rest = item % (a.section * blocks);
    const int count = min(a.section, max(heads - first, 1));  // the last section may be short
    const int head = first + rest % count;
    b = item < heads * blocks ? head / shape.NKV : -1;
    kv = head % shape.NKV;
    j0 = (blocks - 1 - rest / count) * kBlockRows;
  }
  __device__ bool is_none() const { return b < 0; }  // beyond the last item
  // Blocks that queries i .. i + kTile - 1 see and that come before this one, last first.
  __device__ int before(int i) const { return (a.range.key_end(i + kTile - 1) - 1) / kBlockRows - j0 / kBlockRows; }

  const BackwardArguments& a;
  int b, kv, j0;
};

// Tiles of the queries that see a block of keys: i .. i + kTile - 1 of query head h(), one head after the other.
struct QueryTile {
  __device__ explicit QueryTile(const KeyBlock& of_block) : block(of_block), i(first()), heads(block.a.group) {}
  __device__ bool is_valid() const { return heads > 0; }
  __device__ int h() const { return (block.kv + 1) * block.a.group - heads; }
  // Whether a new head begins.
  __device__ bool next() {
    i += kTile;
    if (i < block.a.shape().T) return false;
    i = first();
    --heads;
    return true;
  }
  __device__ QueryTile before(int steps) const {
    QueryTile tile = *this;
    for (; steps > 0; --steps) {
      if (tile.i == first()) tile.i = block.a.tiles() * kTile, ++tile.heads;
      tile.i -= kTile;
    }
    return tile;
  }
  __device__ int first() const { return block.a.range.first_query(block.j0) / kTile * kTile; }

  const KeyBlock& block;
  int i, heads;  // heads: that are left
};

}  // namespace glint::attention::sm90
