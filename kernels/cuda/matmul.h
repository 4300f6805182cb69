// The state of matrix products on a GPU: cuBLASLt's handle, its workspace, and the algorithm of each shape, chosen by
// its heuristics or by measurement (kernels/product_choices.h). One for each stream; the products of a stream run one
// after another.
#pragma once

namespace glint {

class CudaMatmul;

CudaMatmul* make_cuda_matmul();
void free_cuda_matmul(CudaMatmul* matmul);

}  // namespace glint
