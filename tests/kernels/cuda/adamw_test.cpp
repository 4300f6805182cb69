#include "kernels/adamw.h"

#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

// Algorithm 2 of the paper, with the gradient scaled first.
template <typename Real>
void plain_step(std::vector<Real>& params, std::vector<Real>& m, std::vector<Real>& v,
                const std::vector<Real>& gradients, size_t n_decayed, const AdamW& s, const AdamWStep& at) {
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

void check_steps(RandomInputs& inputs, size_t n, size_t n_decayed, size_t offset) {
  INFO("n ", n, ", decayed ", n_decayed, ", offset ", offset);
  const AdamW settings{0.9f, 0.95f, 1e-8f, 0.1f};
  const std::vector<float> start = inputs.normal(n), zeros(n);
  const Guarded<float> params(start, offset), m(zeros, offset), v(zeros, offset);
  const Guarded<Bf16> copy(n, offset);
  std::vector<float> plain = start, plain_m = zeros, plain_v = zeros, cpu = start, cpu_m = zeros, cpu_v = zeros;
  auto exact = convert<double>(start), exact_m = convert<double>(zeros), exact_v = exact_m;
  std::vector<Bf16> cpu_copy(n);
  for (uint64_t t = 1; t <= 3; ++t) {
    const std::vector<float> gradients = inputs.normal(n, 0.01f);
    const AdamWStep step{1e-2f, 0.5f, t};
    const OnDevice<AdamWStep> on_device(step);
    const Guarded<float> g(gradients, offset);
    adamw(kCuda, params.data(), m.data(), v.data(), g.data(), n, n_decayed, settings, on_device.data(),
          t == 3 ? copy.data() : nullptr);
    adamw(kCpu, cpu.data(), cpu_m.data(), cpu_v.data(), gradients.data(), n, n_decayed, settings, &step,
          cpu_copy.data());
    plain_step(plain, plain_m, plain_v, gradients, n_decayed, settings, step);
    plain_step(exact, exact_m, exact_v, convert<double>(gradients), n_decayed, settings, step);
  }
  const auto got = params.values();
  check_as_good("params", got, plain, exact);
  check_as_good("params, CPU", cpu, plain, exact);
  check_as_good("m", m.values(), plain_m, exact_m);
  check_as_good("v", v.values(), plain_v, exact_v);
  CHECK(copy.values() == rounded<Bf16>(got));
  for (size_t i = 0; i < n; ++i) CHECK(cpu_copy[i].bits == to_bf16(cpu[i]).bits);
}

}  // namespace

TEST_CASE("cuda adamw: agrees with double over several steps, small shapes") {
  RandomInputs inputs(1501);
  INFO("seed ", inputs.seed);
  for (const size_t n : {size_t{1}, size_t{3}, size_t{64}, size_t{1000}, size_t{1027}}) {
    for (const size_t n_decayed : {size_t{0}, n / 3, n}) check_steps(inputs, n, n_decayed, n == 1027 ? 1 : 0);
  }
}

TEST_CASE("cuda adamw: one block goes on where the grid ends") {
  const size_t n = 2048 * 256 * 4 + 5;  // one element beyond the first round, and more
  std::vector<float> params(n, 2.0f);
  const Guarded<float> p(params), zeros(std::vector<float>(n, 0.0f));
  const Guarded<float> m(std::vector<float>(n, 0.0f)), v(std::vector<float>(n, 0.0f));
  const OnDevice<AdamWStep> step({0.5f, 1.0f, 1});
  adamw(kCuda, p.data(), m.data(), v.data(), zeros.data(), n, n - 3, AdamW{.weight_decay = 0.5f}, step.data());
  std::fill_n(params.begin(), n - 3, 1.5f);
  CHECK(p.values() == params);
}

TEST_CASE("cuda adamw: a NaN among the gradients reaches its parameter, no other") {
  std::vector<float> gradients(70, 0.1f);
  gradients[66] = std::nanf("");
  const Guarded<float> p(std::vector<float>(70, 1.0f)), m(std::vector<float>(70)), v(std::vector<float>(70)),
      g(gradients);
  const Guarded<Bf16> copy(70);
  const OnDevice<AdamWStep> step({0.5f, 1.0f, 1});
  adamw(kCuda, p.data(), m.data(), v.data(), g.data(), 70, 70, AdamW{}, step.data(), copy.data());
  const auto params = p.values(), rounded_params = copy.values();
  for (size_t i = 0; i < 70; ++i) {
    CHECK(std::isnan(params[i]) == (i == 66));
    CHECK(std::isnan(rounded_params[i]) == (i == 66));
  }
}

TEST_CASE("cuda AdamW changes nothing once the state is halted, small shapes") {
  RandomInputs inputs(1603);
  const auto values = inputs.normal(70);
  const Guarded<float> p(values), m(values), v(values), gradients(values);
  const OnDevice<AdamWStep> step({1e-2f, 1.0f, 1, 1});
  adamw(kCuda, p.data(), m.data(), v.data(), gradients.data(), 70, 70, {}, step.data());
  for (const auto* array : {&p, &m, &v}) CHECK(same_bits(array->values(), values));
}

}  // namespace glint::test
