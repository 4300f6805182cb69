#include "kernels/adamw.h"

#include "tests/kernels/compare.h"
#include "tests/random.h"

namespace glint::test {
namespace {

template <typename Real>
struct Plain {
  std::vector<Real> params, m, v;

  // Algorithm 2 of the paper, with the gradient scaled first.
  void step(const std::vector<Real>& gradients, size_t n_decayed, const AdamW& s, const AdamWStep& at) {
    const Real beta1 = s.beta1, beta2 = s.beta2, t = static_cast<Real>(at.t), rate = at.learning_rate;
    for (size_t i = 0; i < params.size(); ++i) {
      const Real g = gradients[i] * Real(at.gradient_scale);
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      const Real mean = m[i] / (1 - std::pow(beta1, t)), square = v[i] / (1 - std::pow(beta2, t));
      const Real decay = i < n_decayed ? Real(s.weight_decay) : Real(0);
      params[i] -= rate * (mean / (std::sqrt(square) + Real(s.eps)) + decay * params[i]);
    }
  }
};

}  // namespace

TEST_CASE("AdamW agrees with double over several steps") {
  RandomInputs inputs(501);
  INFO("seed ", inputs.seed);
  const AdamW settings{0.9f, 0.95f, 1e-8f, 0.1f};
  for (const size_t n : {1, 15, 1000, 20011}) {
    for (const size_t n_decayed : {size_t{0}, n / 3, n}) {
      std::vector<float> last;
      for (const int threads : {1, 2, 3}) {
        INFO("n ", n, ", decayed ", n_decayed, ", threads ", threads);
        RandomInputs same(inputs.seed + n);
        std::vector<float> params = same.normal(n), m(n), v(n);
        Plain<float> plain{params, m, v};
        Plain<double> exact{convert<double>(params), convert<double>(m), convert<double>(v)};
        for (uint64_t t = 1; t <= 4; ++t) {
          const std::vector<float> gradients = same.normal(n, 0.01f);
          const AdamWStep step{1e-2f, 0.5f, t};
          adamw({.threads = threads}, params.data(), m.data(), v.data(), gradients.data(), n, n_decayed, settings,
                &step);
          plain.step(gradients, n_decayed, settings, step);
          exact.step(convert<double>(gradients), n_decayed, settings, step);
        }
        check_as_good("params", params, plain.params, exact.params);
        check_as_good("m", m, plain.m, exact.m);
        check_as_good("v", v, plain.v, exact.v);
        if (!last.empty()) CHECK(same_bits(params, last));
        last = params;
      }
    }
  }
}

TEST_CASE("AdamW without gradient only decays") {
  std::vector<float> params(40, 2.0f), zeros(40), m(40), v(40);
  const AdamWStep step{0.5f, 1.0f, 1};
  adamw(CpuContext{}, params.data(), m.data(), v.data(), zeros.data(), 40, 16, AdamW{.weight_decay = 0.5f}, &step);
  for (size_t i = 0; i < 40; ++i) CHECK(params[i] == (i < 16 ? 1.5f : 2.0f));
}

}  // namespace glint::test
