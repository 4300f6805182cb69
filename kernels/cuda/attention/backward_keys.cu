// ptxas HS 32 <= 168 registers, 0 bytes of shared memory
// ptxas HS 64 <= 240 registers, 0 bytes of shared memory
// ptxas HS 96 <= 252 registers, 0 bytes of shared memory
// ptxas HS 128 <= 255 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_keys.cuh"

namespace glint::attention {

// Dynamic shared memory.
static_assert(sizeof(BackwardKeysTiles<32>) <= 27392);
static_assert(sizeof(BackwardKeysTiles<64>) <= 51968);
static_assert(sizeof(BackwardKeysTiles<96>) <= 76544);
static_assert(sizeof(BackwardKeysTiles<128>) <= 101120);

template void launch_backward_keys<32>(const CudaContext&, const AttentionBackward<Bf16>&);
template void launch_backward_keys<64>(const CudaContext&, const AttentionBackward<Bf16>&);
template void launch_backward_keys<96>(const CudaContext&, const AttentionBackward<Bf16>&);
template void launch_backward_keys<128>(const CudaContext&, const AttentionBackward<Bf16>&);

}  // namespace glint::attention
