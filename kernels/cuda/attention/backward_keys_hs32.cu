// ptxas <= 168 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_keys.cuh"

namespace glint::attention {
static_assert(sizeof(BackwardKeysTiles<32>) <= 27648);  // dynamic shared memory
template void launch_backward_keys<32>(const CudaContext&, const AttentionBackward<Bf16>&);
}  // namespace glint::attention
