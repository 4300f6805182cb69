#include "kernels/cuda/cublaslt.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/check.h"
#include "kernels/cuda/check_cuda.h"

namespace glint {

namespace {

std::string description(const ColumnMajorProduct& p) {
  return str_cat("a matrix product, ", p.inputs == CUDA_R_16BF ? "bf16" : "fp32", ", ", p.m, " x ", p.n, " x ", p.k);
}
void check_cublas(cublasStatus_t status, const ColumnMajorProduct& p, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(str_cat("cuBLASLt: ", call, " for ", description(p), ": ", cublasLtGetStatusString(status)));
}

// The largest power of two up to 256 that divides the address.
unsigned alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  return address % 256 == 0 ? 256u : static_cast<unsigned>(address & (~address + 1));
}

cublasLtEpilogue_t name_of(Epilogue epilogue) {
  switch (epilogue) {
    case Epilogue::bias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Epilogue::gelu:
      return CUBLASLT_EPILOGUE_GELU_AUX;
    case Epilogue::gelu_bias:
      return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
    case Epilogue::gelu_backward:
      return CUBLASLT_EPILOGUE_DGELU;
    case Epilogue::bias_gradient:
      return CUBLASLT_EPILOGUE_BGRADA;
    case Epilogue::none:
      break;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

// cuBLASLt's description of a product: created per call, which is cheap.
class Description {
 public:
  Description(const ColumnMajorProduct& p, bool tf32) : product_(p) {
    const cublasComputeType_t compute =
        tf32 && p.inputs == CUDA_R_32F ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    check_cublas(cublasLtMatmulDescCreate(&operation, compute, CUDA_R_32F), p, "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, name_of(p.epilogue));
    if (p.bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    if (p.aux) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.aux);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, static_cast<int64_t>(p.m));
    }
    layout(a, p.inputs, p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k);
    layout(b, p.inputs, p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n);
    layout(d, p.output, p.m, p.n);
  }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  ~Description() {
    for (cublasLtMatrixLayout_t each : {a, b, d}) cublasLtMatrixLayoutDestroy(each);
    cublasLtMatmulDescDestroy(operation);
  }

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;

 private:
  template <typename Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    check_cublas(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), product_,
                 "cublasLtMatmulDescSetAttribute");
  }
  void layout(cublasLtMatrixLayout_t& made, cudaDataType_t type, int rows, int columns) {
    check_cublas(
        cublasLtMatrixLayoutCreate(&made, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), rows),
        product_, "cublasLtMatrixLayoutCreate");
  }
  const ColumnMajorProduct& product_;
};

std::optional<cublasLtMatmulAlgo_t> choose(cublasLtHandle_t handle, const Description& description,
                                           const ColumnMajorProduct& p, size_t workspace) {
  cublasLtMatmulPreference_t preference = nullptr;
  check_cublas(cublasLtMatmulPreferenceCreate(&preference), p, "cublasLtMatmulPreferenceCreate");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    return cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
  };
  const uint32_t align_a = alignment_of(p.a), align_b = alignment_of(p.b), align_d = alignment_of(p.d);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  for (const cublasStatus_t each : {set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{workspace}),
                                    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_a),
                                    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_b),
                                    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align_d),
                                    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align_d)}) {
    if (each != CUBLAS_STATUS_SUCCESS) status = each;
  }
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = cublasLtMatmulAlgoGetHeuristic(handle, description.operation, description.a, description.b, description.d,
                                            description.d, preference, 1, &result, &found);
  }
  cublasLtMatmulPreferenceDestroy(preference);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && found == 0)) return std::nullopt;
  check_cublas(status, p, "cublasLtMatmulAlgoGetHeuristic");
  return result.algo;
}

}  // namespace

CudaMatmul* make_cuda_matmul() { return new CudaMatmul; }
void free_cuda_matmul(CudaMatmul* matmul) { delete matmul; }

CudaMatmul::CudaMatmul() {
  if (cublasLtCreate(&handle_) != CUBLAS_STATUS_SUCCESS) throw Error("cuBLASLt cannot be initialised");
  check_cuda(cudaMalloc(&workspace_, kWorkspace), "cudaMalloc of cuBLASLt's workspace");
}
CudaMatmul::~CudaMatmul() {
  cudaFree(workspace_);
  cublasLtDestroy(handle_);
}

bool CudaMatmul::multiply(const CudaContext& ctx, const ColumnMajorProduct& p) {
  const Description description(p, ctx.tf32);
  const unsigned alignment = std::min({alignment_of(p.a), alignment_of(p.b), alignment_of(p.d)});
  const Key key{p.m,      p.n,   p.k,        p.transpose_a, p.transpose_b, p.inputs,
                p.output, p.add, p.epilogue, ctx.tf32,      alignment};
  const auto run = [&](const cublasLtMatmulAlgo_t& algorithm) {
    const float one = 1.0f, beta = p.add ? 1.0f : 0.0f;
    return cublasLtMatmul(handle_, description.operation, &one, p.a, description.a, p.b, description.b, &beta, p.d,
                          description.d, p.d, description.d, &algorithm, workspace_, kWorkspace, ctx.stream);
  };
  auto known = chosen_.find(key);
  if (known == chosen_.end()) {
    if (p.n < kFewRows) {  // the order of sums shall not depend on the number of rows
      ColumnMajorProduct more = p;
      more.n = kFewRows;
      const auto algorithm = choose(handle_, Description(more, ctx.tf32), more, kWorkspace);
      if (algorithm && run(*algorithm) == CUBLAS_STATUS_SUCCESS) {
        chosen_.emplace(key, algorithm);
        return true;
      }
    }
    known = chosen_.emplace(key, choose(handle_, description, p, kWorkspace)).first;
  }
  if (!known->second) return false;
  check_cublas(run(*known->second), p, "cublasLtMatmul");
  return true;
}

}  // namespace glint
