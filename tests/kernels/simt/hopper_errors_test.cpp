// What the PTX ISA and the driver do not allow, the emulator refuses, with words that say what.
#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "tests/kernels/cuda/emulation.h"
#include "tests/kernels/simt/hopper_kernels.h"

namespace glint::test {
namespace {

struct alignas(1024) Shared {
  std::array<uint32_t, 2048> a;
  uint64_t barrier;
};
Shared& shared() { return *reinterpret_cast<Shared*>(simt::self->block->dynamic_shared()); }

// The message of the error that the kernel ends with.
std::string error_of(unsigned blocks, unsigned threads, const std::function<void()>& kernel) {
  try {
    simt::run_grid(blocks, threads, sizeof(Shared), kernel);
  } catch (const simt::Error& error) {
    return error.what();
  }
  return "no error";
}

void check_errors(const std::vector<std::pair<std::function<void()>, std::string>>& cases, unsigned threads,
                  unsigned blocks = 1) {
  for (const auto& [kernel, expected] : cases) {
    const std::string words = expected, message = error_of(blocks, threads, kernel);
    INFO("expected: ", words);
    INFO("message: ", message);
    CHECK(message.find(words) != std::string::npos);
  }
}

void make_barrier(unsigned count) {
  ptx::mbarrier_init(&shared().barrier, count);
  ptx::fence_mbarrier_init();
}

TEST_CASE("emulator: wrong uses of mbarriers are refused") {
  alignas(16) static const std::array<uint32_t, 64> source{};
  const auto load = [](unsigned bytes) { ptx::bulk_load(&shared().a, source.data(), bytes, &shared().barrier); };
  check_errors({{[] { ptx::mbarrier_arrive(&shared().barrier); }, "no mbarrier has been initialised"},
                {[] { ptx::mbarrier_wait(&shared().barrier, 0); }, "no mbarrier has been initialised"},
                {[] {
                   make_barrier(2);
                   make_barrier(2);
                 },
                 "that is one already"},
                {[] {
                   make_barrier(1);
                   shared().barrier = 0;
                   ptx::mbarrier_arrive(&shared().barrier);
                 },
                 "overwritten"},
                {[] {
                   make_barrier(1);
                   ptx::mbarrier_arrive_expect_tx(&shared().barrier, 16);
                   ptx::mbarrier_arrive(&shared().barrier);
                 },
                 "more arrivals at an mbarrier than the 1"},
                {[&] {
                   ptx::mbarrier_init(&shared().barrier, 1);
                   load(16);
                 },
                 "not fenced"},
                {[] { ptx::mbarrier_init(reinterpret_cast<char*>(&shared().barrier) + 4, 1); }, "not a multiple of 8"},
                {[&] {  // a phase that expects more than comes
                   make_barrier(1);
                   ptx::mbarrier_arrive_expect_tx(&shared().barrier, 32);
                   load(16);
                   ptx::mbarrier_wait(&shared().barrier, 0);
                 },
                 "mbarrier.try_wait, parity 0"}},
               1);
}

TEST_CASE("emulator: wrong uses of named barriers and of registers are refused") {
  check_errors({{[] { ptx::barrier_sync(16, 64); }, "there are barriers 0 to 15"},
                {[] { ptx::barrier_sync(1, 40); }, "of 40 threads"},
                {[] { ptx::barrier_sync(1, threadIdx.x < 32 ? 64 : 32); }, "bar.sync 1"},
                {[] {
                   if (threadIdx.x % 2) ptx::barrier_sync(1, 32);
                 },
                 "some lanes of a warp without the others"},
                {[] { ptx::barrier_sync(3, 96); }, "bar.sync 3"},
                {[] { simt::setmaxnreg(20, false); }, "multiple of 8 from 24 to 256"},
                {[] { ptx::setmaxnreg_dec<256>(); }, "wrong direction"},
                {[] {
                   if (threadIdx.x >= 32) ptx::setmaxnreg_inc<256>();
                 },
                 "no registers left"},
                {[] { (void)ptx::uniform(threadIdx.x); }, "uniform: lanes bring 0 and 1"}},
               64);
}

TEST_CASE("emulator: wrong uses of copies are refused") {
  alignas(16) static std::array<float, 512> memory{};
  const auto load = [](unsigned bytes, int shift) {
    make_barrier(1);
    ptx::bulk_load(&shared().a, memory.data() + shift, bytes, &shared().barrier);
  };
  check_errors({{[&] { load(24, 0); }, "multiples of 16"},
                {[&] { load(16, 1); }, "multiples of 16"},
                {[&] { load(16384, 0); }, "leaves the block's dynamic shared memory"},
                {[&] { load(16, 0); }, "ended with asynchronous copies in flight"},
                {[] {
                   ptx::bulk_store(memory.data(), &shared().a, 16);
                   ptx::bulk_wait();
                 },
                 "not waited for"},
                {[] {
                   const int turn = 0;
                   (void)ptx::load_acquire(&turn);
                   ptx::bulk_store(memory.data(), &shared().a, 16);
                 },
                 "without fence.proxy.async.global"},
                {[] {
                   make_barrier(1);
                   alignas(64) const CUtensorMap map{};
                   ptx::tma_load(&shared().a, &map, &shared().barrier, 0, 0, 0, 0);
                 },
                 "not a tensor map"},
                {[] {
                   make_barrier(1);
                   const CUtensorMap map = matrix_map(reinterpret_cast<const Bf16*>(memory.data()), 8, 64, 8);
                   ptx::tma_load(&shared().a[32], &map, &shared().barrier, 0, 0, 0, 0);
                 },
                 "aligned to its swizzle's pattern"},
                {[] {
                   make_barrier(1);
                   const CUtensorMap map = matrix_map(reinterpret_cast<const Bf16*>(memory.data()), 8, 64, 8);
                   ptx::tma_load(&shared().a, &map, &shared().barrier, -20, 0, 0, 0);
                 },
                 "first coordinate must be a multiple of 16 bytes"}},
               1);
}

// Of one product of 64 columns; `change` may alter its descriptor.
void multiply(uint32_t change, bool fence, bool wait) {
  float d[32];
  if (fence) ptx::wgmma_fence();
  const uint32_t tile = ptx::descriptor(&shared().a);
  ptx::wgmma_ss<false, false>(d, tile, tile + change, false);
  ptx::wgmma_commit();
  if (wait) ptx::wgmma_wait<0>();
}

TEST_CASE("emulator: wrong uses of wgmma are refused") {
  check_errors({{[] { multiply(0, true, true); }, "no error"},
                {[] { multiply(0, false, true); }, "without wgmma.fence"},
                {[] {
                   if (threadIdx.x < 96) multiply(0, true, true);
                 },
                 "the warps of a warpgroup have not issued the same"},
                {[] { multiply(0, true, false); }, "a wgmma not waited for"},
                {[] { multiply(8, true, true); }, "does not start in the first row"},
                {[] { multiply(128, true, true); }, "leaves the block's dynamic shared memory"},
                {[] { multiply(threadIdx.x % 32 == 3 ? 2 : 0, true, true); }, "have different operands"}},
               128);
}

TEST_CASE("emulator: blocks that wait for each other for ever are reported") {
  std::array<int, 2> turns{};
  const simt::SavedOptions saved;
  for (const unsigned workers : {1u, 2u}) {
    simt::options.workers = workers;
    check_errors({{[&] {
                     while (ptx::load_acquire(&turns[blockIdx.x]) == 0) {
                     }
                     ptx::store_release(&turns[1 - blockIdx.x], 1);
                   },
                   "each of the resident blocks waits for another"}},
                 32, 2);
  }
}

TEST_CASE("emulator: tensor maps that the driver refuses") {
  alignas(16) static std::array<uint16_t, 4096> data;
  struct Map {
    void* base = data.data();
    cuuint32_t rank = 3;
    cuuint64_t sizes[5] = {32, 8, 4, 1, 1}, strides[4] = {64, 512, 2048, 2048};
    cuuint32_t box[5] = {32, 8, 1, 1, 1}, steps[5] = {1, 1, 1, 1, 1};
    CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_64B;
  };
  const auto encode = [](const Map& m) {
    CUtensorMap map;
    return cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, m.rank, m.base, m.sizes, m.strides, m.box,
                                  m.steps, CU_TENSOR_MAP_INTERLEAVE_NONE, m.swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  };
  CHECK(encode({}) == CUDA_SUCCESS);
  const std::function<void(Map&)> wrong[] = {
      [](Map& m) { m.rank = 0; },        [](Map& m) { m.rank = 6; },
      [](Map& m) { m.base = nullptr; },  [](Map& m) { m.base = data.data() + 4; },
      [](Map& m) { m.sizes[1] = 0; },    [](Map& m) { m.sizes[2] = (cuuint64_t{1} << 32) + 1; },
      [](Map& m) { m.strides[0] = 72; }, [](Map& m) { m.strides[1] = cuuint64_t{1} << 40; },
      [](Map& m) { m.box[0] = 0; },      [](Map& m) { m.box[1] = 257; },
      [](Map& m) { m.box[0] = 12; },     [](Map& m) { m.swizzle = CU_TENSOR_MAP_SWIZZLE_32B; },
      [](Map& m) { m.steps[1] = 0; },
  };
  for (size_t i = 0; i < std::size(wrong); ++i) {
    INFO("case ", i);
    Map m;
    wrong[i](m);
    CHECK(encode(m) == CUDA_ERROR_INVALID_VALUE);
  }
}

}  // namespace
}  // namespace glint::test
