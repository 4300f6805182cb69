// The state of matrix products on a GPU: cuBLASLt's handle, its workspace, and the algorithm chosen by its heuristics
// for each shape. One for each stream; the products of a stream run one after another.
#pragma once

namespace glint {

class CudaMatmul;

CudaMatmul* make_cuda_matmul();
void free_cuda_matmul(CudaMatmul* matmul);

}  // namespace glint
