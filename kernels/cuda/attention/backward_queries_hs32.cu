// ptxas <= 255 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/backward_queries.cuh"

namespace glint::attention {
template void launch_backward_queries<32, Bf16>(const CudaContext&, const BackwardArguments<Bf16>&);
}
