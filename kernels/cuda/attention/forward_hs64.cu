// ptxas <= 255 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/forward.cuh"

namespace glint::attention {
static_assert(sizeof(ForwardTiles<64>) <= 49152);  // dynamic shared memory
template void launch_forward<64>(const CudaContext&, const AttentionForward<Bf16>&);
}  // namespace glint::attention
