// Which queries a block of threads works on, one item after the other.
#pragma once

#include "kernels/cuda/attention/mma_tile.cuh"

namespace glint::attention::sm90 {

// n / divisor for 0 <= n < 2^31 by a multiplication.
struct Divider {
  Divider() = default;
  explicit Divider(int by) : divisor(by) {
    if (by == 1) return;
    unsigned log = 0;
    while ((1ull << log) < static_cast<unsigned>(by)) ++log;
    multiplier = static_cast<unsigned>(((1ull << (31 + log)) + by - 1) / by);
    shift = log - 1;
  }
  __device__ int operator()(int n) const {
    return divisor == 1 ? n : static_cast<int>(__umulhi(n, multiplier) >> shift);
  }

  int divisor = 1;
  unsigned multiplier = 0, shift = 0;
};

// A block of queries of one head.
struct Item {
  Item() = default;
  __device__ Item(int block_index, int sequence, int head) : block(block_index), b(sequence), h(head) {}
  // As it is handed on in shared memory; all lanes of a warp have read the same.
  __device__ explicit Item(uint4 x) : block(ptx::uniform(x.x)), b(ptx::uniform(x.y)), h(ptx::uniform(x.z)) {}
  __device__ uint4 packed() const {
    return {static_cast<unsigned>(block), static_cast<unsigned>(b), static_cast<unsigned>(h), 0};
  }
  __device__ bool is_none() const { return block < 0; }

  int block = -1, b = 0, h = 0;
};

// All items, longest first, so that blocks that take them one by one end at about the same time. Heads go by sections
// whose K and V stay in the L2 cache; in a section the last queries of all heads come first.
struct Schedule {
  Schedule() = default;
  Schedule(int head_blocks, int B, int NH, int section_heads)
      : blocks(head_blocks),
        heads(B * NH),
        section(section_heads),
        section_items(section_heads * head_blocks),
        sequence(NH) {}

  int items() const { return blocks * heads; }
  // None beyond the last one.
  __device__ Item item(int index) const {
    if (index >= blocks * heads) return {};
    const int first_head = section_items(index) * section.divisor;
    const int rest = index - section_items(index) * section_items.divisor;
    const int count = min(heads - first_head, section.divisor);  // the last section may be short
    const int row = count == section.divisor ? section(rest) : rest / count;
    const int head = first_head + rest - row * count, b = sequence(head);
    return {blocks - 1 - row, b, head - b * sequence.divisor};
  }

  int blocks = 0, heads = 0;                 // blocks of a head; heads of all sequences
  Divider section, section_items, sequence;  // by heads of a section, its items, and heads of a sequence
};

}  // namespace glint::attention::sm90
