#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats;

constexpr float kLog2E = 1.44269504f;

// The maximum of the row. May ignore a NaN, which then shows in the sum.
template <typename Scalar>
float largest_of(const Scalar* logits, size_t V) {
  Floats largest[4];
  for (Floats& lanes : largest) lanes = simd::broadcast(-std::numeric_limits<float>::infinity());
  size_t i = 0;
  for (; i + 4 * simd::kWidth <= V; i += 4 * simd::kWidth) {
    for (int k = 0; k < 4; ++k) largest[k] = simd::larger(simd::load(logits + i + k * simd::kWidth), largest[k]);
  }
  const Floats lanes = simd::larger(simd::larger(largest[0], largest[1]), simd::larger(largest[2], largest[3]));
  float result = lanes[0];
  for (int lane = 1; lane < simd::kWidth; ++lane) result = std::max(result, lanes[lane]);
  for (; i < V; ++i) result = std::max(result, to_float(logits[i]));
  return result;
}

inline Floats exp_shifted(Floats logits, float largest) { return simd::exp2((logits - largest) * kLog2E); }

// Sum of exp(logit - largest): float sums of blocks, added in double. If `exponentials` is not null they are stored
// there; it may be the logits.
template <typename Scalar>
double sum_of_exp(const Scalar* logits, size_t V, float largest, float* exponentials) {
  constexpr size_t kBlock = 1024;
  double total = 0.0;
  for (size_t first = 0; first < V; first += kBlock) {
    const size_t n = std::min(kBlock, V - first), whole = n - n % simd::kWidth;
    const Scalar* from = logits + first;
    Floats sums[2] = {};
    for (size_t i = 0; i < whole; i += simd::kWidth) {
      const Floats value = exp_shifted(simd::load(from + i), largest);
      if (exponentials) simd::store(exponentials + first + i, value);
      sums[i / simd::kWidth % 2] += value;
    }
    if (const size_t left = n - whole) {
      const Floats value = exp_shifted(simd::load_first(from + whole, left), largest);
      if (exponentials) simd::store_first(exponentials + first + whole, value, left);
      for (size_t lane = 0; lane < left; ++lane) total += static_cast<double>(value[lane]);
    }
    total += static_cast<double>(simd::sum(sums[0] + sums[1]));
  }
  return total;
}

void check_targets(const int32_t* targets, const CrossEntropyShape& shape) {
  for (int row = 0; row < shape.rows; ++row) {
    GLINT_CHECK(targets[row] >= 0 && targets[row] < shape.V, "target ", targets[row], " of row ", row, ", V is ",
                shape.V);
  }
}

// logits := exp(logits - largest) * factor, less gradient_scale at the target. fp32: the array already holds the
// exponentials.
void write_gradient(float* z, size_t V, float, float factor, int32_t target, float gradient_scale) {
  simd::map(
      z, V, [factor](Floats value) { return value * factor; }, z);
  z[target] -= gradient_scale;
}
// bf16 would round them, so they are recomputed.
void write_gradient(Bf16* z, size_t V, float largest, float factor, int32_t target, float gradient_scale) {
  const auto probability = [=](Floats logits) { return exp_shifted(logits, largest) * factor; };
  const Floats at_target = probability(simd::load_first(z + target, 1)) - gradient_scale;
  simd::map(z, V, probability, z);
  simd::store_first(z + target, at_target, 1);
}

float* place_for_exponentials(float* logits) { return logits; }
float* place_for_exponentials(Bf16*) { return nullptr; }

}  // namespace

template <typename Scalar>
void cross_entropy_forward(const CpuContext& ctx, float* losses, const Scalar* logits, const int32_t* targets,
                           const CrossEntropyShape& shape) {
  check_targets(targets, shape);
  const auto rows = static_cast<size_t>(shape.rows), V = static_cast<size_t>(shape.V),
             columns = static_cast<size_t>(shape.columns);
  parallel_ranges(ctx, rows, 1, rows * V, [&](Range range) {
    for (size_t row = range.begin; row < range.end; ++row) {
      const Scalar* z = logits + row * columns;
      const float largest = largest_of(z, V), target = to_float(z[targets[row]]);
      losses[row] = static_cast<float>(std::log(sum_of_exp(z, V, largest, nullptr)) + largest - target);
    }
  });
}

template <typename Scalar>
void cross_entropy_forward_backward(const CpuContext& ctx, float* losses, Scalar* logits, const int32_t* targets,
                                    float gradient_scale, const CrossEntropyShape& shape) {
  check_targets(targets, shape);
  const auto rows = static_cast<size_t>(shape.rows), V = static_cast<size_t>(shape.V),
             columns = static_cast<size_t>(shape.columns);
  parallel_ranges(ctx, rows, 1, rows * V, [&](Range range) {
    for (size_t row = range.begin; row < range.end; ++row) {
      // Three passes, but only one over memory: a row of logits stays in the cache.
      Scalar* z = logits + row * columns;
      const float largest = largest_of(z, V), target = to_float(z[targets[row]]);
      const double total = sum_of_exp(z, V, largest, place_for_exponentials(z));
      losses[row] = static_cast<float>(std::log(total) + largest - target);
      write_gradient(z, V, largest, static_cast<float>(gradient_scale / total), targets[row], gradient_scale);
      std::fill(z + V, z + columns, Scalar{});
    }
  });
}

template void cross_entropy_forward(const CpuContext&, float*, const float*, const int32_t*, const CrossEntropyShape&);
template void cross_entropy_forward(const CpuContext&, float*, const Bf16*, const int32_t*, const CrossEntropyShape&);
template void cross_entropy_forward_backward(const CpuContext&, float*, float*, const int32_t*, float,
                                             const CrossEntropyShape&);
template void cross_entropy_forward_backward(const CpuContext&, float*, Bf16*, const int32_t*, float,
                                             const CrossEntropyShape&);

}  // namespace glint
