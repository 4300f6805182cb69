// The Newton-Schulz iteration of Muon, for both backends: X (r, c), r <= c, becomes p(X X^T) X with
// p(A) = kA + kB A + kC A^2, kSteps times. The coefficients are K. Jordan's: steep at zero, not convergent.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "kernels/matmul.h"
#include "kernels/muon.h"
#include "kernels/reduce.h"

namespace glint {

struct NewtonSchulz {
  static constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
  static constexpr double kMinNorm = 1e-7;  // of what the matrix is divided by
  static constexpr int kSteps = 5;
};

// The arrays of one matrix; a tall one is transposed. memory null: for `bytes` alone.
template <typename Scalar>
struct NewtonSchulzScratch {
  double* squares;     // the sum of squares of the matrix
  void* reduce;        // scratch of sum_of_squares()
  Scalar *x, *next;    // (r, c): X before and after a step
  Scalar* gram;        // (r, r): A = X X^T
  Scalar* polynomial;  // (r, r): A^2, then p(A)
  size_t bytes;

  template <typename AnyContext>
  NewtonSchulzScratch(const AnyContext& ctx, const MatrixSize& size, void* memory) {
    size_t at = 0;
    const auto take = [&](size_t count) {
      void* const begin = memory ? static_cast<char*>(memory) + at : nullptr;
      at += (count + 255) / 256 * 256;
      return begin;
    };
    const auto r = static_cast<size_t>(size.shorter());
    squares = static_cast<double*>(take(sizeof(double)));
    reduce = take(reduce_scratch(ctx, size.elements()));
    x = static_cast<Scalar*>(take(sizeof(Scalar) * size.elements()));
    next = static_cast<Scalar*>(take(sizeof(Scalar) * size.elements()));
    gram = static_cast<Scalar*>(take(sizeof(Scalar) * r * r));
    polynomial = static_cast<Scalar*>(take(sizeof(Scalar) * r * r));
    bytes = at;
  }
};

// The steps on s.x. polynomial_of(P, A, r): P (r, r) holds A^2 and becomes p(A). Returns where X is, s.x or s.next.
template <typename Scalar, typename AnyContext, typename Polynomial>
const Scalar* newton_schulz(const AnyContext& ctx, const NewtonSchulzScratch<Scalar>& s, const MatrixSize& size,
                            const Polynomial& polynomial_of) {
  const int r = size.shorter(), c = size.longer();
  const Scalar* const no_bias = nullptr;
  Scalar *x = s.x, *next = s.next;
  for (int step = 0; step < NewtonSchulz::kSteps; ++step) {
    linear_forward(ctx, s.gram, x, x, no_bias, {r, c, r, WeightLayout::out_in});                  // A = X X^T
    linear_forward(ctx, s.polynomial, s.gram, s.gram, no_bias, {r, r, r, WeightLayout::out_in});  // A^2: A is symmetric
    polynomial_of(s.polynomial, s.gram, r);
    linear_forward(ctx, next, s.polynomial, x, no_bias, {r, r, c, WeightLayout::in_out});  // p(A) X
    std::swap(x, next);
  }
  return x;
}

}  // namespace glint
