// libglint_attention: scaled dot-product attention with dropout, forward and backward, for NVIDIA GPUs and for CPUs, as
// plain C functions (C99, C++).
//
//   S = scale * Q K^T (masked if causal), P = softmax(S), out = dropout(P) V
//
// The algorithm and the dropout mask are FlashAttention-2's: for the same seed and offset, FlashAttention-2 and the
// flash backend of PyTorch's scaled_dot_product_attention drop the same elements. The mask is never stored; backward
// draws it again.
//
// Usage: zero a glint_attention_arguments, set its `size` and what the call needs, ask glint_attention_workspace() for
// the size of the workspace, then call glint_attention_forward() and, with the same arguments and the gradients,
// glint_attention_backward(). Functions may be called from several threads at a time. They neither keep pointers nor
// free memory.
//
// CUDA: sm_80 and later. All pointers are to device memory. A call works on the current device and puts its kernels on
// `stream`; it neither allocates nor waits, so that a CUDA graph can capture it. Errors inside a kernel show at a later
// CUDA call. Backward adds in a fixed order: the same bits every time.
// CPU: the arrays are in host memory, and a call returns when it is done. bf16 is computed in fp32, in temporary
// memory.
#ifndef GLINT_ATTENTION_C_H
#define GLINT_ATTENTION_C_H

#include <stddef.h>
#include <stdint.h>

// The version of this interface; functions and meanings of a version stay in later ones.
#define GLINT_ATTENTION_VERSION 1

#if defined(__GNUC__)
#define GLINT_ATTENTION_API __attribute__((visibility("default")))
#else
#define GLINT_ATTENTION_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum glint_attention_status {
  GLINT_ATTENTION_OK = 0,
  GLINT_ATTENTION_INVALID = 1,      // an argument is wrong: a null pointer, a bad stride, p outside [0, 1), ...
  GLINT_ATTENTION_UNSUPPORTED = 2,  // what the library, or this build of it, does not do: a head size, CUDA, ...
  GLINT_ATTENTION_FAILED = 3        // a CUDA call failed, or memory ran out
};
enum glint_attention_device { GLINT_ATTENTION_CPU = 0, GLINT_ATTENTION_CUDA = 1 };
enum glint_attention_dtype { GLINT_ATTENTION_FP32 = 0, GLINT_ATTENTION_BF16 = 1 };

// A (batch, tokens, heads, head_size) array of the call's dtype. Strides are in elements; the channels of a head are
// contiguous. The stride of a dimension with one element is not read; others are at least head_size. Addresses are
// multiples of the element's size; of bf16 arrays on CUDA, addresses and strides are multiples of 16 bytes.
typedef struct glint_attention_array {
  void* data;
  int64_t batch_stride, token_stride, head_stride;
} glint_attention_array;

typedef struct glint_attention_arguments {
  size_t size;     // sizeof(glint_attention_arguments): later versions add members, whose zero changes nothing
  int32_t device;  // glint_attention_device
  int32_t dtype;   // glint_attention_dtype, of all arrays but lse
  int32_t batch;
  int32_t queries;    // tokens of q, for each sequence of the batch
  int32_t keys;       // tokens of k and v, at least `queries`
  int32_t heads;      // of q
  int32_t kv_heads;   // of k and v; `heads` is a multiple of it, and head h reads h / (heads / kv_heads)
  int32_t head_size;  // a multiple of 8, up to 128 on CUDA and 256 on the CPU
  int32_t causal;     // not 0: query i attends to keys j <= i + keys - queries
  int32_t threads;    // CPU: how many to use; 0: as many as OpenMP would
  float scale;        // of Q K^T, above 0; 0 stands for 1 / sqrt(head_size)
  float dropout;      // the probability p to drop an element of P, 0 <= p < 1; above 0 needs keys == queries

  // The dropout mask. A call uses the batch * heads * 32 offsets from its first one on: give the next call an offset
  // that is larger by as much. (PyTorch's generator and FlashAttention-2 count in the same units.) Sequences of a batch
  // that is split over several calls keep their masks if sequence n of the whole begins at offset + n * heads * 32.
  uint64_t seed, offset;
  // Not null: the call reads the seed here, in the memory of `device` when the kernels run, and not above; and adds the
  // offset here to the one above. So a CUDA graph draws a new mask at each replay. As PyTorch's philox_seed and
  // philox_offset: int64 tensors of one element.
  const uint64_t *seed_pointer, *offset_pointer;

  glint_attention_array q, k, v;  // (batch, queries, heads, head_size); k, v (batch, keys, kv_heads, head_size)
  glint_attention_array out;      // (batch, queries, heads, head_size): written by forward, read by backward
  // (batch, heads, queries), contiguous: the natural log-sum-exp of each row of S, before dropout. Written by forward
  // unless null, read by backward.
  float* lse;

  // Backward only: dout is the gradient of out; dq, dk, dv have the shapes of q, k, v. They are written, not added to,
  // and may not overlap the others.
  glint_attention_array dout, dq, dk, dv;

  // Memory of `device` that the call may overwrite; nothing is expected of its contents, nor kept in it for a later
  // call. Aligned to 256 bytes on CUDA, to 16 on the CPU. May be null where none is needed.
  void* workspace;
  size_t workspace_size;  // bytes

  void* stream;  // CUDA: a cudaStream_t; null is the default stream
} glint_attention_arguments;

// Bytes of workspace that each direction needs, on the current device. Reads the shape, device, dtype, dropout and
// threads of the arguments, no arrays. Either result may be null.
GLINT_ATTENTION_API int glint_attention_workspace(const glint_attention_arguments* arguments, size_t* forward,
                                                  size_t* backward);

// Each returns a glint_attention_status. A call that was refused (INVALID, UNSUPPORTED) wrote nothing.
GLINT_ATTENTION_API int glint_attention_forward(const glint_attention_arguments* arguments);
GLINT_ATTENTION_API int glint_attention_backward(const glint_attention_arguments* arguments);

// What was wrong with the calling thread's last call, in one line; empty if nothing was. Valid until its next call.
GLINT_ATTENTION_API const char* glint_attention_error(void);

// The GLINT_ATTENTION_VERSION that the library was built with.
GLINT_ATTENTION_API int glint_attention_version(void);

#ifdef __cplusplus
}
#endif

#endif
