// Dropout of rows of channels (the row layout of kernels/dropout.h), for the kernels that fuse it, and loops over
// rows.
#pragma once

#include <algorithm>

#include "kernels/cuda/dropout.cuh"

namespace glint {

// The mask of rows of (B, T, C), row = b*T + t.
class RowDropout {
 public:
  __device__ RowDropout(const Dropout& site, int T) : site_(site), T_(T) {
    if (!site.on()) return;
    seed_ = site.rng->seed;
    offset_ = site.rng->offset + site.site;
    first_sequence_ = site.rng->first_sequence;  // not added to the offset: ptxas would spill
  }

  // values = dropout(values), the channels c .. c + kCount - 1 of the row; c is a multiple of kCount. One draw
  // serves 16.
  template <int kCount>
  __device__ void apply(float (&values)[kCount], int row, int c) const {
    static_assert(kCount == 4 || kCount == 8 || kCount == 16);
    if (!site_.on()) return;
    const KeepPairs keep(site_.threshold);
    const int b = row / T_;
    const PhiloxCounter draw = device_philox4x32<7>(
        row_counter(offset_, first_sequence_ + b, static_cast<uint32_t>(row - b * T_), c / 16), philox_key(seed_));
#pragma unroll
    for (int first = 0; first < kCount; first += 4) {
      const int index = c % 16 / 4 + first / 4;
      const uint32_t word = index < 2 ? (index == 0 ? draw.x : draw.y) : (index == 2 ? draw.z : draw.w);
      keep.apply(values[first], values[first + 1], word, 0);
      keep.apply(values[first + 2], values[first + 3], word, 1);
#pragma unroll
      for (int i = 0; i < 4; ++i) values[first + i] *= site_.scale;
    }
  }

 private:
  const Dropout& site_;
  int T_;
  uint64_t seed_ = 0, offset_ = 0, first_sequence_ = 0;
};

// ---- One warp per row.

inline constexpr int kRowsPerBlock = 8;

inline Launch row_launch(size_t rows) {
  constexpr size_t kMostBlocks = 2048;
  const size_t blocks = std::clamp<size_t>((rows + kRowsPerBlock - 1) / kRowsPerBlock, 1, kMostBlocks);
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
