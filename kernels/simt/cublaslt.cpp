// cuBLASLt on the emulated device: products from their definition.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/simt/bf16.h"
#include "kernels/simt/cuda_headers/cublasLt.h"
#include "kernels/simt/device_memory.h"
#include "kernels/simt/runtime.h"
#include "kernels/simt/simt.h"
#include "kernels/simt/streams.h"

struct EmulatedBlas {};
struct EmulatedPreference {};
struct EmulatedLayout {
  cudaDataType_t type;
  int64_t rows, columns, leading;
  int32_t count = 1;
  int64_t stride = 0;  // in elements
};
struct EmulatedProduct {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  void *bias = nullptr, *aux = nullptr;
  int64_t aux_leading = 0;
};

namespace {

float load(const void* data, cudaDataType_t type, int64_t i) {
  if (type == CUDA_R_32F) return static_cast<const float*>(data)[i];
  uint16_t bits;
  std::memcpy(&bits, static_cast<const char*>(data) + 2 * i, 2);
  return std::bit_cast<float>(uint32_t{bits} << 16);
}
void store(void* data, cudaDataType_t type, int64_t i, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(data)[i] = value;
    return;
  }
  const uint16_t bits = __float2bfloat16_rn(value).bits;
  std::memcpy(static_cast<char*>(data) + 2 * i, &bits, 2);
}

constexpr float kRoot = 0.7978845608028654f, kCubic = 0.044715f;  // sqrt(2/pi): GPT-2's approximation of GELU
float gelu(float x) { return 0.5f * x * (1.0f + std::tanh(kRoot * (x + kCubic * x * x * x))); }
float gelu_gradient(float x) {
  const float t = std::tanh(kRoot * (x + kCubic * x * x * x));
  return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * kRoot * (1.0f + 3.0f * kCubic * x * x);
}

struct Call {
  EmulatedProduct operation;
  EmulatedLayout a_layout, b_layout, d_layout;
  const void *a, *b, *c;
  void* d;
  float alpha, beta;
  int algorithm;  // splits k in that many parts and one

  void run() const {
    for (int64_t i = 0; i < d_layout.count; ++i) {
      Call one = *this;
      one.a = moved(a, a_layout, i), one.b = moved(b, b_layout, i), one.c = moved(c, d_layout, i);
      one.d = const_cast<void*>(moved(d, d_layout, i));
      one.compute();
    }
    simt::claimed += claim();
  }
  static const void* moved(const void* data, const EmulatedLayout& layout, int64_t i) {
    return static_cast<const char*>(data) + i * layout.stride * (layout.type == CUDA_R_32F ? 4 : 2);
  }
  std::chrono::seconds claim() const {
    if (simt::device.algorithms == 1) return {};
    const bool plain = operation.epilogue == CUBLASLT_EPILOGUE_DEFAULT || operation.epilogue == CUBLASLT_EPILOGUE_BIAS;
    const int seconds = 100 + 1000 * std::abs(algorithm - simt::device.fastest);
    return std::chrono::seconds(plain ? seconds : simt::device.slow_epilogues ? seconds + 50 : seconds - 50);
  }
  void compute() const {
    const int64_t m = d_layout.rows, n = d_layout.columns,
                  k = operation.a == CUBLAS_OP_N ? a_layout.columns : a_layout.rows;
    const auto element = [&](const void* data, const EmulatedLayout& layout, bool turned, int64_t i, int64_t j) {
      return load(data, layout.type, turned ? j + i * layout.leading : i + j * layout.leading);
    };
    std::vector<float> left(static_cast<size_t>(m * k));  // rows of op(a), read once
    for (int64_t i = 0; i < m; ++i)
      for (int64_t l = 0; l < k; ++l)
        left[static_cast<size_t>(i * k + l)] = element(a, a_layout, operation.a == CUBLAS_OP_T, i, l);
    std::vector<float> right(static_cast<size_t>(k));
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t l = 0; l < k; ++l)
        right[static_cast<size_t>(l)] = element(b, b_layout, operation.b == CUBLAS_OP_T, l, j);
      for (int64_t i = 0; i < m; ++i) {
        float sum = 0.0f;
        for (int part = 0; part <= algorithm; ++part) {
          float partial = 0.0f;
          for (int64_t l = k * part / (algorithm + 1); l < k * (part + 1) / (algorithm + 1); ++l)
            partial = std::fma(left[static_cast<size_t>(i * k + l)], right[static_cast<size_t>(l)], partial);
          sum += partial;
        }
        const int64_t place = i + j * d_layout.leading;
        float value = alpha * sum + (beta == 0.0f ? 0.0f : beta * load(c, d_layout.type, place));
        if (operation.epilogue == CUBLASLT_EPILOGUE_BIAS || operation.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
          value += load(operation.bias, d_layout.type, i);
        const int64_t aux_place = i + j * operation.aux_leading;
        if (operation.epilogue == CUBLASLT_EPILOGUE_GELU_AUX || operation.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS) {
          store(operation.aux, d_layout.type, aux_place, value);
          value = gelu(value);
        } else if (operation.epilogue == CUBLASLT_EPILOGUE_DGELU) {
          value *= gelu_gradient(load(operation.aux, d_layout.type, aux_place));
        }
        store(d, d_layout.type, place, value);
      }
    }
    if (operation.epilogue != CUBLASLT_EPILOGUE_BGRADA) return;
    for (int64_t i = 0; i < m; ++i) {
      float gradient = 0.0f;
      for (int64_t l = 0; l < k; ++l) gradient += left[static_cast<size_t>(i * k + l)];
      store(operation.bias, d_layout.type, i, gradient);
    }
  }
};

template <typename Value>
cublasStatus_t take(Value& to, const void* value, size_t bytes) {
  if (bytes != sizeof(Value)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

bool fit(const EmulatedProduct& operation, const EmulatedLayout& a, const EmulatedLayout& b, const EmulatedLayout& d) {
  const bool turn_a = operation.a == CUBLAS_OP_T, turn_b = operation.b == CUBLAS_OP_T;
  const int64_t m = turn_a ? a.columns : a.rows, k = turn_a ? a.rows : a.columns, n = turn_b ? b.rows : b.columns;
  if (a.count != d.count || b.count != d.count) return false;
  if (d.count > 1 && operation.epilogue != CUBLASLT_EPILOGUE_DEFAULT) return false;
  return m == d.rows && n == d.columns && k == (turn_b ? b.columns : b.rows) && a.type == b.type &&
         a.leading >= a.rows && b.leading >= b.rows && d.leading >= d.rows;
}

constexpr uint64_t kChosen = 0x676c696e74;  // marks an algorithm that the heuristics returned; then comes its number

bool exists(const cublasLtMatmulAlgo_t& algo) {
  return algo.data[0] == kChosen && algo.data[1] < static_cast<uint64_t>(simt::device.algorithms);
}

}  // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS         ? "CUBLAS_STATUS_SUCCESS"
         : status == CUBLAS_STATUS_INVALID_VALUE ? "CUBLAS_STATUS_INVALID_VALUE"
                                                 : "CUBLAS_STATUS_NOT_SUPPORTED";
}
size_t cublasLtGetVersion() { return 130000; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new EmulatedBlas;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t, cudaDataType_t) {
  *made = new EmulatedProduct;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete description;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return take(d->a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return take(d->b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return take(d->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return take(d->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
      return take(d->aux, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
      return take(d->aux_leading, value, bytes);
  }
  return CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
  *made = new EmulatedLayout{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), leading};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  return attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? take(layout->count, value, bytes)
                                                         : take(layout->stride, value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
  *made = new EmulatedPreference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void*,
                                                    size_t bytes) {
  return bytes == (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8u : 4u) ? CUBLAS_STATUS_SUCCESS
                                                                                    : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  if (wanted < 1 || !fit(*operation, *a, *b, *d)) return CUBLAS_STATUS_INVALID_VALUE;
  *found = 0;
  if (simt::device.plain_products && operation->epilogue != CUBLASLT_EPILOGUE_DEFAULT &&
      operation->epilogue != CUBLASLT_EPILOGUE_BIAS)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  for (; *found < std::min(wanted, simt::device.algorithms); ++*found)
    results[*found] = {{{kChosen, static_cast<uint64_t>(*found)}}, 0};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algo, cublasLtMatmulHeuristicResult_t* result) {
  if (!exists(*algo) || !fit(*operation, *a, *b, *d)) return CUBLAS_STATUS_NOT_SUPPORTED;
  *result = {*algo, 0};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo, void* workspace,
                              size_t, cudaStream_t stream) {
  if (!algo || !exists(*algo) || c != d || c_layout->type != d_layout->type) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (!fit(*operation, *a_layout, *b_layout, *d_layout)) return CUBLAS_STATUS_INVALID_VALUE;
  for (const void* pointer : {a, b, const_cast<const void*>(d), const_cast<const void*>(workspace)})
    if (!simt::is_device(pointer)) throw simt::Error("cublasLtMatmul is given memory that is not the device's");
  const Call call{*operation,
                  *a_layout,
                  *b_layout,
                  *d_layout,
                  a,
                  b,
                  c,
                  d,
                  *static_cast<const float*>(alpha),
                  *static_cast<const float*>(beta),
                  static_cast<int>(algo->data[1])};
  simt::enqueue(stream, [call] { call.run(); });
  return CUBLAS_STATUS_SUCCESS;
}
