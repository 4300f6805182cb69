// What a kernel needs to know of the device it runs on. Overloads on the context type choose the backend.
#pragma once

struct CUstream_st;  // what CUDA's cudaStream_t points at

namespace glint {

enum class MatmulEngine { eigen, onednn };

struct CpuContext {
  int threads = 1;  // OpenMP threads of every parallel region; results are bitwise repeatable for a given count
  MatmulEngine matmul = MatmulEngine::eigen;
};

// Kernels run on the current device, in the order of the stream; calls return before they are done.
struct CudaContext {
  CUstream_st* stream = nullptr;  // null: the default stream
};

// The engine to use when none is asked for: oneDNN where this build has it.
constexpr MatmulEngine default_matmul_engine() {
#ifdef GLINT_WITH_ONEDNN
  return MatmulEngine::onednn;
#else
  return MatmulEngine::eigen;
#endif
}

}  // namespace glint
