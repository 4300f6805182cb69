// The Newton-Schulz iteration of Muon, for both backends: X (r, c), r <= c, becomes p(X X^T) X with
// p(A) = kA + kB A + kC A^2, kSteps times. The coefficients are K. Jordan's: steep at zero, not convergent.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "kernels/matmul.h"
#include "kernels/muon.h"

namespace glint {

struct NewtonSchulz {
  static constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
  static constexpr double kMinNorm = 1e-7;  // of what the matrix is divided by
  static constexpr int kSteps = 5;
};

// The arrays of `count` matrices, one behind another; tall ones are transposed. memory null: for `bytes` alone.
template <typename Scalar>
struct NewtonSchulzScratch {
  double* squares;     // partial sums of squares, a GPU's
  Scalar *x, *next;    // (r, c): X before and after a step
  Scalar* gram;        // (r, r): A = X X^T
  Scalar* polynomial;  // (r, r): A^2, then p(A)
  size_t bytes = 0;

  NewtonSchulzScratch(const MatrixSize& size, int count, int partial_sums, void* memory) {
    const auto take = [&]<typename T>(T*& array, size_t elements) {
      array = memory ? reinterpret_cast<T*>(static_cast<char*>(memory) + bytes) : nullptr;
      bytes += (static_cast<size_t>(count) * elements * sizeof(T) + 255) / 256 * 256;
    };
    const auto r = static_cast<size_t>(size.shorter());
    take(squares, static_cast<size_t>(partial_sums));
    take(x, size.elements());
    take(next, size.elements());
    take(gram, r * r);
    take(polynomial, r * r);
  }
};

// The steps on s.x. multiply(out, x, weight, shape): as linear_forward(), of all matrices. polynomial_of(P, A): P (r,
// r) holds A^2 and becomes p(A). Returns where X is, s.x or s.next.
template <typename Scalar, typename Multiply, typename Polynomial>
const Scalar* newton_schulz(const NewtonSchulzScratch<Scalar>& s, const MatrixSize& size, const Multiply& multiply,
                            const Polynomial& polynomial_of) {
  const int r = size.shorter(), c = size.longer();
  Scalar *x = s.x, *next = s.next;
  for (int step = 0; step < NewtonSchulz::kSteps; ++step) {
    multiply(s.gram, x, x, LinearShape{r, c, r, WeightLayout::out_in});                  // A = X X^T
    multiply(s.polynomial, s.gram, s.gram, LinearShape{r, r, r, WeightLayout::out_in});  // A^2: A is symmetric
    polynomial_of(s.polynomial, s.gram);
    multiply(next, s.polynomial, x, LinearShape{r, r, c, WeightLayout::in_out});  // p(A) X
    std::swap(x, next);
  }
  return x;
}

}  // namespace glint
