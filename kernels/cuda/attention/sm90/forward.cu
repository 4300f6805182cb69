// ptxas HS 64 <= 128 registers, 0 bytes of shared memory
// ptxas HS 128 <= 168 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/sm90/forward.cuh"

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/attention/sm90/launch.h"
#include "kernels/cuda/check_cuda.h"

namespace glint::attention::sm90 {
namespace {

// Dynamic shared memory, of 227 KB.
static_assert(sizeof(ForwardTiles<64>) <= 148480);
static_assert(sizeof(ForwardTiles<128>) <= 197632);

// As many query heads as share 16 MB of K and V, a third of the L2 cache.
int heads_in_cache(const AttentionShape& s) {
  const int64_t bytes = int64_t{2} * s.S * s.HS * sizeof(Bf16);  // of a key head
  return static_cast<int>(std::clamp<int64_t>((int64_t{16} << 20) * (s.NH / s.NKV) / bytes, 1, int64_t{s.B} * s.NH));
}

template <int kHS>
void launch_tiles(const CudaContext& ctx, const AttentionForward<Bf16>& a) {
  using Tiles = ForwardTiles<kHS>;
  const AttentionShape& s = a.shape;
  const auto what = [&] {
    return str_cat("attention_forward, bf16, sm_90a, B ", s.B, ", T ", s.T, ", NH ", s.NH, ", HS ", s.HS);
  };
  const Schedule schedule(tiles_of(s.T, Tiles::kQueries), s.B, s.NH, heads_in_cache(s));
  const ForwardArguments arguments{.q = make_tensor_map(a.q, s.B, s.T, s.NH, s.HS, 64),
                                   .k = make_tensor_map(a.k, s.B, s.S, s.NKV, s.HS, Tiles::kKeys),
                                   .v = make_tensor_map(a.v, s.B, s.S, s.NKV, s.HS, Tiles::kKeys),
                                   .a = a,
                                   .schedule = schedule,
                                   .items_taken = reinterpret_cast<unsigned*>(a.scratch)};
  check_cuda(cudaMemsetAsync(a.scratch, 0, sizeof(unsigned), ctx.stream), what);
  const dim3 grid(std::min(schedule.items(), device_attribute(cudaDevAttrMultiProcessorCount)));
  launch(ctx, {grid, dim3(Tiles::kThreads), sizeof(Tiles)}, what,
         a.dropout.on() ? forward_kernel<kHS, true> : forward_kernel<kHS, false>, arguments);
}

}  // namespace

size_t forward_scratch(const AttentionShape&) { return 1; }  // the number of items taken

// Why ForwardTiles<64> and <128> are as they are: TFLOP/s at T 1024 / 8192 of an H100, 27 November 2026 (bf16, causal,
// 16384 tokens, 2048 channels), with items shared out beforehand, in the better of two ways, and whole tiles only.
// As they are now, the chosen ones reach 361 / 507, 292 / 380, 459 / 671 and 385 / 527.
//   HS   dropout  3 x 64 queries, 128 keys  the same, overlapped  2 x 64, overlapped  3 x 64, 64 keys, overlapped
//   64   0        330 / 471                 323 / 506             275 / 446           297 / 437
//   64   0.1      271 / 343                 218 / 306             203 / 298           247 / 320
//   128  0                                                        376 / 664           406 / 618
//   128  0.1                                                      324 / 511           316 / 446
void launch_forward(const CudaContext& ctx, const AttentionForward<Bf16>& a) {
  GLINT_CHECK(a.scratch, "attention_forward needs scratch");
  GLINT_CHECK(a.shape.HS <= 128, "HS ", a.shape.HS);
  if (a.shape.HS <= 64) launch_tiles<64>(ctx, a);
  else launch_tiles<128>(ctx, a);
}

}  // namespace glint::attention::sm90
