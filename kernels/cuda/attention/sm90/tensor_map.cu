#include "kernels/cuda/attention/sm90/tensor_map.h"

#include <type_traits>

namespace glint::attention::sm90 {
namespace {

using EncodeTiled = std::add_pointer_t<decltype(cuTensorMapEncodeTiled)>;

// A function of the driver's library, which the program does not link: it also starts where there is no driver.
EncodeTiled encode_tiled() {
#ifdef __CUDACC__
  static const EncodeTiled function = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t error = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &found, cudaEnableDefault, &result);
#endif
    GLINT_CHECK(error == cudaSuccess && found, "the NVIDIA driver has no cuTensorMapEncodeTiled: CUDA 12 is needed");
    return reinterpret_cast<EncodeTiled>(found);
  }();
  return function;
#else
  return cuTensorMapEncodeTiled;
#endif
}

}  // namespace

CUtensorMap make_tensor_map(const HeadView<const Bf16>& view, int B, int T, int heads, int HS, int rows) {
  const auto bytes = [](int64_t elements) { return static_cast<cuuint64_t>(elements) * sizeof(Bf16); };
  const auto size = [](int n) { return static_cast<cuuint64_t>(n); };
  const cuuint64_t sizes[4] = {size(HS), size(heads), size(T), size(B)};
  const cuuint64_t strides[3] = {bytes(view.head_stride), bytes(view.token_stride), bytes(view.batch_stride)};
  const cuuint32_t box[4] = {64, 1, static_cast<cuuint32_t>(rows), 1}, step[4] = {1, 1, 1, 1};
  alignas(64) CUtensorMap map;
  const CUresult result = encode_tiled()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<Bf16*>(view.data), sizes,
                                         strides, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                         CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  GLINT_CHECK(result == CUDA_SUCCESS, "no tensor map for B ", B, ", T ", T, ", heads ", heads, ", HS ", HS,
              " (strides ", view.batch_stride, ", ", view.token_stride, ", ", view.head_stride, "): driver error ",
              static_cast<int>(result));
  return map;
}

}  // namespace glint::attention::sm90
