// The state that matrix products on a GPU need between calls: cuBLASLt's handle, its workspace, and the algorithm that
// its heuristics chose for each shape, asked once. One for each stream; products of a stream run one after another.
#pragma once

namespace glint {

class CudaMatmul;

CudaMatmul* make_cuda_matmul();
void free_cuda_matmul(CudaMatmul* matmul);

}  // namespace glint
