// ptxas <= 168 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/sm90/backward_queries.cuh"

#include "kernels/cuda/attention/sm90/backward_launch.h"

namespace glint::attention::sm90 {

// Dynamic shared memory, of 227 KB.
static_assert(sizeof(QueriesShared<64>) <= 115712);
static_assert(sizeof(QueriesShared<128>) <= 230400);

template <int kHS>
void launch_backward_queries(const CudaContext& ctx, const BackwardArguments& a, int blocks) {
  const auto what = [&] { return backward_text("dQ", a.call.shape); };
  launch(ctx, {dim3(blocks), dim3(kBlockThreads), sizeof(QueriesShared<kHS>)}, what,
         a.call.dropout.on() ? backward_queries_kernel<kHS, true> : backward_queries_kernel<kHS, false>, a);
}

template void launch_backward_queries<64>(const CudaContext&, const BackwardArguments&, int);
template void launch_backward_queries<128>(const CudaContext&, const BackwardArguments&, int);

}  // namespace glint::attention::sm90
