#include "kernels/cuda/cublaslt.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda/check_cuda.h"
#include "kernels/cuda/handles.h"

namespace glint {

namespace {

std::string description(const ColumnMajorProduct& p) {
  return str_cat("a matrix product, ", p.inputs == CUDA_R_16BF ? "bf16" : "fp32", ", ", p.m, " x ", p.n, " x ", p.k,
                 p.count == 1 ? "" : str_cat(", ", p.count, " times"));
}
void check_cublas(cublasStatus_t status, const ColumnMajorProduct& p, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(str_cat("cuBLASLt: ", call, " for ", description(p), ": ", cublasLtGetStatusString(status)));
}

ProductKey key_of(const ColumnMajorProduct& p, bool tf32) {
  unsigned alignment = 256;
  const auto align = [&](const void* pointer, cudaDataType_t type, int rows, int columns) {
    const uintptr_t bytes =
        (type == CUDA_R_16BF ? 2 : 4) * static_cast<uintptr_t>(rows) * static_cast<uintptr_t>(columns);
    while ((reinterpret_cast<uintptr_t>(pointer) | (p.count > 1 ? bytes : 0)) % alignment != 0) alignment /= 2;
  };
  align(p.a, p.inputs, p.m, p.k), align(p.b, p.inputs, p.k, p.n), align(p.d, p.output, p.m, p.n);
  return {.m = p.m,
          .n = p.n,
          .k = p.k,
          .transpose_a = p.transpose_a,
          .transpose_b = p.transpose_b,
          .bf16 = p.inputs == CUDA_R_16BF,
          .bf16_output = p.output == CUDA_R_16BF,
          .tf32 = tf32 && p.inputs == CUDA_R_32F,
          .add = p.add,
          .epilogue = p.epilogue,
          .alignment = alignment,
          .count = p.count};
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
    if (product_.count == 1) return;
    const auto set_layout = [&](cublasLtMatrixLayoutAttribute_t attribute, auto value) {
      check_cublas(cublasLtMatrixLayoutSetAttribute(made, attribute, &value, sizeof value), product_,
                   "cublasLtMatrixLayoutSetAttribute");
    };
    set_layout(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t{product_.count});
    set_layout(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, int64_t{rows} * columns);
  }
  const ColumnMajorProduct& product_;
};

cublasStatus_t run(cublasLtHandle_t handle, const CudaContext& ctx, const Description& description,
                   const ColumnMajorProduct& p, const ProductChoice::Algorithm& algorithm, void* workspace) {
  const auto algo = std::bit_cast<cublasLtMatmulAlgo_t>(algorithm);
  const float one = 1.0f, beta = p.add ? 1.0f : 0.0f;
  return cublasLtMatmul(handle, description.operation, &one, p.a, description.a, p.b, description.b, &beta, p.d,
                        description.d, p.d, description.d, &algo, workspace, kMatmulWorkspace, ctx.stream);
}

// Whether the library still has an algorithm that an earlier program chose.
bool usable(cublasLtHandle_t handle, const Description& description, const ProductChoice& choice) {
  if (!choice.algorithm) return true;
  const auto algorithm = std::bit_cast<cublasLtMatmulAlgo_t>(*choice.algorithm);
  cublasLtMatmulHeuristicResult_t result{};
  return cublasLtMatmulAlgoCheck(handle, description.operation, description.a, description.b, description.d,
                                 description.d, &algorithm, &result) == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= kMatmulWorkspace;
}

using Algorithms = std::vector<ProductChoice::Algorithm>;

constexpr int kMaxCandidates = 8;  // cuBLASLt 13.1 has not returned more, however many were asked for

// The library's candidates, its own choice first. Sums split over k are added up in a separate step: the header
// promises that additions in place come one after another, but not in which order. Parts are kept in fp32.
Algorithms candidates(cublasLtHandle_t handle, const Description& description, const ColumnMajorProduct& p,
                      unsigned alignment, int most) {
  cublasLtMatmulPreference_t preference = nullptr;
  check_cublas(cublasLtMatmulPreferenceCreate(&preference), p, "cublasLtMatmulPreferenceCreate");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    return cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
  };
  const uint32_t schemes = p.output == CUDA_R_32F
                               ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE
                               : CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  std::array<cublasLtMatmulHeuristicResult_t, kMaxCandidates> results;
  int found = 0;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  for (const cublasStatus_t each : {set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kMatmulWorkspace}),
                                    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes),
                                    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t{alignment}),
                                    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, uint32_t{alignment}),
                                    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, uint32_t{alignment}),
                                    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, uint32_t{alignment})}) {
    if (each != CUBLAS_STATUS_SUCCESS) status = each;
  }
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = cublasLtMatmulAlgoGetHeuristic(handle, description.operation, description.a, description.b, description.d,
                                            description.d, preference, most, results.data(), &found);
  }
  cublasLtMatmulPreferenceDestroy(preference);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
  check_cublas(status, p, "cublasLtMatmulAlgoGetHeuristic");
  Algorithms algorithms;
  for (int i = 0; i < found; ++i)
    algorithms.push_back(std::bit_cast<ProductChoice::Algorithm>(results[static_cast<size_t>(i)].algo));
  return algorithms;
}

// Microseconds of the fastest of a few runs of each, in turn; infinity where `run` returns false. The best so far is
// overtaken by a slower one only within noise, so what falls far behind is not tried again.
std::vector<double> measure(const CudaContext& ctx, const std::vector<std::function<bool()>>& ways) {
  constexpr double kNever = std::numeric_limits<double>::infinity(), kHopeless = 1.25, kSample = 400;
  constexpr int kRounds = 3, kMaxRuns = 20;
  const CudaEvent start(cudaEventDefault), end(cudaEventDefault);
  const auto sample = [&](const std::function<bool()>& run, int runs) {
    if (!run()) return kNever;  // keeps the GPU busy while the host enqueues the rest
    check_cuda(cudaEventRecord(start.handle, ctx.stream), "cudaEventRecord");
    for (int i = 0; i < runs; ++i) run();
    check_cuda(cudaEventRecord(end.handle, ctx.stream), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(end.handle), "a candidate for a matrix product");
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, start.handle, end.handle), "cudaEventElapsedTime");
    return 1000.0 * ms / runs;
  };
  std::vector<double> fastest(ways.size(), kNever);
  for (int round = 0; round < kRounds; ++round) {
    const double best = *std::min_element(fastest.begin(), fastest.end());
    for (size_t i = 0; i < ways.size(); ++i) {
      if (round > 0 && !(fastest[i] <= kHopeless * best)) continue;
      const int runs = round == 0 ? 1 : std::clamp(static_cast<int>(kSample / fastest[i]), 1, kMaxRuns);
      fastest[i] = std::min(fastest[i], sample(ways[i], runs));
    }
  }
  return fastest;
}

}  // namespace

CudaMatmul* make_cuda_matmul() { return new CudaMatmul; }
void free_cuda_matmul(CudaMatmul* matmul) { delete matmul; }

CudaMatmul::CudaMatmul() {
  if (cublasLtCreate(&handle_) != CUBLAS_STATUS_SUCCESS) throw Error("cuBLASLt cannot be initialised");
  check_cuda(cudaMalloc(&workspace_, kMatmulWorkspace), "cudaMalloc of cuBLASLt's workspace");
}
CudaMatmul::~CudaMatmul() {
  cudaFree(workspace_);
  cublasLtDestroy(handle_);
}

bool CudaMatmul::multiply(const CudaContext& ctx, const ColumnMajorProduct& p, const Work& apart) {
  const Description description(p, ctx.tf32);
  const ProductKey key = key_of(p, ctx.tf32);
  auto known = known_.find(key);
  if (unchecked_.erase(key) > 0 && !usable(handle_, description, known->second)) {
    known_.erase(known);
    known = known_.end();
  }
  if (known == known_.end() || (tuning_ && known->second.candidates == 0))
    known = known_.insert_or_assign(key, choose(ctx, p, apart)).first;
  const auto& algorithm = known->second.algorithm;
  if (!algorithm) return false;
  check_cublas(run(handle_, ctx, description, p, *algorithm, workspace_), p, "cublasLtMatmul");
  return true;
}

ProductChoice CudaMatmul::choose(const CudaContext& ctx, const ColumnMajorProduct& p, const Work& apart) {
  constexpr double kMaxSeconds = 2;  // for all products together; the rest is left to the library
  constexpr double kNearly = 1.01;   // of the fastest time: the first such candidate, so that runs mostly choose alike
  const Description description(p, ctx.tf32);
  if (!tuning_ && p.n < kFewRows) {  // the order of sums shall not depend on the number of rows
    ColumnMajorProduct more = p;
    more.n = kFewRows;
    ProductChoice choice;
    const Algorithms found = candidates(handle_, Description(more, ctx.tf32), more, key_of(p, ctx.tf32).alignment, 1);
    if (!found.empty()) choice.algorithm = found[0];
    if (choice.algorithm && usable(handle_, description, choice)) return choice;
  }
  const bool measured = tuning_ && tuned_seconds_ < kMaxSeconds;
  const Algorithms found =
      candidates(handle_, description, p, key_of(p, ctx.tf32).alignment, measured ? kMaxCandidates : 1);
  ProductChoice choice;
  if (found.empty()) return choice;
  choice.algorithm = found[0];
  choice.candidates = tuning_ ? static_cast<int>(found.size()) : 0;
  if (!measured || found.size() == 1) return choice;

  std::vector<std::function<bool()>> ways;
  for (const ProductChoice::Algorithm& each : found)
    ways.push_back([&] { return run(handle_, ctx, description, p, each, workspace_) == CUBLAS_STATUS_SUCCESS; });
  if (apart) {
    apart();  // its own products choose first
    ways.push_back([&] { return apart(), true; });
  }
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<double> times = measure(ctx, ways);
  tuned_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const double best = *std::min_element(times.begin(), times.end());
  const auto chosen = std::find_if(times.begin(), times.end(), [&](double time) { return time <= kNearly * best; });
  choice.first_us = times[0], choice.us = *chosen, choice.chosen = static_cast<int>(chosen - times.begin());
  choice.algorithm.reset();
  if (choice.chosen < choice.candidates) choice.algorithm = found[static_cast<size_t>(choice.chosen)];
  return choice;
}

ProductTable CudaMatmul::table() const {
  ProductTable table;
  int device = 0;
  cudaDeviceProp properties;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  table.gpu = properties.name;
  table.library = cublasLtGetVersion();
  for (const auto& [key, choice] : known_)
    if (choice.candidates > 0) table.choices.emplace(key, choice);
  return table;
}

bool CudaMatmul::take(const ProductTable& table) {
  const ProductTable here = this->table();
  if (table.gpu != here.gpu || table.library != here.library) return false;
  for (const auto& [key, choice] : table.choices) {
    known_.insert_or_assign(key, choice);
    unchecked_.insert(key);
  }
  return true;
}

void tune_products(const CudaContext& ctx, bool on) { ctx.matmul->tune(on); }
ProductTable product_table(const CudaContext& ctx) { return ctx.matmul->table(); }
bool take_products(const CudaContext& ctx, const ProductTable& table) { return ctx.matmul->take(table); }

}  // namespace glint
