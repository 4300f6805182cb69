// cuBLASLt's functions that glint calls: a call loads the library, of the version of the header.
#pragma once

#include <cublasLt.h>

#ifndef GLINT_SIMT  // the emulator's are linked

#include "kernels/cuda/dynamic_library.h"

namespace glint {

inline const DynamicLibrary& cublaslt_library() {
  static const DynamicLibrary library("libcublasLt.so." GLINT_TEXT_OF(CUBLAS_VER_MAJOR), GLINT_CUBLASLT_FOLDER,
                                      "matrix products on GPUs");
  return library;
}

}  // namespace glint

#define GLINT_CUBLASLT(name) GLINT_LOADED(::glint::cublaslt_library, name)

#define cublasLtCreate GLINT_CUBLASLT(cublasLtCreate)
#define cublasLtDestroy GLINT_CUBLASLT(cublasLtDestroy)
#define cublasLtGetStatusString GLINT_CUBLASLT(cublasLtGetStatusString)
#define cublasLtGetVersion GLINT_CUBLASLT(cublasLtGetVersion)
#define cublasLtMatmul GLINT_CUBLASLT(cublasLtMatmul)
#define cublasLtMatmulAlgoCheck GLINT_CUBLASLT(cublasLtMatmulAlgoCheck)
#define cublasLtMatmulAlgoGetHeuristic GLINT_CUBLASLT(cublasLtMatmulAlgoGetHeuristic)
#define cublasLtMatmulDescCreate GLINT_CUBLASLT(cublasLtMatmulDescCreate)
#define cublasLtMatmulDescDestroy GLINT_CUBLASLT(cublasLtMatmulDescDestroy)
#define cublasLtMatmulDescSetAttribute GLINT_CUBLASLT(cublasLtMatmulDescSetAttribute)
#define cublasLtMatmulPreferenceCreate GLINT_CUBLASLT(cublasLtMatmulPreferenceCreate)
#define cublasLtMatmulPreferenceDestroy GLINT_CUBLASLT(cublasLtMatmulPreferenceDestroy)
#define cublasLtMatmulPreferenceSetAttribute GLINT_CUBLASLT(cublasLtMatmulPreferenceSetAttribute)
#define cublasLtMatrixLayoutCreate GLINT_CUBLASLT(cublasLtMatrixLayoutCreate)
#define cublasLtMatrixLayoutDestroy GLINT_CUBLASLT(cublasLtMatrixLayoutDestroy)
#define cublasLtMatrixLayoutSetAttribute GLINT_CUBLASLT(cublasLtMatrixLayoutSetAttribute)

#endif
