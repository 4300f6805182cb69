// Arrays of float or Bf16 in packs: neighbouring elements that one thread moves at once, with 16-byte accesses if the
// address is a multiple of 16 and the pack is whole, otherwise one by one. Any size and alignment works; the usual ones
// are fast.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/bf16.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/ptx.cuh"

namespace glint {

// Number of elements in 16 bytes.
template <typename Scalar>
inline constexpr int kPack = 16 / sizeof(Scalar);

// kCount elements in registers, in their memory format; read as floats.
template <typename Scalar, int kCount>
struct Pack {
  using Vector = std::conditional_t<kCount * sizeof(Scalar) % 16 == 0, uint4, uint2>;
  static constexpr int kWords = kCount * sizeof(Scalar) / 4, kPerVector = sizeof(Vector) / sizeof(Scalar);
  static_assert(kCount % kPerVector == 0);

  __device__ float operator[](int i) const {
    if constexpr (sizeof(Scalar) == 4) return __uint_as_float(words[i]);
    else return __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
  }
  __device__ Scalar element(int i) const {
    if constexpr (sizeof(Scalar) == 4) return __uint_as_float(words[i]);
    else return {static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16))};
  }

  // Makes the compiler recompute values derived from the pack (floats, exponentials) instead of keeping them: saves
  // registers for long rows.
  __device__ void forget() {
#pragma unroll
    for (uint32_t& word : words) ptx::forget(word);
  }

  uint32_t words[kWords];
};

// Floats, each rounded to nearest (ties to even) where Scalar is Bf16.
template <typename Scalar, int kCount>
__device__ Pack<Scalar, kCount> pack_of(const float (&values)[kCount]) {
  Pack<Scalar, kCount> pack;
#pragma unroll
  for (int i = 0; i < pack.kWords; ++i) {
    if constexpr (sizeof(Scalar) == 4) pack.words[i] = __float_as_uint(values[i]);
    else pack.words[i] = ptx::pack_bf16(values[2 * i], values[2 * i + 1]);
  }
  return pack;
}

template <typename Scalar, int kCount>
__device__ bool is_aligned(const Scalar* p) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(typename Pack<Scalar, kCount>::Vector) == 0;
}

// kCount elements at a multiple of the size of Pack's Vector.
template <int kCount, typename Scalar>
__device__ Pack<Scalar, kCount> load_whole_pack(const Scalar* from) {
  using P = Pack<Scalar, kCount>;
  P pack;
#pragma unroll
  for (int v = 0; v < kCount / P::kPerVector; ++v) {
    const auto vector = load_vector<typename P::Vector>(from + v * P::kPerVector);
    uint32_t* words = pack.words + v * (sizeof vector / 4);
    words[0] = vector.x, words[1] = vector.y;
    if constexpr (sizeof vector == 16) words[2] = vector.z, words[3] = vector.w;
  }
  return pack;
}
template <typename Scalar, int kCount>
__device__ void store_whole_pack(Scalar* to, const Pack<Scalar, kCount>& pack) {
  using P = Pack<Scalar, kCount>;
#pragma unroll
  for (int v = 0; v < kCount / P::kPerVector; ++v) {
    typename P::Vector vector;
    const uint32_t* words = pack.words + v * (sizeof vector / 4);
    vector.x = words[0], vector.y = words[1];
    if constexpr (sizeof vector == 16) vector.z = words[2], vector.w = words[3];
    store_vector(to + v * P::kPerVector, vector);
  }
}

// The first `valid` elements (none if negative, all if it is more), then zeros.
template <int kCount, typename Scalar>
__device__ Pack<Scalar, kCount> load_pack(const Scalar* from, int valid = kCount) {
  if (valid >= kCount && is_aligned<Scalar, kCount>(from)) return load_whole_pack<kCount>(from);
  Pack<Scalar, kCount> pack = {};
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i >= valid) continue;
    if constexpr (sizeof(Scalar) == 4) pack.words[i] = __float_as_uint(from[i]);
    else pack.words[i / 2] |= uint32_t{from[i].bits} << (i % 2 * 16);
  }
  return pack;
}

template <typename Scalar, int kCount>
__device__ void store_pack(Scalar* to, const Pack<Scalar, kCount>& pack, int valid = kCount) {
  if (valid >= kCount && is_aligned<Scalar, kCount>(to)) return store_whole_pack(to, pack);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < valid) to[i] = pack.element(i);
  }
}
template <typename Scalar, int kCount>
__device__ void store_pack(Scalar* to, const float (&values)[kCount], int valid = kCount) {
  store_pack(to, pack_of<Scalar>(values), valid);
}

// ---- Flat arrays: a grid-stride loop over packs.

inline constexpr int kFlatThreads = 256;

// Blocks for n elements: more than the largest GPU runs at once, for load balance.
inline Launch flat_launch(size_t n, int count) {
  constexpr size_t kMaxBlocks = 2048;
  const size_t packs = (n + static_cast<size_t>(count) - 1) / static_cast<size_t>(count);
  const size_t blocks = std::min(std::max<size_t>((packs + kFlatThreads - 1) / kFlatThreads, 1), kMaxBlocks);
  return {dim3(static_cast<unsigned>(blocks)), dim3(kFlatThreads)};
}

// f(first element of a pack, number of valid elements).
template <int kCount, typename F>
__device__ void for_each_pack(size_t n, const F& f) {
  const size_t stride = size_t{gridDim.x} * blockDim.x * kCount;
  for (size_t first = (size_t{blockIdx.x} * blockDim.x + threadIdx.x) * kCount; first < n; first += stride) {
    f(first, n - first < kCount ? static_cast<int>(n - first) : kCount);
  }
}

}  // namespace glint
