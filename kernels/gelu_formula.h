// GELU and its derivative: one definition for SIMD vectors and for GPU threads. `Math` has the type Number and the
// functions constant, smaller, larger (the second argument if either is NaN), saturate (to [0, 1]; of a NaN anything),
// exp2 and quotient.
#pragma once

#include "kernels/philox.h"

namespace glint {

template <typename Math>
struct GeluFormula {
  using Number = typename Math::Number;

  // c[0] + c[1]*z + ... + c[5]*z^5
  GLINT_HOST_DEVICE static inline Number polynomial(Number z, float c0, float c1, float c2, float c3, float c4,
                                                    float c5) {
    return ((((z * c5 + c4) * z + c3) * z + c2) * z + c1) * z + c0;
  }

  // Phi(x) - 1/2 and gelu'(x) - 1/2 are odd: x times a rational function of x*x, fitted for the smallest relative
  // error where they are not yet +-1/2 in float (1.7e-8 up to |x| = 5.5, and 2.4e-7 up to 5.8; evaluated in float
  // both come to 1.5e-7 and 2.7e-7, absolute). Half the work of erf and exp.
  GLINT_HOST_DEVICE static inline Number erf_forward(Number x) {
    const Number z = Math::smaller(Math::constant(5.5f * 5.5f), x * x);
    const Number p =
        polynomial(z, 0.398942262f, 0.0334576778f, 0.00465140678f, 0.000164561556f, 6.30151771e-06f, 2.29321131e-08f);
    const Number q = polynomial(z, 1.0f, 0.250532359f, 0.0284154322f, 0.00186057622f, 7.21632096e-05f, 1.19905144e-06f);
    const Number normal = 0.5f + Math::quotient(x * p, q);  // Phi(x); outside the range it leaves [0, 1]
    return x * Math::saturate(normal);
  }
  GLINT_HOST_DEVICE static inline Number erf_backward(Number dout, Number x) {
    const Number inner = clamp(x, 5.8f), z = inner * inner;
    const Number p =
        polynomial(z, 0.797884762f, -0.0308292694f, 0.0142169641f, 2.24438154e-05f, 3.59084333e-05f, 1.91778796e-07f);
    const Number q = polynomial(z, 1.0f, 0.294699043f, 0.0410375185f, 0.00352667086f, 0.000193097585f, 8.91675154e-06f);
    return dout * (0.5f + Math::quotient(inner * p, q));
  }

  GLINT_HOST_DEVICE static inline Number tanh_forward(Number x) { return x * gate(x).open; }
  GLINT_HOST_DEVICE static inline Number tanh_backward(Number dout, Number x) {
    const Number inner = clamp(x, 16.0f);  // beyond it the derivative is 0 or 1, and x^3 may overflow
    const Gate g = gate(inner);
    return dout * (g.open + inner * (g.open * g.closed) * (kTwoRoot + 3.0f * kTwoRoot * kCubic * (inner * inner)));
  }

 private:
  static constexpr float kLog2E = 1.44269504f;
  static constexpr float kTwoRoot = 1.59576912f;  // 2 * sqrt(2/pi)
  static constexpr float kCubic = 0.044715f;

  struct Gate {
    Number open, closed;  // s = 1 / (1 + e), and 1 - s = e * s without cancellation
  };

  GLINT_HOST_DEVICE static inline Number clamp(Number x, float limit) {
    return Math::smaller(Math::constant(limit), Math::larger(Math::constant(-limit), x));
  }

  // (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)) with u = sqrt(2/pi) * (x + 0.044715 * x^3).
  GLINT_HOST_DEVICE static inline Gate gate(Number x) {
    const Number exponent = x * (x * x * kCubic + 1.0f) * (-kTwoRoot * kLog2E);
    const Number e = Math::exp2(Math::smaller(Math::constant(125.0f), exponent));
    const Number open = Math::quotient(Math::constant(1.0f), 1.0f + e);
    return {open, e * open};
  }
};

}  // namespace glint
