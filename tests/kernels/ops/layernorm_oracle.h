// Layer norm written plainly, and a problem for it.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/layernorm.h"
#include "tests/kernels/guarded.h"

namespace glint::test {

template <typename Real>
struct PlainLayerNorm {
  std::vector<Real> out, mean, rstd;     // (rows, C), (rows), (rows)
  std::vector<Real> dx, dweight, dbias;  // (rows, C), (C), (C)

  PlainLayerNorm(const std::vector<Real>& x, const std::vector<Real>& weight, const std::vector<Real>& bias,
                 const std::vector<Real>& dout, const LayerNormShape& shape, bool rms = false)
      : out(x.size()), dx(x.size()), dweight(weight.size()), dbias(weight.size()) {
    const size_t C = static_cast<size_t>(shape.C);
    for (size_t at = 0; at < x.size(); at += C) {
      Real m = 0, variance = 0, mean_w = 0, mean_wn = 0;
      for (size_t c = 0; c < C && !rms; ++c) m += x[at + c] / Real(C);
      for (size_t c = 0; c < C; ++c) variance += (x[at + c] - m) * (x[at + c] - m) / Real(C);
      const Real r = 1 / std::sqrt(variance + Real(shape.eps));
      const auto normal = [&](size_t c) { return (x[at + c] - m) * r; };
      for (size_t c = 0; c < C; ++c) {
        out[at + c] = normal(c) * weight[c] + bias[c];
        dweight[c] += dout[at + c] * normal(c);
        dbias[c] += dout[at + c];
        mean_w += dout[at + c] * weight[c] / Real(C);
        mean_wn += dout[at + c] * weight[c] * normal(c) / Real(C);
      }
      for (size_t c = 0; c < C; ++c)
        dx[at + c] = r * (dout[at + c] * weight[c] - (rms ? 0 : mean_w) - normal(c) * mean_wn);
      mean.push_back(m);
      rstd.push_back(r);
    }
  }
};

struct LayerNormProblem {
  LayerNormShape shape;
  std::vector<float> x, weight, bias, dout;
  bool rms;  // RMSNorm: the kernels get no array of means

  LayerNormProblem(RandomInputs& inputs, int rows, int C, bool without_mean = false)
      : shape{rows, C}, rms(without_mean) {
    const size_t width = static_cast<size_t>(C), n = static_cast<size_t>(rows) * width;
    x = inputs.normal(n, 3.0f);
    for (float& value : x) value += 1.5f;  // a mean to subtract
    weight = inputs.normal(width);
    bias = inputs.normal(width);
    dout = inputs.normal(n);
  }
  template <typename Real>
  PlainLayerNorm<Real> plain(bool with_bias = true) const {
    const std::vector<float> no_bias(bias.size());
    return {convert<Real>(x),
            convert<Real>(weight),
            convert<Real>(with_bias ? bias : no_bias),
            convert<Real>(dout),
            shape,
            rms};
  }
};

// What layer norm gives beside its gradient with respect to x; the kernels fused with it give the same.
struct LayerNormResults {
  std::vector<float> out, mean, rstd, dweight, dbias;
  LayerNormResults(const LayerNormProblem& p, const Guarded<float>& means, std::vector<float> normed,
                   std::vector<float> inverse, std::vector<float> dw, std::vector<float> db)
      : out(std::move(normed)),
        mean(p.rms ? std::vector<float>(inverse.size()) : means.values()),
        rstd(std::move(inverse)),
        dweight(std::move(dw)),
        dbias(std::move(db)) {}
  bool operator==(const LayerNormResults& o) const {
    return same_bits(out, o.out) && same_bits(mean, o.mean) && same_bits(rstd, o.rstd) &&
           same_bits(dweight, o.dweight) && same_bits(dbias, o.dbias);
  }
};

template <typename Scalar>
void check_layernorm(const LayerNormResults& got, const PlainLayerNorm<float>& plain,
                     const PlainLayerNorm<double>& exact) {
  check_as_good_in<Scalar>("out", got.out, plain.out, exact.out);
  check_as_good("mean", got.mean, plain.mean, exact.mean);
  check_as_good("rstd", got.rstd, plain.rstd, exact.rstd);
  // A running sum of n random terms is off by about n/4 units in the end.
  const double terms = static_cast<double>(got.mean.size()) / 4.0;
  check_as_good("dweight", got.dweight, plain.dweight, exact.dweight, terms);
  check_as_good("dbias", got.dbias, plain.dbias, exact.dbias, terms);
}

}  // namespace glint::test
