#include "kernels/adamw.h"

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

constexpr AdamW kSettings{0.9f, 0.95f, 1e-8f, 0.1f};

template <typename Real>
struct Plain {
  std::vector<Real> params, m, v;

  explicit Plain(const std::vector<Real>& start) : params(start), m(start.size()), v(start.size()) {}
  // Algorithm 2 of the paper, with the gradient scaled first.
  void step(const std::vector<Real>& gradients, size_t n_decayed, const AdamWStep& at) {
    const Real beta1 = kSettings.beta1, beta2 = kSettings.beta2, t = static_cast<Real>(at.t), rate = at.learning_rate;
    for (size_t i = 0; i < params.size(); ++i) {
      const Real g = gradients[i] * Real(at.gradient_scale);
      m[i] = beta1 * m[i] + (1 - beta1) * g;
      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
      const Real mean = m[i] / (1 - std::pow(beta1, t)), square = v[i] / (1 - std::pow(beta2, t));
      const Real decay = i < n_decayed ? Real(kSettings.weight_decay) : Real(0);
      params[i] -= rate * (mean / (std::sqrt(square) + Real(kSettings.eps)) + decay * params[i]);
    }
  }
};

struct State {
  Guarded<float> params, m, v;

  explicit State(const std::vector<float>& start, size_t offset = 0)
      : params(start, offset), m(start.size(), 0.0f, offset), v(start.size(), 0.0f, offset) {}
  void step(const Context& ctx, const std::vector<float>& gradients, size_t n_decayed, const AdamWStep& at,
            const AdamW& settings = kSettings, Bf16* copy = nullptr, size_t offset = 0) {
    const Guarded<float> g(gradients, offset);
    const OnDevice<AdamWStep> step(at);
    adamw(ctx, params.data(), m.data(), v.data(), g.data(), gradients.size(), n_decayed, settings, step.data(), copy);
  }
};

void check_steps(RandomInputs& inputs, size_t n, size_t n_decayed, size_t offset) {
  INFO("n ", n, ", decayed ", n_decayed, ", offset ", offset);
  const std::vector<float> start = inputs.normal(n);
  Plain<float> plain(start);
  Plain<double> exact(convert<double>(start));
  std::vector<std::vector<float>> gradients;
  const auto step_of = [](uint64_t t) { return AdamWStep{1e-2f, 0.5f, t + 1}; };
  for (uint64_t t = 0; t < 4; ++t) {
    gradients.push_back(inputs.normal(n, 0.01f));
    plain.step(gradients[t], n_decayed, step_of(t));
    exact.step(convert<double>(gradients[t]), n_decayed, step_of(t));
  }
  std::vector<float> first;
  in_every_order(
      [&](const Context& ctx) {
        State state(start, offset);
        const Guarded<Bf16> copy(n, offset);
        for (uint64_t t = 0; t < 4; ++t)
          state.step(ctx, gradients[t], n_decayed, step_of(t), kSettings, t == 3 ? copy.data() : nullptr, offset);
        const auto got = state.params.values();
        check_as_good("params", got, plain.params, exact.params);
        check_as_good("m", state.m.values(), plain.m, exact.m);
        check_as_good("v", state.v.values(), plain.v, exact.v);
        CHECK(copy.values() == rounded<Bf16>(got));
        if (first.empty()) first = got;
        CHECK(same_bits(got, first));
      },
      0);
}

}  // namespace

TEST_CASE("adamw: agrees with double over several steps, small shapes") {
  RandomInputs inputs(1501);
  INFO("seed ", inputs.seed);
  for (const size_t n : {size_t{1}, size_t{3}, size_t{15}, size_t{64}, size_t{1000}, size_t{1027}}) {
    for (const size_t n_decayed : {size_t{0}, n / 3, n}) check_steps(inputs, n, n_decayed, n == 1027 ? 1 : 0);
  }
}

TEST_CASE("adamw: agrees with double over several steps, many parameters") {
  RandomInputs inputs(501);
  INFO("seed ", inputs.seed);
  check_steps(inputs, 20011, 20011 / 3, 0);
}

TEST_CASE("adamw: without gradient it only decays; more parameters than a GPU's grid takes in one round") {
  const size_t n = 2048 * 256 * 4 + 5;
  std::vector<float> params(n, 2.0f);
  State state(params);
  state.step({}, std::vector<float>(n, 0.0f), n - 3, {0.5f, 1.0f, 1}, AdamW{.weight_decay = 0.5f});
  std::fill_n(params.begin(), n - 3, 1.5f);
  CHECK(state.params.values() == params);
}

TEST_CASE("adamw: a NaN among the gradients reaches its parameter, no other") {
  std::vector<float> gradients(70, 0.1f);
  gradients[66] = std::nanf("");
  State state(std::vector<float>(70, 1.0f));
  const Guarded<Bf16> copy(70);
  state.step({}, gradients, 70, {0.5f, 1.0f, 1}, AdamW{}, copy.data());
  const auto params = state.params.values(), rounded_params = copy.values();
  for (size_t i = 0; i < 70; ++i) {
    CHECK(std::isnan(params[i]) == (i == 66));
    CHECK(std::isnan(rounded_params[i]) == (i == 66));
  }
}

TEST_CASE("adamw: changes nothing once the state is halted, small shapes") {
  RandomInputs inputs(1603);
  INFO("seed ", inputs.seed);
  const auto values = inputs.normal(70);
  State state(values);
  state.step({}, values, 70, {1e-2f, 1.0f, 1, 1});
  CHECK(same_bits(state.params.values(), values));
  for (const auto* moments : {&state.m, &state.v}) CHECK(same_bits(moments->values(), std::vector<float>(70)));
}

}  // namespace glint::test
