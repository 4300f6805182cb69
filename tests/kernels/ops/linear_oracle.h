// Linear layers written plainly, and the contexts that compute them.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "kernels/matmul.h"
#include "tests/kernels/guarded.h"
#ifdef GLINT_TEST_CUDA
#include "kernels/cuda/matmul.h"
#endif

namespace glint::test {

// On the CPU every engine and thread count; on a GPU cuBLASLt, for which the emulator has a stand-in.
template <typename Check>
void for_each_matmul_context(const Check& check) {
#ifdef GLINT_TEST_CUDA
  const std::unique_ptr<CudaMatmul, void (*)(CudaMatmul*)> state{make_cuda_matmul(), free_cuda_matmul};
  check(CudaContext{nullptr, state.get()});
#else
  for (const MatmulEngine engine : {MatmulEngine::eigen, default_matmul_engine()}) {
    INFO("engine ", static_cast<int>(engine));
    for_each_context([&](CpuContext ctx) {
      ctx.matmul = engine;
      check(ctx);
    });
  }
#endif
}

template <typename Real>
struct LinearGradients {
  std::vector<Real> dx, dweight, dbias;
};

struct LinearProblem {
  LinearShape shape;
  std::vector<float> x, weight, bias, dout;  // (rows, in), (in, out) or (out, in), (out), (rows, out)

  // Values that Scalar has.
  template <typename Scalar>
  static LinearProblem of(RandomInputs& inputs, const LinearShape& s) {
    LinearProblem p{s, {}, {}, {}, {}};
    p.x = rounded<Scalar>(inputs.normal(p.rows() * p.in()));
    p.weight = rounded<Scalar>(inputs.normal(p.in() * p.out()));
    p.bias = rounded<Scalar>(inputs.normal(p.out()));
    p.dout = rounded<Scalar>(inputs.normal(p.rows() * p.out()));
    return p;
  }
  size_t rows() const { return static_cast<size_t>(shape.rows); }
  size_t in() const { return static_cast<size_t>(shape.in); }
  size_t out() const { return static_cast<size_t>(shape.out); }
  size_t at(size_t i, size_t o) const { return shape.layout == WeightLayout::in_out ? i * out() + o : o * in() + i; }

  // Every factor squared: the products are then sums of the squares of the terms.
  LinearProblem squared() const {
    LinearProblem p = *this;
    for (auto* values : {&p.x, &p.weight, &p.bias, &p.dout})
      for (float& value : *values) value *= value;
    return p;
  }

  // b may be empty.
  template <typename Real>
  std::vector<Real> forward(const std::vector<Real>& a, const std::vector<Real>& w, const std::vector<Real>& b) const {
    std::vector<Real> result;
    const size_t step = at(1, 0);
    for (size_t r = 0; r < rows(); ++r)
      for (size_t o = 0; o < out(); ++o) {
        Real total = b.empty() ? Real(0) : b[o];
        const Real *row = &a[r * in()], *column = &w[at(0, o)];
        for (size_t i = 0; i < in(); ++i) total += row[i] * column[i * step];
        result.push_back(total);
      }
    return result;
  }
  template <typename Real>
  std::vector<Real> forward(bool with_bias) const {
    return forward(convert<Real>(x), convert<Real>(weight), convert<Real>(with_bias ? bias : std::vector<float>()));
  }
  // Added to what the gradients hold: `start`.
  template <typename Real>
  LinearGradients<Real> backward(Real start) const {
    LinearGradients<Real> g{std::vector<Real>(x.size(), start), std::vector<Real>(weight.size(), start),
                            std::vector<Real>(out(), start)};
    const std::vector<Real> w = convert<Real>(weight), a = convert<Real>(x);
    const size_t step = at(1, 0);
    for (size_t r = 0; r < rows(); ++r)
      for (size_t o = 0; o < out(); ++o) {
        const Real d = dout[r * out() + o], *row = &a[r * in()], *column = &w[at(0, o)];
        Real *dx = &g.dx[r * in()], *dcolumn = &g.dweight[at(0, o)];
        g.dbias[o] += d;
        for (size_t i = 0; i < in(); ++i) {
          dx[i] += d * column[i * step];
          dcolumn[i * step] += d * row[i];
        }
      }
    return g;
  }
};

// The size of what was added up.
inline double terms_of(const std::vector<double>& squares) { return std::sqrt(largest(squares)); }

}  // namespace glint::test
