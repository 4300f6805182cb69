// Reductions in a fixed order: blocks of kReduceBlock elements, for any thread count or GPU. A NaN or infinity
// in the input shows in every sum.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bf16.h"
#include "kernels/context.h"
#include "kernels/matmul.h"

namespace glint {

inline constexpr size_t kReduceBlock = 16384;

// Sum of x and of x*x, accumulated in double.
double sum(const CpuContext& ctx, const float* x, size_t n);
double sum_of_squares(const CpuContext& ctx, const float* x, size_t n);

// The same with the result in device memory, for other kernels.
size_t reduce_scratch(const CpuContext& ctx, size_t n);  // in bytes
void sum(const CpuContext& ctx, double* result, const float* x, size_t n, void* scratch);
void sum_of_squares(const CpuContext& ctx, double* result, const float* x, size_t n, void* scratch);
void sum(const CpuContext& ctx, double* result, const double* x, size_t n);  // for small n: one block

// Index of the first NaN or infinity, or n. Scalar: float, Bf16.
template <typename Scalar>
size_t first_not_finite(const CpuContext& ctx, const Scalar* x, size_t n);

// sums (columns) = or += sum over the rows of x (rows, columns): a bias's gradient. Scalar: float, Bf16; CPU: in
// double.
size_t column_sums_scratch(const CpuContext& ctx, int rows, int columns);  // in floats
template <typename Scalar>
void column_sums(const CpuContext& ctx, float* sums, const Scalar* x, int rows, int columns, float* scratch,
                 Write write);

// The same on an NVIDIA GPU, results in device memory.
size_t reduce_scratch(const CudaContext& ctx, size_t n);  // in bytes, for sum and sum_of_squares
void sum(const CudaContext& ctx, double* result, const float* x, size_t n, void* scratch);
void sum_of_squares(const CudaContext& ctx, double* result, const float* x, size_t n, void* scratch);
void sum(const CudaContext& ctx, double* result, const double* x, size_t n);
template <typename Scalar>
void first_not_finite(const CudaContext& ctx, uint64_t* result, const Scalar* x, size_t n);

size_t column_sums_scratch(const CudaContext& ctx, int rows, int columns);  // in floats
template <typename Scalar>
void column_sums(const CudaContext& ctx, float* sums, const Scalar* x, int rows, int columns, float* scratch,
                 Write write);

}  // namespace glint
