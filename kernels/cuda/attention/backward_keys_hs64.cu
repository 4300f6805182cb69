// ptxas <= 232 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_keys.cuh"

namespace glint::attention {
static_assert(sizeof(BackwardKeysTiles<64>) <= 52224);  // dynamic shared memory
template void launch_backward_keys<64>(const CudaContext&, const AttentionBackward<Bf16>&);
}  // namespace glint::attention
