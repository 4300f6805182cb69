// ptxas <= 248 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_queries.cuh"

namespace glint::attention {
static_assert(sizeof(BackwardQueriesTiles<96>) <= 73728);  // dynamic shared memory
template void launch_backward_queries<96>(const CudaContext&, const AttentionBackward<Bf16>&);
}  // namespace glint::attention
