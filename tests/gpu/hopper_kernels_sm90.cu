#include "tests/gpu/hopper_kernels.h"

#include "kernels/cuda/attention/sm90/tensor_map.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace glint::test {
namespace {

constexpr int kThreads = 128;

// Rows of 128 bytes; 16 bytes c of row r lie at c ^ (r % 8): the 128-byte swizzle.
__device__ int swizzled(int row, int byte) { return 128 * row + ((byte / 16) ^ (row % 8)) * 16 + byte % 16; }

// A (rows, 64) matrix whose rows are `words` into a tile: by rows, or (MN-major) by columns, 64 rows side by side.
__device__ void put_tile(ptx::SharedAddress tile, const uint32_t* words, int rows, bool mn_major) {
  for (int i = static_cast<int>(threadIdx.x); i < 32 * rows; i += kThreads) {
    if (mn_major) {
      const int k = i / (rows / 2), m = i % (rows / 2) * 2;
      const auto element = [&](int row) { return words[32 * row + k / 2] >> 16 * (k % 2) & 0xffff; };
      ptx::store_shared(tile.value + static_cast<unsigned>(m / 64 * 8192 + swizzled(k, m % 64 * 2)),
                        element(m) | element(m + 1) << 16);
    } else {
      ptx::store_shared(tile.value + static_cast<unsigned>(swizzled(i / 32, i % 32 * 4)), words[i]);
    }
  }
}

struct ProductShared {
  char a[64 * 128], b[128 * 128];
};

template <bool kARegisters, bool kMnMajor, int kN>
__global__ void __launch_bounds__(kThreads, 1) product_kernel(uint32_t* out, const uint32_t* in) {
  auto& shared = dynamic_shared<ProductShared>();
  const uint32_t *a = in + blockIdx.x * (64 + kN) * 32, *b = a + 64 * 32;
  if (!kARegisters) put_tile(shared.a, a, 64, kMnMajor);
  put_tile(shared.b, b, kN, kMnMajor);
  ptx::fence_proxy_async();
  ptx::barrier_sync(1, kThreads);

  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const uint32_t left = ptx::descriptor(shared.a), right = ptx::descriptor(shared.b, kMnMajor ? 8192 : 16);
  constexpr uint32_t kSlice = kMnMajor ? 128 : 2;  // 16 of K, in units of 16 bytes
  float d[kN / 2];
  for (float& x : d) x = __uint_as_float(0x7fffffff);
  uint32_t fragments[4][4];
  for (int k = 0; k < 4; ++k) {
    for (int r = 0; r < 4; ++r)
      fragments[k][r] = a[(16 * warp + lane / 4 + 8 * (r % 2)) * 32 + 8 * k + lane % 4 + 4 * (r / 2)];
  }
  ptx::pin(d), ptx::pin(fragments);
  ptx::wgmma_fence();
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const auto slice = static_cast<uint32_t>(k) * kSlice;
    if constexpr (kARegisters) ptx::wgmma_rs<kMnMajor>(d, fragments[k], right + slice, k > 0);
    else ptx::wgmma_ss<kMnMajor, kMnMajor>(d, left + slice, right + slice, k > 0);
  }
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  ptx::pin(d), ptx::pin(fragments);
  for (int r = 0; r < kN / 2; ++r) {
    const int row = 16 * warp + lane / 4 + 8 * (r / 2 % 2), column = 8 * (r / 4) + 2 * (lane % 4) + r % 2;
    out[(static_cast<int>(blockIdx.x) * 64 + row) * kN + column] = __float_as_uint(d[r]);
  }
}

struct CopyShared {
  uint4 values[512];
  uint64_t barrier;
};

__device__ void start_barrier(ptx::SharedAddress barrier, unsigned count) {
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(barrier, count);
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads, 1) tma_kernel(uint32_t* out, const __grid_constant__ CUtensorMap map) {
  auto& shared = dynamic_shared<CopyShared>();
  const ptx::SharedAddress values(shared.values), barrier(&shared.barrier);
  start_barrier(barrier, 1);
  if (threadIdx.x == 0) {
    ptx::prefetch_tensor_map(&map);
    ptx::mbarrier_arrive_expect_tx(barrier, 64 * 128);
    ptx::tma_load(values, &map, barrier, 0, 1, ProbeArray::kFirstToken, static_cast<int>(blockIdx.x));
  }
  ptx::mbarrier_wait(barrier, 0);
  for (unsigned i = threadIdx.x; i < 512; i += kThreads)
    store_vector(out + (blockIdx.x * 512 + i) * 4, ptx::load_shared(values.value + 16 * i));
}

__global__ void __launch_bounds__(kThreads, 1) bulk_kernel(uint32_t* out, const uint32_t* in) {
  auto& shared = dynamic_shared<CopyShared>();
  const ptx::SharedAddress values(shared.values), barrier(&shared.barrier);
  in += blockIdx.x * 1024, out += blockIdx.x * 1024;
  for (unsigned i = threadIdx.x; i < 512; i += kThreads) out[512 + i] = __float_as_uint(1.0f);
  ptx::fence_proxy_async_global();
  start_barrier(barrier, 2);
  if (threadIdx.x == 0) {
    ptx::mbarrier_arrive_expect_tx(barrier, 4096);
    ptx::bulk_load(values, in, 4096, barrier);
  }
  if (threadIdx.x == 32) ptx::mbarrier_arrive(barrier);
  ptx::mbarrier_wait(barrier, 0);
  for (unsigned i = threadIdx.x; i < 256; i += kThreads) {
    const auto twice = [](uint32_t x) { return __float_as_uint(2.0f * __uint_as_float(x)); };
    const uint4 x = ptx::load_shared(values.value + 16 * i);
    ptx::store_shared(values.value + 16 * i, uint4{twice(x.x), twice(x.y), twice(x.z), twice(x.w)});
  }
  ptx::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::bulk_store(out, values, 2048);
    for (int times = 0; times < 2; ++times)
      ptx::bulk_add(reinterpret_cast<float*>(out + 512), values.value + 2048, 2048);
    ptx::bulk_commit();
    ptx::bulk_wait_read();
    ptx::bulk_wait();
  }
}

__global__ void __launch_bounds__(kThreads, 1) stmatrix_kernel(uint32_t* out, const uint32_t* in) {
  const ptx::SharedAddress rows(dynamic_shared<CopyShared>().values);
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint32_t* words = in + (blockIdx.x * kThreads + threadIdx.x) * 5;
  const unsigned shuffle = in[(blockIdx.x * kThreads + 32 * warp) * 5 + 4] % 32;
  const uint32_t r[4] = {words[0], words[1], words[2], words[3]};
  ptx::stmatrix(rows.value + 16 * (32 * warp + (lane ^ shuffle)), r);
  __syncthreads();
  store_vector(out + (blockIdx.x * kThreads + threadIdx.x) * 4, ptx::load_shared(rows.value + 16 * threadIdx.x));
}

template <typename... P, typename... A>
void launch_probe(const CudaContext& ctx, int blocks, size_t shared, void (*kernel)(P...), const A&... arguments) {
  launch(
      ctx, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads), shared}, [] { return "an instruction of Hopper"; },
      kernel, arguments...);
}
template <bool kARegisters, bool kMnMajor, int kN>
void launch_product(const CudaContext& ctx, uint32_t* out, const uint32_t* in, int blocks) {
  launch_probe(ctx, blocks, sizeof(ProductShared), product_kernel<kARegisters, kMnMajor, kN>, out, in);
}

}  // namespace

void run_probe(const CudaContext& ctx, HopperProbe probe, uint32_t* out, const uint32_t* in, int blocks) {
  using Array = ProbeArray;
  constexpr int kToken = Array::kHeads * Array::kChannels;
  const HeadView<const Bf16> view{reinterpret_cast<const Bf16*>(in), Array::kTokens * kToken, kToken, Array::kChannels};
  switch (probe) {
    case HopperProbe::ss_64:
      return launch_product<false, false, 64>(ctx, out, in, blocks);
    case HopperProbe::ss_128:
      return launch_product<false, false, 128>(ctx, out, in, blocks);
    case HopperProbe::ss_mn_64:
      return launch_product<false, true, 64>(ctx, out, in, blocks);
    case HopperProbe::ss_mn_128:
      return launch_product<false, true, 128>(ctx, out, in, blocks);
    case HopperProbe::rs_64:
      return launch_product<true, false, 64>(ctx, out, in, blocks);
    case HopperProbe::rs_128:
      return launch_product<true, false, 128>(ctx, out, in, blocks);
    case HopperProbe::rs_mn_64:
      return launch_product<true, true, 64>(ctx, out, in, blocks);
    case HopperProbe::rs_mn_128:
      return launch_product<true, true, 128>(ctx, out, in, blocks);
    case HopperProbe::tma_load:
      return launch_probe(
          ctx, blocks, sizeof(CopyShared), tma_kernel, out,
          attention::sm90::make_tensor_map(view, blocks, Array::kTokens, Array::kHeads, Array::kChannels, 64));
    case HopperProbe::bulk_copies:
      return launch_probe(ctx, blocks, sizeof(CopyShared), bulk_kernel, out, in);
    case HopperProbe::stmatrix:
      return launch_probe(ctx, blocks, sizeof(CopyShared), stmatrix_kernel, out, in);
  }
}

}  // namespace glint::test
