// Dropout of rows of channels (the row layout of kernels/dropout.h), for the kernels that fuse it, and loops over
// rows.
#pragma once

#include <algorithm>

#include "kernels/cuda/attention/philox.cuh"
#include "kernels/cuda/pack.cuh"

namespace glint {

// The mask of rows of (B, T, C), row = b*T + t. One draw serves 16 channels: two packs of 8, four of 4. All lanes of a
// warp call the constructor together.
class RowDropout {
 public:
  using Row = attention::RowPhilox::Row;  // what the draws of one row share

  __device__ RowDropout(const Dropout& site, int T) : site_(site), philox_(site, site.on()), T_(T) {
    if (!site.on()) return;
    offset_ = site.rng->offset + site.site + 32 * site.rng->first_sequence;
  }

  __device__ bool on() const { return site_.on(); }
  __device__ Row of_row(int row) const {
    const int b = row / T_;
    return philox_.row(offset_ + 32 * static_cast<unsigned>(b), static_cast<uint32_t>(row - b * T_));
  }

  // values = dropout(pack), the channels c .. c + kCount - 1 of the row; c is a multiple of kCount.
  template <typename Scalar, int kCount>
  __device__ void apply(float (&values)[kCount], const Pack<Scalar, kCount>& pack, int row, int c) const {
    if (!on()) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = pack[i];
      return;
    }
    uint32_t bytes[kCount / 4];
    draw(bytes, of_row(row), c);
    keep(values, pack, bytes);
  }

  // The same for kPacks packs of a row, those of `member` and of every step-th from there on, in two steps: their
  // random bytes, where dropout is on, by all lanes of a warp together; then each pack. Of two packs of 8 a lane draws
  // one and gets the other from its neighbour. member: threadIdx.x % 32 and a multiple of 32, as step is.
  template <int kPacks, int kWords>
  __device__ void draw_packs(uint32_t (&bytes)[kPacks][kWords], const Row& row, int member, int step) const {
    constexpr int kShared = kWords == 2 ? kPacks / 2 * 2 : 0;
    const bool odd = member % 2;
#pragma unroll
    for (int k = 0; k < kShared; k += 2) {
      uint32_t random[4];
      philox_.draw(random, row, (member + (odd ? k + 1 : k) * step) / 2);
#pragma unroll
      for (int w = 0; w < kWords; ++w) {
        const uint32_t other = __shfl_xor_sync(0xffffffffu, odd ? random[w] : random[(kWords + w) % 4], 1);
        bytes[k][w] = odd ? other : random[w];
        bytes[k + 1][w] = odd ? random[(kWords + w) % 4] : other;
      }
    }
#pragma unroll
    for (int k = kShared; k < kPacks; ++k) draw(bytes[k], row, (member + k * step) * 4 * kWords);
  }
  template <typename Scalar, int kCount, int kWords>
  __device__ void keep(float (&values)[kCount], Pack<Scalar, kCount> pack, const uint32_t (&bytes)[kWords]) const {
    static_assert(kCount == 4 * kWords);
    const KeepPairs pairs(site_.threshold);
#pragma unroll
    for (int i = 0; i < kCount; i += 2) {
      if constexpr (sizeof(Scalar) == 2) pairs.apply(pack.words[i / 2], bytes[i / 4], i % 4 / 2);
      values[i] = pack[i], values[i + 1] = pack[i + 1];
      if constexpr (sizeof(Scalar) == 4) pairs.apply(values[i], values[i + 1], bytes[i / 4], i % 4 / 2);
      // Rounded, whatever the kernel adds to it: so that all kernels give the same bits.
      values[i] = __fmul_rn(values[i], site_.scale), values[i + 1] = __fmul_rn(values[i + 1], site_.scale);
    }
  }

 private:
  template <int kWords>
  __device__ void draw(uint32_t (&bytes)[kWords], const Row& row, int c) const {
    static_assert(kWords == 1 || kWords == 2 || kWords == 4);
    uint32_t random[4];
    philox_.draw(random, row, c / 16);
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      const int index = c % 16 / 4 + w;
      bytes[w] = index < 2 ? (index == 0 ? random[0] : random[1]) : (index == 2 ? random[2] : random[3]);
    }
  }

  const Dropout& site_;
  attention::RowPhilox philox_;
  int T_;
  uint64_t offset_ = 0;
};

// ---- One warp per row.

inline constexpr int kRowsPerBlock = 8;

inline Launch row_launch(size_t rows) {
  constexpr size_t kMaxBlocks = 2048;
  const size_t blocks = std::clamp<size_t>((rows + kRowsPerBlock - 1) / kRowsPerBlock, 1, kMaxBlocks);
  return {dim3(static_cast<unsigned>(blocks)), dim3(32 * kRowsPerBlock)};
}

// f(row, first element of the row) by all lanes of a warp, in a grid-stride loop over rows.
template <typename F>
__device__ void for_each_row(int rows, int C, const F& f) {
  for (int row = blockIdx.x * kRowsPerBlock + threadIdx.x / 32; row < rows; row += gridDim.x * kRowsPerBlock) {
    f(row, static_cast<size_t>(row) * C);
  }
}

// f(first channel of a pack, number of valid channels), with the packs of a row split among the lanes.
template <int kCount, typename F>
__device__ void for_each_channel_pack(int C, const F& f) {
  for (int c = threadIdx.x % 32 * kCount; c < C; c += 32 * kCount) f(c, min(C - c, kCount));
}

}  // namespace glint
