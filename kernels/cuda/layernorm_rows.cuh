// Layer norm: how rows are split among threads and how they get there, and what the host chooses. A row belongs to a
// team of warps, usually one; the warps of a larger team wait for each other at a named barrier. The kernels are in
// layernorm_forward.cuh and layernorm_backward.cuh.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "kernels/cuda/block_reduce.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/layernorm.h"

namespace glint::layernorm {

inline constexpr int kMaxChannels = 6144;

struct Teams {
  int warps;  // of a team
  int count;  // teams of a block
};

// The rows that a kernel works on. Divisions are the host's.
struct Problem {
  Problem(const LayerNormShape& shape)
      : rows(shape.rows), C(shape.C), eps(shape.eps), per_channel(1.0f / static_cast<float>(shape.C)) {}
  int rows, C;
  float eps, per_channel;
};

// most_blocks: of the grid.
inline Launch launch_of(const Teams& teams, int rows, int most_blocks) {
  const int blocks = std::clamp((rows + teams.count - 1) / teams.count, 1, most_blocks);
  return {dim3(blocks), dim3(32 * teams.warps * teams.count)};
}

// Of whole packs at multiples of 16 bytes, for one warp or for more; any others.
enum class Rows { of_warp, of_team, any };

// The running thread's part of its team's row: kPacks packs, step() packs apart, so that neighbouring threads have
// neighbouring packs.
template <typename Scalar_, int kPacks_, Rows kRows>
class RowPart {
 public:
  using Scalar = Scalar_;
  static constexpr bool kWhole = kRows != Rows::any, kOneWarp = kRows == Rows::of_warp;
  static constexpr int kPacks = kPacks_, kCount = kPack<Scalar>, kChannels = kPacks * kCount;
  // Of a block, or more if a team has more: two blocks fit a multiprocessor by the registers that backward needs.
  static constexpr int kWarps = kPacks < 3 ? 8 : 6;
  static constexpr int kThreads = std::max(32 * kWarps, kOneWarp ? 0 : kMaxChannels / kChannels);  // of a block at most

  static Teams teams(int C) {
    GLINT_CHECK(C > 0 && C <= kMaxChannels, "layer norm of ", C, " channels: the CUDA kernels take up to ",
                kMaxChannels);
    const int warps = (C + 32 * kChannels - 1) / (32 * kChannels);
    return {warps, std::max(kWarps / warps, 1)};
  }

  __device__ RowPart(const Teams& teams, int channels)
      : C(channels),
        team(ptx::uniform(kOneWarp ? threadIdx.x / 32 : threadIdx.x / 32 / teams.warps)),
        member(threadIdx.x - team * teams.warps * 32),
        warps_(teams.warps) {}

  __device__ int warps() const { return kOneWarp ? 1 : warps_; }
  __device__ int step() const { return 32 * warps(); }
  __device__ int channel(int k) const { return member * kCount + offset(k); }
  // Whether channel(k) + i is one. A warp's row has fewer packs in the last place only.
  __device__ bool has(int k, int i) const {
    if (kOneWarp && k + 1 < kPacks) return true;
    return channel(k) + (kWhole ? 0 : i) < C;
  }

  // Pack k of an array of C elements, zeros past the end.
  template <typename T>
  __device__ Pack<T, kCount> load(const T* from, int k) const {
    if (!has(k, 0)) return {};
    from += member * kCount;
    if constexpr (kWhole) return load_whole_pack<kCount>(from + offset(k));
    else return load_pack<kCount>(from + offset(k), C - channel(k));
  }
  // Pack k of a row of an array of them.
  __device__ void store(Scalar* array, int row, int k, const Pack<Scalar, kCount>& pack) const {
    if (!has(k, 0)) return;
    Scalar* to = array + first(row) + member * kCount;
    if constexpr (kWhole) store_whole_pack(to + offset(k), pack);
    else store_pack(to + offset(k), pack, C - channel(k));
  }
  __device__ size_t first(int row) const { return size_t{static_cast<unsigned>(row)} * static_cast<unsigned>(C); }
  __device__ int offset(int k) const { return k * step() * kCount; }

  const int C, team, member;

 private:
  int warps_;
};

template <typename Scalar, int kArrays>
struct Arrays {
  const Scalar* of[kArrays];
};

// Rows of kArrays arrays on their way to the threads. Whole packs are copied to shared memory by cp.async, kStages rows
// ahead: every thread copies what it reads, so that there is no barrier. Other rows are read where they are used.
template <typename Part, int kArrays, int kStages>
class RowStream {
 public:
  using Scalar = typename Part::Scalar;
  static constexpr int kBytes = Part::kWhole ? kStages * kArrays * Part::kPacks * 16 : 0;  // of a thread

  // shared: kBytes of every thread of the block.
  __device__ RowStream(const Part& part, const Arrays<Scalar, kArrays>& arrays, void* shared)
      : part_(part), arrays_(arrays), slots_(static_cast<uint4*>(shared) + threadIdx.x) {}

  // Begins to load a row, if it is wanted: kStages rows at the start, and one when the current row has been read.
  __device__ void fetch(int row, bool wanted) {
    if constexpr (Part::kWhole) {
      const size_t at = part_.first(wanted ? row : 0) + part_.member * Part::kCount;
#pragma unroll
      for (int a = 0; a < kArrays; ++a) {
#pragma unroll
        for (int k = 0; k < Part::kPacks; ++k) {
          ptx::cp_async(slot(fetched_, a, k), arrays_.of[a] + at + part_.offset(k), wanted && part_.has(k, 0));
        }
      }
      ptx::cp_async_commit();
      fetched_ = fetched_ + 1 < kStages ? fetched_ + 1 : 0;
    }
  }
  // Waits for the oldest of kStages rows, which becomes the current one.
  __device__ void next(int row) {
    if constexpr (Part::kWhole) ptx::cp_async_wait<kStages - 1>();
    row_ = row;
    current_ = fetched_;
  }
  // Waits for all.
  __device__ void finish() const {
    if constexpr (Part::kWhole) ptx::cp_async_wait<0>();
  }
  // Of the current row.
  __device__ Pack<Scalar, Part::kCount> pack(int array, int k) const {
    if constexpr (Part::kWhole)
      return load_whole_pack<Part::kCount>(reinterpret_cast<Scalar*>(slot(current_, array, k)));
    else return part_.load(arrays_.of[array] + part_.first(row_), k);
  }

 private:
  __device__ uint4* slot(int stage, int array, int k) const {
    const int threads = Part::kOneWarp ? Part::kThreads : blockDim.x;
    return slots_ + ((stage * kArrays + array) * Part::kPacks + k) * threads;
  }

  const Part& part_;
  const Arrays<Scalar, kArrays> arrays_;
  uint4* slots_;
  int fetched_ = 0, current_ = 0, row_ = 0;
};

// Whether arrays begin at multiples of 16 bytes.
inline bool aligned_arrays(std::initializer_list<const void*> arrays) {
  return std::all_of(arrays.begin(), arrays.end(),
                     [](const void* array) { return reinterpret_cast<uintptr_t>(array) % 16 == 0; });
}

// launch<RowPart>() for the RowPart that fits. Rows of whole packs of bf16, the usual case, have kernels of their own;
// one warp takes up to kMaxPacks a lane. For all others there is one, for kThreadChannels a thread.
template <int kThreadChannels, int kMaxPacks, typename Scalar, typename F>
void with_part(int C, bool aligned, const F& launch) {
  if constexpr (sizeof(Scalar) == 2) {
    if (aligned && C % kPack<Scalar> == 0) {
      const int packs = (C / kPack<Scalar> + 31) / 32;
      if (packs == 1) return launch.template operator()<RowPart<Scalar, 1, Rows::of_warp>>();
      if (packs == 2) return launch.template operator()<RowPart<Scalar, 2, Rows::of_warp>>();
      if (packs == 3) return launch.template operator()<RowPart<Scalar, 3, Rows::of_warp>>();
      if constexpr (kMaxPacks == 4) {
        if (packs == 4) return launch.template operator()<RowPart<Scalar, 4, Rows::of_warp>>();
      }
      return launch.template operator()<RowPart<Scalar, 4, Rows::of_team>>();
    }
  }
  launch.template operator()<RowPart<Scalar, kThreadChannels / kPack<Scalar>, Rows::any>>();
}

}  // namespace glint::layernorm
