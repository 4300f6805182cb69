// ptxas <= 255 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_keys.cuh"

namespace glint::attention {
static_assert(sizeof(BackwardKeysTiles<128>) <= 101376);  // dynamic shared memory
template void launch_backward_keys<128>(const CudaContext&, const AttentionBackward<Bf16>&);
}  // namespace glint::attention
