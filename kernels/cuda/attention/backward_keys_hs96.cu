// ptxas <= 240 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_keys.cuh"

namespace glint::attention {
static_assert(sizeof(BackwardKeysTiles<96>) <= 76800);  // dynamic shared memory
template void launch_backward_keys<96>(const CudaContext&, const AttentionBackward<Bf16>&);
}  // namespace glint::attention
