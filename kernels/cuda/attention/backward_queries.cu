// ptxas HS 32 <= 160 registers, 0 bytes of shared memory
// ptxas HS 64 <= 168 registers, 0 bytes of shared memory
// ptxas HS 96 <= 241 registers, 0 bytes of shared memory
// ptxas HS 128 <= 240 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_queries.cuh"

namespace glint::attention {

// Dynamic shared memory.
static_assert(sizeof(BackwardQueriesTiles<32>) <= 24576);
static_assert(sizeof(BackwardQueriesTiles<64>) <= 49152);
static_assert(sizeof(BackwardQueriesTiles<96>) <= 73728);
static_assert(sizeof(BackwardQueriesTiles<128>) <= 98304);

template void launch_backward_queries<32>(const CudaContext&, const AttentionBackward<Bf16>&);
template void launch_backward_queries<64>(const CudaContext&, const AttentionBackward<Bf16>&);
template void launch_backward_queries<96>(const CudaContext&, const AttentionBackward<Bf16>&);
template void launch_backward_queries<128>(const CudaContext&, const AttentionBackward<Bf16>&);

}  // namespace glint::attention
