// ptxas <= 255 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_queries.cuh"

namespace glint::attention {
static_assert(sizeof(BackwardQueriesTiles<128>) <= 98304);  // dynamic shared memory
template void launch_backward_queries<128>(const CudaContext&, const AttentionBackward<Bf16>&);
}  // namespace glint::attention
