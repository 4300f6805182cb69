// The emulator does what CUDA defines: indices, barriers, warp collectives, bf16, and the sm_80 instructions.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/simt/ptx.h"
#include "tests/kernels/cuda/emulation.h"
#include "tests/random.h"

namespace {

using glint::test::RandomInputs;

TEST_CASE("emulator: every thread of every block runs once, with its indices") {
  std::vector<int> hits(2 * 3 * 4 * 6);
  simt::in_every_order([&] {
    std::fill(hits.begin(), hits.end(), 0);
    simt::run_grid({2, 3, 4}, {3, 2, 1}, 0, [&] {
      const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
      ++hits[block * 6 + threadIdx.y * blockDim.x + threadIdx.x];
    });
    CHECK(hits == std::vector<int>(hits.size(), 1));
  });
}

TEST_CASE("emulator: threads exchange by shared memory and a barrier") {
  std::vector<int> out(200);
  simt::in_every_order([&] {
    simt::run_grid(1, 200, 200 * sizeof(int), [&] {
      int* shared = reinterpret_cast<int*>(simt::self->block->dynamic_shared());
      for (int round = 0; round < 3; ++round) {
        shared[threadIdx.x] = static_cast<int>(threadIdx.x) + round;
        __syncthreads();
        out[threadIdx.x] = shared[199 - threadIdx.x];
        __syncthreads();
      }
    });
    for (int i = 0; i < 200; ++i) CHECK(out[i] == 199 - i + 2);
  });
}

TEST_CASE("emulator: a static object is one for a block, and poisoned") {
  std::vector<unsigned> out(64);
  static const char key = 0;
  simt::run_grid(1, 64, 0, [&] {
    auto* object = static_cast<unsigned*>(simt::self->block->static_shared(&key, 2 * sizeof(unsigned), 4));
    if (threadIdx.x == 0) object[0] = 7;
    __syncthreads();
    out[threadIdx.x] = object[0] + object[1];
  });
  CHECK(out == std::vector<unsigned>(64, 7u + 0xffffffffu));
}

TEST_CASE("emulator: warp shuffles and votes") {
  std::vector<int> x(32), down(32), up(32), segment(32), half(32);
  std::vector<unsigned> ballot(32);
  simt::in_every_order([&] {
    simt::run_grid(1, 32, 0, [&] {
      const int lane = static_cast<int>(threadIdx.x);
      x[lane] = __shfl_xor_sync(0xffffffffu, lane, 5);
      down[lane] = __shfl_down_sync(0xffffffffu, lane, 3);
      up[lane] = __shfl_up_sync(0xffffffffu, lane, 3);
      segment[lane] = __shfl_sync(0xffffffffu, lane, 9, 8);
      ballot[lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
      half[lane] = lane < 16 ? __shfl_xor_sync(0xffffu, lane, 8) : __shfl_xor_sync(0xffff0000u, lane, 4);
    });
    for (int lane = 0; lane < 32; ++lane) {
      INFO("lane ", lane);
      CHECK(x[lane] == (lane ^ 5));
      CHECK(down[lane] == (lane + 3 < 32 ? lane + 3 : lane));
      CHECK(up[lane] == (lane >= 3 ? lane - 3 : lane));
      CHECK(segment[lane] == lane / 8 * 8 + 1);
      CHECK(ballot[lane] == 0x49249249u);
      CHECK(half[lane] == (lane < 16 ? lane ^ 8 : lane ^ 4));
    }
  });
}

TEST_CASE("emulator: __match_any_sync finds the lanes with an equal value") {
  std::vector<unsigned> all(32), some(32);
  simt::in_every_order([&] {
    simt::run_grid(1, 32, 0, [&] {
      const int lane = static_cast<int>(threadIdx.x);
      all[lane] = __match_any_sync(0xffffffffu, lane * lane % 5);
      if (lane >= 3) some[lane] = __match_any_sync(0xfffffff8u, lane % 2);
    });
    for (int lane = 0; lane < 32; ++lane) {
      unsigned expected = 0;
      for (int other = 0; other < 32; ++other) expected |= unsigned{other * other % 5 == lane * lane % 5} << other;
      CHECK(all[lane] == expected);
      if (lane >= 3) CHECK(some[lane] == (lane % 2 ? 0xaaaaaaa8u : 0x55555550u));
    }
  });
}

TEST_CASE("emulator: vectors are loaded and stored whole, at aligned addresses only") {
  alignas(16) const float source[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  alignas(16) float target[8] = {};
  simt::run_grid(1, 1, 0, [&] {
    simt::store_vector(target, simt::load_vector<uint4>(source + 4));
    simt::store_vector(target + 6, simt::load_vector<uint2>(source + 2));
    CHECK_THROWS_AS(simt::load_vector<uint4>(source + 2), simt::Error);
    CHECK_THROWS_AS(simt::store_vector(target + 1, uint2{}), simt::Error);
  });
  CHECK(std::vector<float>(target, target + 8) == std::vector<float>{5, 6, 7, 8, 0, 0, 3, 4});
}

TEST_CASE("emulator: bf16 rounds to nearest, ties to even") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = __bfloat162float({static_cast<uint16_t>(bits)});
    if (std::isnan(value)) {
      CHECK(std::isnan(__bfloat162float(__float2bfloat16(value))));
      continue;
    }
    REQUIRE(__float2bfloat16(value).bits == bits);
    const float next = __bfloat162float({static_cast<uint16_t>(bits + 1)});
    if (!std::isfinite(value) || !std::isfinite(next) || std::signbit(value) != std::signbit(next)) continue;
    const float middle = std::bit_cast<float>(bits << 16 | 0x8000u);
    REQUIRE(__float2bfloat16(middle).bits == bits + bits % 2);
    REQUIRE(__float2bfloat16(std::nextafter(middle, value)).bits == bits);
    REQUIRE(__float2bfloat16(std::nextafter(middle, next)).bits == bits + 1);
  }
  CHECK(__float2bfloat16(std::numeric_limits<float>::max()).bits == 0x7f80);
  const __nv_bfloat162 pair = __floats2bfloat162_rn(1.0f, -2.0f);
  CHECK(std::bit_cast<uint32_t>(pair) == 0xc0003f80u);
}

TEST_CASE("emulator: __byte_perm") {
  CHECK(__byte_perm(0x33221100u, 0x77665544u, 0x7531) == 0x77553311u);
  CHECK(__byte_perm(0x33221100u, 0xf7665544u, 0xf080) == 0xff000000u);
}

// Fragments are filled by the ISA's formulas, so that ldmatrix and mma are checked against plain matrices.
TEST_CASE("emulator: ldmatrix and mma.m16n8k16 multiply matrices") {
  RandomInputs inputs(20261101);
  INFO("seed ", inputs.seed);
  __nv_bfloat16 A[16][16], B[8][16], BT[16][8];  // B by its columns, and as it is
  float expected[16][8] = {}, D[16][8];
  for (auto& row : A)
    for (auto& x : row) x = __float2bfloat16(static_cast<float>(inputs.below(17) - 8));
  for (int n = 0; n < 8; ++n) {
    for (int k = 0; k < 16; ++k) B[n][k] = BT[k][n] = __float2bfloat16(static_cast<float>(inputs.below(17) - 8));
  }
  for (int i = 0; i < 16; ++i) {
    for (int n = 0; n < 8; ++n) {
      for (int k = 0; k < 16; ++k) expected[i][n] += __bfloat162float(A[i][k]) * __bfloat162float(B[n][k]);
    }
  }
  for (const bool transposed : {false, true}) {
    INFO("B by ", transposed ? "ldmatrix.trans" : "ldmatrix");
    simt::run_grid(1, 32, 1024, [&] {
      auto* shared = reinterpret_cast<__nv_bfloat16*>(simt::self->block->dynamic_shared());
      if (threadIdx.x == 0) {
        std::memcpy(shared, A, sizeof(A));
        if (transposed) std::memcpy(shared + 256, BT, sizeof(BT));
        else std::memcpy(shared + 256, B, sizeof(B));
      }
      __syncthreads();
      const unsigned lane = threadIdx.x;
      uint32_t a[4], b[4];
      simt::ldmatrix_x4<false>(a, shared + lane % 16 * 16 + lane / 16 * 8);
      if (transposed) simt::ldmatrix_x4<true>(b, shared + 256 + lane % 16 * 8);
      else simt::ldmatrix_x4<false>(b, shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
      float d[4] = {1, 1, 1, 1};
      simt::mma_m16n8k16(d, a, {b[0], b[1]});
      for (unsigned r = 0; r < 4; ++r) D[lane / 4 + 8 * (r / 2)][2 * (lane % 4) + r % 2] = d[r];
    });
    for (int i = 0; i < 16; ++i) {
      for (int n = 0; n < 8; ++n) CHECK(D[i][n] == expected[i][n] + 1);
    }
  }
}

TEST_CASE("emulator: ldmatrix counts bank conflicts") {
  const auto conflicts = [](unsigned row_bytes) {
    simt::ldmatrix_conflicts = 0;
    simt::run_grid(1, 32, 32 * 144, [&] {
      uint32_t r[4];
      simt::ldmatrix_x4<false>(r, simt::self->block->dynamic_shared() + threadIdx.x * row_bytes);
    });
    return simt::ldmatrix_conflicts.load();
  };
  CHECK(conflicts(128) == 4);  // every row in the same banks
  CHECK(conflicts(144) == 0);
  CHECK(conflicts(16) == 0);
}

TEST_CASE("emulator: a cp.async is done at the wait for its group, not before") {
  alignas(16) const int source[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  simt::run_grid(1, 1, 48, [&] {
    int* shared = reinterpret_cast<int*>(simt::self->block->dynamic_shared());
    simt::cp_async(shared, source, 16, 16);
    simt::cp_async_commit();
    simt::cp_async(shared + 4, source + 4, 16, 8);
    simt::cp_async_commit();
    simt::cp_async(shared + 8, source, 16, 0);  // in no group yet
    CHECK(shared[0] == -1);
    simt::cp_async_wait(1);
    CHECK(shared[3] == 4);
    CHECK(shared[4] == -1);
    simt::cp_async_wait(0);
    CHECK(shared[5] == 6);
    CHECK(shared[6] == 0);  // the part that was not copied
    CHECK(shared[8] == -1);
    simt::cp_async_commit();
    simt::cp_async_wait(0);
    CHECK(shared[8] == 0);
  });
}

TEST_CASE("emulator: an exception of a kernel reaches the caller, and the next launch works") {
  for (int turn = 0; turn < 3; ++turn) {
    CHECK_THROWS_AS(simt::run_grid(2, 64, 0,
                                   [] {
                                     if (threadIdx.x == 40) throw std::string("stop");
                                     __syncthreads();
                                   }),
                    std::string);
    int sum = 0;
    simt::run_grid(1, 64, 0, [&] { atomicAdd(&sum, static_cast<int>(threadIdx.x)); });
    CHECK(sum == 64 * 63 / 2);
    unsigned least = 50;
    simt::run_grid(2, 32, 0, [&] { atomicMin(&least, 40 - threadIdx.x); });
    CHECK(least == 9);
  }
}

TEST_CASE("emulator: faults are planted on demand") {
  const simt::SavedOptions saved;
  alignas(16) const int source[4] = {1, 2, 3, 0x50004};
  int seen = 0, barrier_line = 0;
  const auto run = [&] {
    simt::run_grid(1, 2, 32, [&] {
      int* shared = reinterpret_cast<int*>(simt::self->block->dynamic_shared());
      if (threadIdx.x == 1) {
        simt::cp_async(shared, source, 16, 16);
        simt::cp_async_commit();
        simt::cp_async_wait(0);
      }
      if (threadIdx.x == 0) barrier_line = __LINE__ + 1;
      __syncthreads();
      if (threadIdx.x == 0) seen = shared[3];
    });
  };
  simt::take_barrier_sites();
  run();
  CHECK(seen == 0x50004);
  std::string site = __FILE__ ":";
  site += std::to_string(barrier_line);
  CHECK(simt::take_barrier_sites() == std::set<std::string>{site});
  simt::options.fault = simt::Fault::no_barrier;
  simt::options.fault_site = site;
#ifndef SIMT_TSAN
  run();
  CHECK(seen == -1);
#endif
  simt::options.fault = simt::Fault::short_copy;
  run();
  CHECK(seen == 4);
  simt::options.fault = simt::Fault::no_wait;
  CHECK_THROWS_AS(run(), simt::Error);
  simt::options.fault = simt::Fault::late_wait;
  CHECK_THROWS_AS(run(), simt::Error);
}

}  // namespace
