// The Newton-Schulz iteration of Muon, for both backends: X (r, c), r <= c, becomes p(X X^T) X with p(A) = a + b A + c
// A^2, five times. The coefficients are K. Jordan's: steep at zero, not convergent.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/matmul.h"
#include "kernels/muon.h"
#include "kernels/reduce.h"

namespace glint {

struct NewtonSchulz {
  static constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
  static constexpr double kLeastNorm = 1e-7;
  static constexpr int kSteps = 5;
};

// Memory for one matrix, which stands turned where it is tall.
template <typename Scalar>
struct NewtonSchulzScratch {
  double* squares;
  void* reduce;
  Scalar *x, *next, *gram, *polynomial;  // (r, c), (r, c), (r, r), (r, r)
  size_t bytes;

  template <typename AnyContext>
  NewtonSchulzScratch(const AnyContext& ctx, const MatrixSize& size, void* memory) {
    size_t at = 0;
    const auto take = [&](size_t count) {
      void* const begin = memory ? static_cast<char*>(memory) + at : nullptr;  // null: only the bytes are wanted
      at += (count + 255) / 256 * 256;
      return begin;
    };
    const size_t square = sizeof(Scalar) * static_cast<size_t>(size.shorter()) * static_cast<size_t>(size.shorter());
    squares = static_cast<double*>(take(sizeof(double)));
    reduce = take(reduce_scratch(ctx, size.elements()));
    x = static_cast<Scalar*>(take(sizeof(Scalar) * size.elements()));
    next = static_cast<Scalar*>(take(sizeof(Scalar) * size.elements()));
    gram = static_cast<Scalar*>(take(square));
    polynomial = static_cast<Scalar*>(take(square));
    bytes = at;
  }
};

// polynomial_of(P, A, r): P (r, r) holds A^2 and becomes p(A). Returns where X is, x or next.
template <typename Scalar, typename AnyContext, typename Polynomial>
const Scalar* newton_schulz(const AnyContext& ctx, const NewtonSchulzScratch<Scalar>& s, const MatrixSize& size,
                            const Polynomial& polynomial_of) {
  const int r = size.shorter(), c = size.longer();
  const Scalar* const no_bias = nullptr;
  const Scalar *gram = s.gram, *polynomial = s.polynomial;
  Scalar *x = s.x, *next = s.next;
  for (int step = 0; step < NewtonSchulz::kSteps; ++step) {
    const Scalar* const now = x;
    linear_forward(ctx, s.gram, now, now, no_bias, {r, c, r, WeightLayout::out_in});
    linear_forward(ctx, s.polynomial, gram, gram, no_bias, {r, r, r, WeightLayout::out_in});
    polynomial_of(s.polynomial, gram, r);
    linear_forward(ctx, next, polynomial, now, no_bias, {r, r, c, WeightLayout::in_out});
    std::swap(x, next);
  }
  return x;
}

}  // namespace glint
