#include "kernels/cuda/attention/sm90/tensor_map.h"
#include "kernels/cuda/wgmma.cuh"
#include "tests/gpu/ptx_kernels.h"

namespace glint::test {
namespace {

struct alignas(1024) Shared {
  uint32_t a[64 * 32], b[128 * 32], box[TmaWords::kRows * 32];
  uint64_t barrier;
};

// The words of the running block's group and lane.
struct Group {
  uint32_t* out;
  const uint32_t* in;
  Shared& shared;
  unsigned lane;
};

// The mbarrier for one copy of that many bytes, which thread 0 then issues.
__device__ bool expect_copy(Shared& shared, unsigned bytes) {
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(&shared.barrier, 1);
    ptx::fence_mbarrier_init();
    ptx::mbarrier_arrive_expect_tx(&shared.barrier, bytes);
  }
  __syncthreads();
  return threadIdx.x == 0;
}

__global__ void __launch_bounds__(128, 1)
    tma_load_kernel(uint32_t* out, const uint32_t* in, const __grid_constant__ CUtensorMap map) {
  auto& shared = dynamic_shared<Shared>();
  ptx::prefetch_tensor_map(&map);
  const auto* at = reinterpret_cast<const int*>(in + blockIdx.x * 512 + TmaWords::kFirstCoordinate);
  if (expect_copy(shared, sizeof shared.box)) {
    ptx::tma_load(shared.box, &map, &shared.barrier, at[0], at[1], at[2], static_cast<int>(2 * blockIdx.x) + at[3]);
  }
  ptx::mbarrier_wait(&shared.barrier, 0);
  for (unsigned i = threadIdx.x; i < 256; i += 128) out[blockIdx.x * 256 + i] = shared.box[i];
}

// What the kernels of one function do: `call` of the running lane.
template <Wrapper kWrapper>
__device__ void call(const Group& g);

template <>
__device__ void call<Wrapper::bulk_copies>(const Group& g) {
  Shared& s = g.shared;
  const uint32_t* const in = g.in - 4 * g.lane;
  uint32_t* const out = g.out - 8 * g.lane;
  ptx::fence_proxy_async_global();
  if (expect_copy(s, 2048)) ptx::bulk_load(s.a, in, 2048, &s.barrier);
  ptx::mbarrier_wait(&s.barrier, 0);
  for (unsigned i = g.lane; i < 512; i += 128) ptx::store_shared(&s.b[511 - i], s.a[i]);
  ptx::fence_proxy_async();
  __syncthreads();
  if (g.lane != 0) return;
  for (int part = 0; part < 2; ++part) ptx::bulk_store(out + 512 * part, s.a, 2048);
  ptx::bulk_commit();
  ptx::bulk_wait();
  ptx::bulk_add(reinterpret_cast<float*>(out + 512), s.b, 2048);
  ptx::bulk_commit();
  ptx::bulk_wait_read();
  ptx::bulk_wait();
}

template <>
__device__ void call<Wrapper::stmatrix>(const Group& g) {
  const uint32_t r[4] = {g.in[0], g.in[1], g.in[2], g.in[3]};
  const unsigned turn = __shfl_sync(0xffffffffu, g.in[4], 0) % 32;
  if (g.lane == 0) ptx::mbarrier_init(&g.shared.barrier, 32);
  __syncwarp();
  ptx::stmatrix(&g.shared.a[4 * (g.lane ^ turn)], r);
  ptx::mbarrier_arrive(&g.shared.barrier);
  ptx::mbarrier_wait(&g.shared.barrier, 0);
  const uint4 row = ptx::load_shared(&g.shared.a[4 * g.lane]);
  g.out[0] = row.x, g.out[1] = row.y, g.out[2] = row.z, g.out[3] = row.w;
}

// Two warps hand their words to the other two, which hand back what they make of them. Registers move too.
template <>
__device__ void call<Wrapper::named_barriers>(const Group& g) {
  ptx::setmaxnreg_dec<40>();
  ptx::setmaxnreg_inc<64>();
  uint32_t* const words = g.shared.a;
  if (g.lane < 64) {
    words[g.lane] = *g.in;
    ptx::barrier_arrive(1, 128);
    ptx::barrier_sync(2, 128);
    *g.out = words[64 + (g.lane ^ 63)];
  } else {
    ptx::barrier_sync(1, 128);
    words[g.lane] = words[127 - g.lane] + *g.in;
    ptx::barrier_arrive(2, 128);
    *g.out = words[g.lane];
  }
}

// Of two blocks of a warp each, the second waits for what the first tells, and adds it to its own.
template <>
__device__ void call<Wrapper::release_acquire>(const Group& g) {
  uint32_t* const first = g.out - 2 * g.lane;  // the words of the group's lane 0
  int* const told = reinterpret_cast<int*>(first + 1);
  const unsigned lane = g.lane % 32;
  if (g.lane < 32) {
    g.out[0] = *g.in * 3;
    if (lane != 0) g.out[1] = 0;
    __syncwarp();
    if (lane == 0) ptx::store_release(told, 1);
    return;
  }
  if (lane == 0) {
    while (ptx::load_acquire(told) != 1) {
    }
  }
  __syncwarp();
  g.out[0] = first[2 * lane] + *g.in;
  g.out[1] = 0;
}

// ---- wgmma: a and b come by rows of 64 k. In shared memory they lie so, or transposed in boxes of 64 rows each.
__device__ void put(uint32_t* tile, const uint32_t* in, int rows, bool mn_major) {
  for (int i = static_cast<int>(threadIdx.x); i < 64 * rows; i += 128) {
    const int row = i / 64, k = i % 64;
    const int address = mn_major ? row / 64 * 8192 + k * 128 + row % 64 * 2 : row * 128 + k * 2;
    const uint32_t pair = in[i / 2];
    const auto element = static_cast<uint16_t>(k % 2 ? pair >> 16 : pair);
    reinterpret_cast<uint16_t*>(tile)[(address ^ (address >> 7 & 7) << 4) / 2] = element;
  }
}

template <int kColumns, bool kFromRegisters, bool kMnMajor>
__device__ void multiply(const Group& g) {
  constexpr int kIn = 16 + kColumns / 4;
  const uint32_t* const in = g.in - kIn * static_cast<int>(g.lane);
  put(g.shared.a, in, 64, kMnMajor);
  put(g.shared.b, in + 64 * 32, kColumns, kMnMajor);
  ptx::fence_proxy_async();
  __syncthreads();
  // The next 16 k: 32 bytes on, or 16 rows.
  constexpr unsigned kStep = kMnMajor ? 16 * 128 / 16 : 32 / 16;
  const uint32_t a = ptx::descriptor(g.shared.a, kMnMajor ? 8192 : 16);
  const uint32_t b = ptx::descriptor(g.shared.b, kMnMajor ? 8192 : 16);
  const unsigned row = g.lane / 32 * 16 + g.lane % 32 / 4, pair = g.lane % 4;
  uint32_t parts[4][4];
  for (unsigned k = 0; k < 4; ++k) {
    for (unsigned r = 0; r < 4; ++r) parts[k][r] = in[(row + 8 * (r % 2)) * 32 + 8 * k + pair + 4 * (r / 2)];
  }
  float d[kColumns / 2];
  ptx::pin(parts);
  ptx::wgmma_fence();
#pragma unroll
  for (unsigned k = 0; k < 4; ++k) {
    if constexpr (kFromRegisters) {
      ptx::wgmma_rs<kMnMajor>(d, parts[k], b + k * kStep, k > 0);
    } else {
      ptx::wgmma_ss<kMnMajor, kMnMajor>(d, a + k * kStep, b + k * kStep, k > 0);
    }
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::pin(d);
#pragma unroll
  for (int r = 0; r < kColumns / 2; ++r) g.out[r] = __float_as_uint(d[r]);
}

template <Wrapper kWrapper>
__device__ void call(const Group& g) {
  if constexpr (kWrapper == Wrapper::wgmma_ss_k64) multiply<64, false, false>(g);
  if constexpr (kWrapper == Wrapper::wgmma_ss_k128) multiply<128, false, false>(g);
  if constexpr (kWrapper == Wrapper::wgmma_ss_mn64) multiply<64, false, true>(g);
  if constexpr (kWrapper == Wrapper::wgmma_ss_mn128) multiply<128, false, true>(g);
  if constexpr (kWrapper == Wrapper::wgmma_rs_mn64) multiply<64, true, true>(g);
  if constexpr (kWrapper == Wrapper::wgmma_rs_mn128) multiply<128, true, true>(g);
  if constexpr (kWrapper == Wrapper::wgmma_rs_k64) multiply<64, true, false>(g);
}

template <Wrapper kWrapper>
__global__ void __launch_bounds__(128, 1) sm90_kernel(uint32_t* out, const uint32_t* in) {
  constexpr LaneWords kWords = words_of(kWrapper);
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  call<kWrapper>({out + thread * kWords.out, in + thread * kWords.in, dynamic_shared<Shared>(),
                  thread % static_cast<unsigned>(kWords.lanes)});
}

constexpr auto kWhat = [] { return "a wrapper of ptx_sm90.cuh"; };

template <Wrapper kWrapper>
void launch_wrapper(const CudaContext& ctx, uint32_t* out, const uint32_t* in, int groups) {
  constexpr unsigned kLanes = words_of(kWrapper).lanes, kThreads = kWrapper == Wrapper::release_acquire ? 32 : kLanes;
  const unsigned blocks = static_cast<unsigned>(groups) * kLanes / kThreads;
  launch(ctx, {dim3(blocks), dim3(kThreads), sizeof(Shared)}, kWhat, sm90_kernel<kWrapper>, out, in);
}

void launch_tma(const CudaContext& ctx, uint32_t* out, const uint32_t* in, int groups) {
  constexpr int kHS = TmaWords::kHS, kHeads = TmaWords::kHeads;
  const HeadView<const Bf16> view{reinterpret_cast<const Bf16*>(in), 512, kHeads * kHS, kHS};
  const CUtensorMap map =
      attention::sm90::make_tensor_map(view, 2 * groups, TmaWords::kT, kHeads, kHS, TmaWords::kRows);
  launch(ctx, {dim3(static_cast<unsigned>(groups)), dim3(128), sizeof(Shared)}, kWhat, tma_load_kernel, out, in, map);
}

}  // namespace

void run_sm90_wrapper(const CudaContext& ctx, Wrapper wrapper, uint32_t* out, const uint32_t* in, int groups) {
  switch (wrapper) {
    case Wrapper::tma_load:
      return launch_tma(ctx, out, in, groups);
    case Wrapper::bulk_copies:
      return launch_wrapper<Wrapper::bulk_copies>(ctx, out, in, groups);
    case Wrapper::stmatrix:
      return launch_wrapper<Wrapper::stmatrix>(ctx, out, in, groups);
    case Wrapper::named_barriers:
      return launch_wrapper<Wrapper::named_barriers>(ctx, out, in, groups);
    case Wrapper::release_acquire:
      return launch_wrapper<Wrapper::release_acquire>(ctx, out, in, groups);
    case Wrapper::wgmma_ss_k64:
      return launch_wrapper<Wrapper::wgmma_ss_k64>(ctx, out, in, groups);
    case Wrapper::wgmma_ss_k128:
      return launch_wrapper<Wrapper::wgmma_ss_k128>(ctx, out, in, groups);
    case Wrapper::wgmma_ss_mn64:
      return launch_wrapper<Wrapper::wgmma_ss_mn64>(ctx, out, in, groups);
    case Wrapper::wgmma_ss_mn128:
      return launch_wrapper<Wrapper::wgmma_ss_mn128>(ctx, out, in, groups);
    case Wrapper::wgmma_rs_mn64:
      return launch_wrapper<Wrapper::wgmma_rs_mn64>(ctx, out, in, groups);
    case Wrapper::wgmma_rs_mn128:
      return launch_wrapper<Wrapper::wgmma_rs_mn128>(ctx, out, in, groups);
    case Wrapper::wgmma_rs_k64:
      return launch_wrapper<Wrapper::wgmma_rs_k64>(ctx, out, in, groups);
    default:
      GLINT_CHECK(false, "not a wrapper of ptx_sm90.cuh");
  }
}

}  // namespace glint::test
