// ptxas <= 255 registers, 0 bytes of shared memory
#include "kernels/cuda/attention/forward.cuh"

namespace glint::attention {
template void launch_forward<96, Bf16>(const CudaContext&, const ForwardArguments<Bf16>&);
}
