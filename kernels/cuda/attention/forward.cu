// ptxas HS 32 <= 201 registers, 0 bytes of shared memory
// ptxas HS 64 <= 240 registers, 0 bytes of shared memory
// ptxas HS 96 <= 174 registers, 0 bytes of shared memory
// ptxas HS 128 <= 171 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/forward.cuh"

namespace glint::attention {

// Dynamic shared memory.
static_assert(sizeof(ForwardTiles<32>) <= 24576);
static_assert(sizeof(ForwardTiles<64>) <= 49152);
static_assert(sizeof(ForwardTiles<96>) <= 61440);
static_assert(sizeof(ForwardTiles<128>) <= 81920);

template void launch_forward<32>(const CudaContext&, const AttentionForward<Bf16>&);
template void launch_forward<64>(const CudaContext&, const AttentionForward<Bf16>&);
template void launch_forward<96>(const CudaContext&, const AttentionForward<Bf16>&);
template void launch_forward<128>(const CudaContext&, const AttentionForward<Bf16>&);

}  // namespace glint::attention
