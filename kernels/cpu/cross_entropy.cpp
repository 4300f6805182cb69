#include "kernels/cross_entropy.h"

#include <cmath>
#include <limits>

#include "kernels/check.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vector_loops.h"

namespace glint {
namespace {

using simd::Floats;

constexpr float kLog2E = 1.44269504f;

// The largest of the row; a NaN there may or may not be it, and comes back by the sum.
float largest_of(const float* logits, size_t V) {
  Floats largest[4];
  for (Floats& lanes : largest) lanes = simd::broadcast(-std::numeric_limits<float>::infinity());
  size_t i = 0;
  for (; i + 4 * simd::kWidth <= V; i += 4 * simd::kWidth) {
    for (int k = 0; k < 4; ++k) largest[k] = simd::larger(simd::load(logits + i + k * simd::kWidth), largest[k]);
  }
  const Floats lanes = simd::larger(simd::larger(largest[0], largest[1]), simd::larger(largest[2], largest[3]));
  float result = lanes[0];
  for (int lane = 1; lane < simd::kWidth; ++lane) result = std::max(result, lanes[lane]);
  for (; i < V; ++i) result = std::max(result, logits[i]);
  return result;
}

inline Floats exp_shifted(Floats logits, float largest) { return simd::exp2((logits - largest) * kLog2E); }

// Sum of exp(logit - largest), by stretches of floats added up in double. If `exponentials` is not null they are
// stored there; it may be the logits.
double sum_of_exp(const float* logits, size_t V, float largest, float* exponentials) {
  constexpr size_t kStretch = 1024;
  double total = 0.0;
  for (size_t first = 0; first < V; first += kStretch) {
    const size_t n = std::min(kStretch, V - first), whole = n - n % simd::kWidth;
    const float* from = logits + first;
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
    GLINT_CHECK(targets[row] >= 0 && targets[row] < shape.V, "target ", targets[row], " of row ", row, ", V is ", shape.V);
  }
}

}  // namespace

void cross_entropy_forward(const CpuContext& ctx, float* losses, const float* logits, const int32_t* targets,
                           const CrossEntropyShape& shape) {
  check_targets(targets, shape);
  const size_t rows = static_cast<size_t>(shape.rows), V = static_cast<size_t>(shape.V);
  parallel_ranges(ctx, rows, 1, rows * V, [&](Range range) {
    for (size_t row = range.begin; row < range.end; ++row) {
      const float* z = logits + row * V;
      const float largest = largest_of(z, V);
      losses[row] = static_cast<float>(std::log(sum_of_exp(z, V, largest, nullptr)) + largest - z[targets[row]]);
    }
  });
}

void cross_entropy_forward_backward(const CpuContext& ctx, float* losses, float* logits, const int32_t* targets,
                                    float gradient_scale, const CrossEntropyShape& shape) {
  check_targets(targets, shape);
  const size_t rows = static_cast<size_t>(shape.rows), V = static_cast<size_t>(shape.V);
  parallel_ranges(ctx, rows, 1, rows * V, [&](Range range) {
    for (size_t row = range.begin; row < range.end; ++row) {
      // Three sweeps, but one over memory: a row of logits stays in the cache.
      float* z = logits + row * V;
      const float largest = largest_of(z, V), target = z[targets[row]];
      const double total = sum_of_exp(z, V, largest, z);
      losses[row] = static_cast<float>(std::log(total) + largest - target);
      const float factor = static_cast<float>(gradient_scale / total);
      simd::map(z, V, [factor](Floats value) { return value * factor; }, static_cast<const float*>(z));
      z[targets[row]] -= gradient_scale;
    }
  });
}

}  // namespace glint
