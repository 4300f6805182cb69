#include "tests/gpu/ptx_kernels.h"

#include "kernels/cuda/ptx.cuh"

namespace glint::test {
namespace {

struct alignas(16) Row {
  uint32_t words[4];
};
struct Shared {
  Row rows[2][32];
};

// What a lane does: to its words `out` from its words `in`, with its warp's shared memory.
template <Wrapper kWrapper>
__device__ void call(uint32_t* out, const uint32_t* in, Shared& shared, unsigned lane);

// Two groups in flight, each into another lane's row; the second is waited for after the first was read.
template <>
__device__ void call<Wrapper::cp_async>(uint32_t* out, const uint32_t* in, Shared& shared, unsigned lane) {
  for (auto& rows : shared.rows) rows[lane] = {{0xabababab, 0xabababab, 0xabababab, 0xabababab}};
  __syncthreads();
  ptx::cp_async(&shared.rows[0][lane ^ 5], in, in[8] & 1);
  ptx::cp_async_commit();
  ptx::cp_async(&shared.rows[1][lane ^ 9], in + 4, in[9] & 1);
  ptx::cp_async_commit();
  ptx::cp_async_wait<1>();
  __syncthreads();
  for (int w = 0; w < 4; ++w) out[w] = shared.rows[0][lane].words[w];
  ptx::cp_async_wait<0>();
  __syncthreads();
  for (int w = 0; w < 4; ++w) out[4 + w] = shared.rows[1][lane].words[w];
}

__device__ const Row* put_rows(const uint32_t* in, Shared& shared, unsigned lane) {
  shared.rows[0][lane] = {{in[0], in[1], in[2], in[3]}};
  __syncthreads();
  return &shared.rows[0][in[4] % 32];
}
template <>
__device__ void call<Wrapper::ldmatrix>(uint32_t* out, const uint32_t* in, Shared& shared, unsigned lane) {
  uint32_t r[4];
  ptx::ldmatrix(r, put_rows(in, shared, lane));
  for (int w = 0; w < 4; ++w) out[w] = r[w];
}
template <>
__device__ void call<Wrapper::ldmatrix_transposed>(uint32_t* out, const uint32_t* in, Shared& shared, unsigned lane) {
  uint32_t r[4];
  ptx::ldmatrix_transposed(r, put_rows(in, shared, lane));
  for (int w = 0; w < 4; ++w) out[w] = r[w];
}

template <>
__device__ void call<Wrapper::mma>(uint32_t* out, const uint32_t* in, Shared&, unsigned) {
  const uint32_t a[4] = {in[0], in[1], in[2], in[3]}, b[2] = {in[4], in[5]};
  float d[4];
  for (int w = 0; w < 4; ++w) d[w] = __uint_as_float(in[6 + w]);
  ptx::mma(d, a, b);
  for (int w = 0; w < 4; ++w) out[w] = __float_as_uint(d[w]);
}

template <>
__device__ void call<Wrapper::pack_bf16>(uint32_t* out, const uint32_t* in, Shared&, unsigned) {
  *out = ptx::pack_bf16(__uint_as_float(in[0]), __uint_as_float(in[1]));
}
template <>
__device__ void call<Wrapper::exp2>(uint32_t* out, const uint32_t* in, Shared&, unsigned) {
  *out = __float_as_uint(ptx::exp2(__uint_as_float(*in)));
}
template <>
__device__ void call<Wrapper::reciprocal>(uint32_t* out, const uint32_t* in, Shared&, unsigned) {
  *out = __float_as_uint(ptx::reciprocal(__uint_as_float(*in)));
}
template <>
__device__ void call<Wrapper::byte_permute>(uint32_t* out, const uint32_t* in, Shared&, unsigned) {
  *out = ptx::byte_permute(in[0], in[1], in[2]);
}

template <>
__device__ void call<Wrapper::keep_up_to>(uint32_t* out, const uint32_t* in, Shared&, unsigned) {
  *out = ptx::keep_up_to(in[0], in[1], in[2]);
}
template <>
__device__ void call<Wrapper::keep_floats>(uint32_t* out, const uint32_t* in, Shared&, unsigned) {
  float low = __uint_as_float(in[0]), high = __uint_as_float(in[1]);
  ptx::keep_up_to(low, high, in[2], in[3]);
  out[0] = __float_as_uint(low), out[1] = __float_as_uint(high);
}

template <>
__device__ void call<Wrapper::multiply_wide>(uint32_t* out, const uint32_t* in, Shared&, unsigned) {
  ptx::multiply_wide(out[0], out[1], in[0], in[1]);
}

template <>
__device__ void call<Wrapper::uniform>(uint32_t* out, const uint32_t* in, Shared&, unsigned) {
  out[0] = ptx::uniform(in[0]);
  out[1] = ptx::uniform_now(in[0]);
}

// A block is one warp.
template <Wrapper kWrapper>
__global__ void wrapper_kernel(uint32_t* out, const uint32_t* in) {
  constexpr LaneWords kWords = words_of(kWrapper);
  const unsigned thread = blockIdx.x * 32 + threadIdx.x;
  call<kWrapper>(out + thread * kWords.out, in + thread * kWords.in, dynamic_shared<Shared>(), threadIdx.x);
}

template <Wrapper kWrapper>
void launch_wrapper(const CudaContext& ctx, uint32_t* out, const uint32_t* in, int warps) {
  launch(
      ctx, {dim3(static_cast<unsigned>(warps)), dim3(32), sizeof(Shared)}, [] { return "a wrapper of ptx.cuh"; },
      wrapper_kernel<kWrapper>, out, in);
}

}  // namespace

void run_wrapper(const CudaContext& ctx, Wrapper wrapper, uint32_t* out, const uint32_t* in, int warps) {
  switch (wrapper) {
    case Wrapper::cp_async:
      return launch_wrapper<Wrapper::cp_async>(ctx, out, in, warps);
    case Wrapper::ldmatrix:
      return launch_wrapper<Wrapper::ldmatrix>(ctx, out, in, warps);
    case Wrapper::ldmatrix_transposed:
      return launch_wrapper<Wrapper::ldmatrix_transposed>(ctx, out, in, warps);
    case Wrapper::mma:
      return launch_wrapper<Wrapper::mma>(ctx, out, in, warps);
    case Wrapper::pack_bf16:
      return launch_wrapper<Wrapper::pack_bf16>(ctx, out, in, warps);
    case Wrapper::exp2:
      return launch_wrapper<Wrapper::exp2>(ctx, out, in, warps);
    case Wrapper::reciprocal:
      return launch_wrapper<Wrapper::reciprocal>(ctx, out, in, warps);
    case Wrapper::byte_permute:
      return launch_wrapper<Wrapper::byte_permute>(ctx, out, in, warps);
    case Wrapper::keep_up_to:
      return launch_wrapper<Wrapper::keep_up_to>(ctx, out, in, warps);
    case Wrapper::keep_floats:
      return launch_wrapper<Wrapper::keep_floats>(ctx, out, in, warps);
    case Wrapper::multiply_wide:
      return launch_wrapper<Wrapper::multiply_wide>(ctx, out, in, warps);
    case Wrapper::uniform:
      return launch_wrapper<Wrapper::uniform>(ctx, out, in, warps);
    default:
      GLINT_CHECK(false, "not a wrapper of ptx.cuh");
  }
}

}  // namespace glint::test
