// ptxas <= 168 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/forward.cuh"

namespace glint::attention {
static_assert(sizeof(ForwardTiles<96>) <= 61440);  // dynamic shared memory
template void launch_forward<96>(const CudaContext&, const AttentionForward<Bf16>&);
}  // namespace glint::attention
