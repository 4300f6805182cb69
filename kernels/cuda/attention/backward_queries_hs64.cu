// ptxas <= 168 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_queries.cuh"

namespace glint::attention {
static_assert(sizeof(BackwardQueriesTiles<64>) <= 49152);  // dynamic shared memory
template void launch_backward_queries<64>(const CudaContext&, const AttentionBackward<Bf16>&);
}  // namespace glint::attention
