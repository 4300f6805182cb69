// The masks of backward's tiles, one bit an element: drawn by Philox's parts that a block of columns shares
// (../philox.cuh), compared four bytes at once.
#pragma once

#include "kernels/cuda/attention/sm90/backward.cuh"
#include "kernels/cuda/attention/transposed_dropout.cuh"

namespace glint::attention::sm90 {

// The drop bits of eight words of random bytes: bit k of byte r is byte r of word k.
struct DropBits {
  __device__ explicit DropBits(const ByteCompare& bytes) : compare(bytes) {}
  __device__ void add(const uint32_t (&random)[4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) bits = (compare.above(random[k]) & 0x80808080u) | (bits >> 1 & 0x7f7f7f7fu);
  }

  const ByteCompare& compare;
  uint32_t bits = 0;
};

// A warpgroup's 64 keys, which stay, and 64 queries that go by. A warp draws the mask of 16 queries and all keys but
// needs, of the transposed tile, that of 16 keys and all queries: warps trade through shared memory. So that registers
// suffice, what a lane knows of the random numbers, and where in the exchange it writes and reads, lies there too.
// Empty if dropout is off.
template <bool kDropout>
struct ColumnDropout {
  struct Shared {};

  __device__ ColumnDropout(const BackwardArguments&, Shared&, int) {}
  __device__ void start(int, int, int) {}
  __device__ void draw(int) {}
  __device__ bool drops(int) const { return false; }
};

template <>
struct ColumnDropout<true> {
  struct Shared {
    uint4 known[2][kConsumerWarps][32];
    MaskExchange exchange[2][2];  // of a warpgroup, of even and odd steps
  };

  // Of that consumer warp.
  __device__ ColumnDropout(const BackwardArguments& arguments, Shared& of_block, int warp_index)
      : a(arguments), shared(of_block), warpgroup(warp_index / 4), warp(warp_index % 4), philox(a.call.dropout) {}

  // Keys j .. j + 63 of query head h.
  __device__ void start(int b, int h, int j) {
    uint32_t sequence = b, thread = lane();
    ptx::forget(sequence), ptx::forget(thread);  // nothing of this stays in registers until the next head
    const ColumnPhilox::Columns columns = philox.columns(sequence, a.shape().NH, h, j / 32);
    const uint32_t g = thread / 4, t = thread % 4, selector = g % 2 ? 0x7531 : 0x6420;
    const uint32_t write = MaskExchange::place(thread) * 16 + warp * 4, read = MaskExchange::place(8 * t + g / 2) * 16;
    store_vector(&known(0), uint4{columns.x1, columns.z2, columns.x2[0], columns.x2[1]});
    store_vector(&known(1), uint4{columns.x3[0], columns.x3[1], write, read << 16 | selector});
  }

  // Queries i .. i + 63.
  __device__ void draw(int i) {
    const uint4 k0 = load_vector<uint4>(&known(0)), k1 = load_vector<uint4>(&known(1));
    uint32_t random[2][4];
    philox.draw(random, {k0.x, k0.y, {k0.z, k0.w}, {k1.x, k1.y}}, static_cast<uint32_t>(i) / 16 + warp);
    DropBits drop(a.compare);
    drop.add(random[0]);
    drop.add(random[1]);
    const unsigned exchange = ptx::SharedAddress(&shared.exchange[warpgroup][turn]).value;
    const unsigned read = exchange + (k1.w >> 16);
    turn ^= 1;
    ptx::store_shared(exchange + k1.z, drop.bits);
    ptx::barrier_sync(1 + warpgroup, 128);
    transpose(ptx::load_shared(read), ptx::load_shared(read + 64), k1.w);
  }
  // Element r of the accumulator.
  __device__ bool drops(int r) const { return bits & 1u << (8 * (r / 4 % 4) + 4 * (r / 16) + 2 * (r % 2) + r / 2 % 2); }

 private:
  // x and y are what lanes 4 * (2t + c) + g / 2, c = 0 and 1, have drawn: a word for each 16 queries, of whose bytes
  // those with index % 2 == g % 2, which `selector` takes, are of this lane's keys, and of whose bits two.
  __device__ void transpose(uint4 x, uint4 y, uint32_t selector) {
    const auto take = [&](uint32_t first, uint32_t second, uint32_t to) {
      const uint32_t bytes = ptx::byte_permute(first, selector, second);
      return __funnelshift_r(bytes, bytes, 2 * warp - to);
    };
    const uint32_t low = (take(x.x, x.y, 0) & 0x33333333u) | (take(y.x, y.y, 2) & 0xccccccccu);
    const uint32_t high = (take(x.z, x.w, 4) & 0x33333333u) | (take(y.z, y.w, 6) & 0xccccccccu);
    bits = (low & 0x0f0f0f0fu) | (high & 0xf0f0f0f0u);
  }
  __device__ uint4& known(int part) const { return shared.known[part][4 * warpgroup + warp][lane()]; }

  const BackwardArguments& a;
  Shared& shared;
  const int warpgroup, warp;
  ColumnPhilox philox;
  int turn = 0;
  uint32_t bits = 0;
};

}  // namespace glint::attention::sm90
