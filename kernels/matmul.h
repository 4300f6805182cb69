// Matrix products of a GPT's linear layers, all row-major. The engine (oneDNN or Eigen) is ctx.matmul.
#pragma once

#include <cstddef>

#include "kernels/bf16.h"
#include "kernels/context.h"

namespace glint {

// Layout of a weight matrix: (in, out) as in Hugging Face's GPT-2 (Conv1D), fastest in forward; (out, in) as in Llama,
// and for the head tied to the token embedding (V, C).
enum class WeightLayout { in_out, out_in };

struct LinearShape {
  int rows;  // B*T
  int in;
  int out;
  WeightLayout layout = WeightLayout::in_out;
};
// FLOPs of forward; backward needs twice as many.
inline double flops_of(const LinearShape& s) { return 2.0 * s.rows * s.in * s.out; }

// Whether a gradient is written or added to.
enum class Write { set, add };

// Up to so many rows, as in generation, a row of linear_forward() gives the same bits alone and among others: in fp32
// on a CPU; on a GPU, where all of them take cuBLASLt's algorithm for kFewRows (if it can do fewer), in bf16, as seen
// on an H100, but not in fp32.
inline constexpr int kFewRows = 16;

// out (rows, out) = x (rows, in) W + bias; bias (out) may be null.
void linear_forward(const CpuContext& ctx, float* out, const float* x, const float* weight, const float* bias,
                    const LinearShape& shape);

// dx (rows, in) = dout (rows, out) W^T, or +=.
void linear_backward_input(const CpuContext& ctx, float* dx, const float* dout, const float* weight,
                           const LinearShape& shape, Write write);

// Scratch of linear_backward_weight with a bias, in floats.
size_t linear_backward_weight_scratch(const CpuContext& ctx, const LinearShape& shape);

// dweight (laid out as the weight) = x^T dout, dbias (out; may be null) = column sums of dout; or +=.
void linear_backward_weight(const CpuContext& ctx, float* dweight, float* dbias, const float* x, const float* dout,
                            float* scratch, const LinearShape& shape, Write write);

// The same in bf16 on the CPU: products and sums in fp32, rounded where a bf16 array is written.
void linear_forward(const CpuContext& ctx, Bf16* out, const Bf16* x, const Bf16* weight, const Bf16* bias,
                    const LinearShape& shape);
void linear_backward_input(const CpuContext& ctx, Bf16* dx, const Bf16* dout, const Bf16* weight,
                           const LinearShape& shape, Write write);
void linear_backward_weight(const CpuContext& ctx, float* dweight, float* dbias, const Bf16* x, const Bf16* dout,
                            float* scratch, const LinearShape& shape, Write write);

// The same on an NVIDIA GPU, by cuBLASLt; in builds with CUDA only. Scalar: float or Bf16, products accumulate in fp32;
// the gradients of parameters are fp32. ctx.matmul holds the library's state.
template <typename Scalar>
void linear_forward(const CudaContext& ctx, Scalar* out, const Scalar* x, const Scalar* weight, const Scalar* bias,
                    const LinearShape& shape);
template <typename Scalar>
void linear_backward_input(const CudaContext& ctx, Scalar* dx, const Scalar* dout, const Scalar* weight,
                           const LinearShape& shape, Write write);
size_t linear_backward_weight_scratch(const CudaContext& ctx, const LinearShape& shape);
template <typename Scalar>
void linear_backward_weight(const CudaContext& ctx, float* dweight, float* dbias, const Scalar* x, const Scalar* dout,
                            float* scratch, const LinearShape& shape, Write write);

}  // namespace glint
