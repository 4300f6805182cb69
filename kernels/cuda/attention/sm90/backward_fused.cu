// ptxas <= 168 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/sm90/backward_keys.cuh"

#include "kernels/cuda/attention/sm90/backward_launch.h"

namespace glint::attention::sm90 {

// Dynamic shared memory, of 227 KB.
static_assert(sizeof(KeysShared<64, true, true>) <= 212992);
static_assert(sizeof(KeysShared<128, true, true>) <= 210944);

template <int kHS>
void launch_backward_fused(const CudaContext& ctx, const BackwardArguments& a, int blocks) {
  const auto what = [&] { return backward_text("dQ, dK and dV", a.call.shape); };
  const bool dropout = a.call.dropout.on();
  const size_t bytes = dropout ? sizeof(KeysShared<kHS, true, true>) : sizeof(KeysShared<kHS, false, true>);
  launch(ctx, {dim3(blocks), dim3(kBlockThreads), bytes}, what,
         dropout ? backward_keys_kernel<kHS, true, true> : backward_keys_kernel<kHS, false, true>, a);
}

template void launch_backward_fused<64>(const CudaContext&, const BackwardArguments&, int);
template void launch_backward_fused<128>(const CudaContext&, const BackwardArguments&, int);

}  // namespace glint::attention::sm90
