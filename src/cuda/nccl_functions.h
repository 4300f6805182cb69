// NCCL's functions that glint calls: a call loads the library.
#pragma once

#include <nccl.h>

#ifndef GLINT_SIMT  // those of the stand-in are linked

#include "kernels/cuda/dynamic_library.h"

namespace glint {

inline const DynamicLibrary& nccl_library() {
  static const DynamicLibrary library("libnccl.so." GLINT_TEXT_OF(NCCL_MAJOR), GLINT_NCCL_FOLDER,
                                      "several ranks on GPUs");
  return library;
}

}  // namespace glint

#define GLINT_NCCL(name) GLINT_LOADED(::glint::nccl_library, name)

#define ncclAllGather GLINT_NCCL(ncclAllGather)
#define ncclAllReduce GLINT_NCCL(ncclAllReduce)
#define ncclBroadcast GLINT_NCCL(ncclBroadcast)
#define ncclCommAbort GLINT_NCCL(ncclCommAbort)
#define ncclCommDestroy GLINT_NCCL(ncclCommDestroy)
#define ncclCommFinalize GLINT_NCCL(ncclCommFinalize)
#define ncclCommGetAsyncError GLINT_NCCL(ncclCommGetAsyncError)
#define ncclCommInitRankConfig GLINT_NCCL(ncclCommInitRankConfig)
#define ncclGetErrorString GLINT_NCCL(ncclGetErrorString)
#define ncclGetLastError GLINT_NCCL(ncclGetLastError)
#define ncclGetUniqueId GLINT_NCCL(ncclGetUniqueId)
#define ncclGroupEnd GLINT_NCCL(ncclGroupEnd)
#define ncclGroupStart GLINT_NCCL(ncclGroupStart)
#define ncclReduce GLINT_NCCL(ncclReduce)
#define ncclReduceScatter GLINT_NCCL(ncclReduceScatter)

#endif
