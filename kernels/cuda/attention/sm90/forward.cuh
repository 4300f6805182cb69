// Attention forward in bf16 on Hopper: FlashAttention-2 (T. Dao, 2023), Algorithm 1, with dropout after the softmax. A
// producer loads tiles by TMA into rings in shared memory, consumers multiply them by wgmma, with P in registers.
#pragma once

#include "kernels/cuda/attention/sm90/pipeline.cuh"
#include "kernels/cuda/attention/sm90/schedule.cuh"
#include "kernels/cuda/attention/sm90/softmax.cuh"
#include "kernels/cuda/attention/sm90/tensor_map.h"

namespace glint::attention::sm90 {

// A block has a producer and kGroups consumers, warpgroups of 64 queries each, which read the same keys, kKeys at a
// time. kOverlap: the product Q K^T of the next tile runs together with P V of this one.
template <int kHS_>
struct ForwardTiles {
  static constexpr int kHS = kHS_, kKeys = 128, kGroups = kHS <= 64 ? 3 : 2, kQueries = 64 * kGroups;
  static constexpr bool kOverlap = kHS > 64;
  static constexpr int kStages = kHS <= 64 ? 3 : 2, kQueryStages = 2;
  static constexpr int kThreads = 128 * (1 + kGroups), kLaunchRegisters = 65536 / kThreads / 8 * 8;
  static constexpr int kProducerRegisters = kGroups == 3 ? 32 : 40, kConsumerRegisters = kGroups == 3 ? 160 : 232;
  static_assert(kProducerRegisters + kGroups * kConsumerRegisters <= (1 + kGroups) * kLaunchRegisters);
  using Queries = SharedTile<64, kHS>;
  using Keys = SharedTile<kKeys, kHS>;

  Queries q[kGroups][kQueryStages];
  Keys k[kStages], v[kStages];
  StageBarriers<kQueryStages> q_barriers[kGroups];
  StageBarriers<kStages> k_barriers, v_barriers;
  uint4 items[kGroups][kQueryStages];  // of the queries in q

  // By one thread.
  __device__ void init() {
    for (auto& barriers : q_barriers) barriers.init(1, 4);
    k_barriers.init(1, 4 * kGroups), v_barriers.init(1, 4 * kGroups);
    ptx::fence_mbarrier_init();
  }
};

struct ForwardArguments {
  CUtensorMap q, k, v;
  AttentionForward<Bf16> a;
  Schedule schedule;
  unsigned* items_taken;  // beyond each block's first one
};

GLINT_HOST_DEVICE constexpr int tiles_of(int n, int tile) { return (n + tile - 1) / tile; }

// Takes item after item and loads what they need; one thread.
template <typename Tiles>
__device__ void produce(Tiles& tiles, const ForwardArguments& arguments) {
  const AttentionShape& shape = arguments.a.shape;
  const CausalRange range(shape);
  Cursor<Tiles::kQueryStages> q_at;
  Cursor<Tiles::kStages> at;
  ptx::prefetch_tensor_map(&arguments.q);
  ptx::prefetch_tensor_map(&arguments.k);
  ptx::prefetch_tensor_map(&arguments.v);

  for (int index = blockIdx.x;; q_at.next()) {
    const Item item = arguments.schedule.item(index);
    const int i = item.block * Tiles::kQueries;
    for (int group = 0; group < Tiles::kGroups; ++group) {
      auto& q = tiles.q[group][q_at.stage()];
      auto& barriers = tiles.q_barriers[group];
      barriers.wait_empty(q_at);
      store_vector(&tiles.items[group][q_at.stage()], item.packed());
      if (item.is_none()) ptx::mbarrier_arrive(&barriers.full[q_at.stage()]);
      else load_tile(q, arguments.q, barriers.expect(q_at, sizeof q), item.b, i + 64 * group, item.h);
    }
    if (item.is_none()) return;

    const int count = tiles_of(range.key_end(i + Tiles::kQueries - 1), Tiles::kKeys);
    const int kv = item.h / (shape.NH / shape.NKV);
    unsigned taken = 0;
#pragma unroll 1
    for (int tile = 0; tile < count; ++tile, at.next()) {
      // The next item: early enough to have its number when it is needed, late enough to balance the blocks.
      if (tile == max(count - 2, 0)) taken = atomicAdd(arguments.items_taken, 1u);
      auto &k = tiles.k[at.stage()], &v = tiles.v[at.stage()];
      tiles.k_barriers.wait_empty(at);
      load_tile(k, arguments.k, tiles.k_barriers.expect(at, sizeof k), item.b, tile * Tiles::kKeys, kv);
      tiles.v_barriers.wait_empty(at);
      load_tile(v, arguments.v, tiles.v_barriers.expect(at, sizeof v), item.b, tile * Tiles::kKeys, kv);
    }
    index = gridDim.x + taken;
  }
}

// A warpgroup's work on 64 queries.
template <typename Tiles, bool kDropout>
struct Consumer {
  static constexpr int kHS = Tiles::kHS, kKeys = Tiles::kKeys;
  using Place = Cursor<Tiles::kStages>;

  __device__ Consumer(Tiles& tiles, const AttentionForward<Bf16>& a)
      : keys(tiles.k_barriers),
        values(tiles.v_barriers),
        k(operand(tiles.k[0])),
        v(operand(tiles.v[0])),
        mask(a.shape),
        softmax(a.shape.scale),
        dropout(a.dropout) {
    ptx::forget(k.descriptor), ptx::forget(v.descriptor);  // or they would be computed again for each product
  }

  // Queries i, i + 1, .. of head h of NH of sequence b.
  __device__ void start(Operand<typename Tiles::Queries> queries, int b, int NH, int h, int i) {
    q = queries;
    o = {};
    mask.start(i);
    softmax.start();
    dropout.start(b, NH, h, i);
  }

  // All keys up to key_end, tile by tile; of the last one half, if the queries see no more.
  __device__ void attend(int key_end) {
    const int whole = (key_end + kKeys / 2 - 1) / kKeys;
    if constexpr (Tiles::kOverlap) attend_overlapped(whole);
    else
      for (int tile = 0; tile < whole; ++tile) attend_tile<kKeys>(tile);
    if (key_end > whole * kKeys) attend_tile<kKeys / 2>(whole);
  }
  // The first kWidth keys of a tile. One product after the other: other warpgroups compute meanwhile.
  template <int kWidth>
  __device__ void attend_tile(int tile) {
    Accumulator<kWidth> s;
    Fragment<kWidth> p;
    start_scores(s);  // S = Q K^T
    ptx::wgmma_wait<0>();
    finish_scores(s, tile);
    softmax.rescale(o);
    round_to(p, s);
    dropout.apply(p);
    values.wait_full(at);
    start_output(p, at);  // O += P V
    ptx::wgmma_wait<0>();
    finish_output(at);
    at.next();
  }

  // The first `tiles`, two products at a time.
  __device__ void attend_overlapped(int tiles) {
    if (tiles == 0) return;
    Accumulator<kKeys> s;
    Fragment<kKeys> p;
    start_scores(s);
    ptx::wgmma_wait<0>();
    finish_scores(s, 0);
    round_to(p, s);
    dropout.apply(p);
    values.wait_full(at);
    for (int tile = 1; tile < tiles; ++tile) {
      const Place before = at;
      at.next();
      start_scores(s);          // S = Q K^T
      start_output(p, before);  // O += P V of the tile before
      ptx::wgmma_wait<1>();
      finish_scores(s, tile);
      ptx::pin(s.x);
      values.wait_full(at);  // of the next turn: ptxas moves the next wait up to where P V began, but not across a loop
      ptx::wgmma_wait<0>();
      ptx::pin(p.x);
      finish_output(before);
      round_to(p, s);
      dropout.apply(p);
      softmax.rescale(o);
    }
    start_output(p, at);
    ptx::wgmma_wait<0>();
    finish_output(at);
    at.next();
  }

  // Lets tiles pass that only other warpgroups need.
  __device__ void skip(int tiles) {
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile, at.next()) {
      keys.wait_full(at), values.wait_full(at);
      keys.release(at), values.release(at);
    }
  }

  template <int kWidth>
  __device__ void start_scores(Accumulator<kWidth>& s) {
    keys.wait_full(at);
    ptx::wgmma_fence();
    multiply_transposed(s, q, k.next(at.stage()));
    ptx::wgmma_commit();
  }
  template <int kWidth>
  __device__ void finish_scores(Accumulator<kWidth>& s, int tile) {
    ptx::pin(s.x);
    keys.release(at);
    dropout.template draw<kWidth>(tile);
    mask.apply(s, tile * kKeys);
    softmax.update(s);
  }
  template <int kWidth>
  __device__ void start_output(const Fragment<kWidth>& p, const Place& place) {
    ptx::wgmma_fence();
    multiply(o, p, v.next(place.stage()));
    ptx::wgmma_commit();
  }
  __device__ void finish_output(const Place& place) {
    ptx::pin(o.x);
    values.release(place);
  }

  StageBarriers<Tiles::kStages>&keys, &values;
  Operand<typename Tiles::Keys> k, v;  // the first tiles
  CausalMask mask;
  OnlineSoftmax softmax;
  TileDropout<kKeys, kDropout> dropout;
  Operand<typename Tiles::Queries> q = {};
  Accumulator<kHS> o;
  Place at;
};

template <int kHS, bool kDropout>
__global__ void __launch_bounds__(ForwardTiles<kHS>::kThreads, 1)
    forward_kernel(const __grid_constant__ ForwardArguments arguments) {
  using Tiles = ForwardTiles<kHS>;
  const AttentionForward<Bf16>& a = arguments.a;
  const AttentionShape& shape = a.shape;
  auto& tiles = dynamic_shared<Tiles>();
  if (threadIdx.x == 0) tiles.init();
  __syncthreads();

  const int warpgroup = ptx::uniform(threadIdx.x / 128);
  if (warpgroup == 0) {
    ptx::setmaxnreg_dec<Tiles::kProducerRegisters>();
    if (threadIdx.x == 0) produce(tiles, arguments);
    return;
  }
  ptx::setmaxnreg_inc<Tiles::kConsumerRegisters>();
  const int group = warpgroup - 1;
  auto& queries = tiles.q_barriers[group];
  const auto q = operand(tiles.q[group][0]);
  Consumer<Tiles, kDropout> consumer(tiles, a);
  for (Cursor<Tiles::kQueryStages> q_at;; q_at.next()) {
    queries.wait_full(q_at);
    const Item item(load_vector<uint4>(&tiles.items[group][q_at.stage()]));
    if (item.is_none()) return;
    const int i0 = item.block * Tiles::kQueries, i = i0 + 64 * group;  // the block's and this warpgroup's first query
    const int key_end = i < shape.T ? consumer.mask.key_end(i + 63) : 0;
    consumer.start(q.next(q_at.stage()), item.b, shape.NH, item.h, i);
    consumer.attend(key_end);
    queries.release(q_at);
    consumer.skip(tiles_of(consumer.mask.key_end(i0 + Tiles::kQueries - 1), Tiles::kKeys) -
                  tiles_of(key_end, Tiles::kKeys));
    if (key_end == 0) continue;

    const int row = i + warp() % 4 * 16;
    OnlineSoftmax& softmax = consumer.softmax;
    softmax.finish();
    float factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      factor[half] = a.dropout.scale / softmax.sum[half];
      const int t = row + Accumulator<kHS>::row(2 * half);
      if (a.lse && t < shape.T && lane() % 4 == 0) a.lse[row_of(shape, item.b, item.h, t)] = softmax.lse(half);
    }
    store_rows(a.out, item.b, row, item.h, shape.T, shape.HS, consumer.o, factor);
  }
}

}  // namespace glint::attention::sm90
