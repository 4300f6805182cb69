#include "kernels/adamw.h"

#include "kernels/adamw_update.h"
#include "kernels/stochastic_round.h"
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

template <typename Moment>
struct State {
  Guarded<float> params;
  Guarded<Moment> m, v;

  explicit State(const std::vector<float>& start, size_t offset = 0, float moments = 0.0f)
      : params(start, offset), m(start.size(), moments, offset), v(start.size(), moments, offset) {}
  void step(const Context& ctx, const std::vector<float>& gradients, size_t n_decayed, const AdamWStep& at,
            const AdamW& settings = kSettings, Bf16* copy = nullptr, size_t offset = 0) {
    step_part(ctx, gradients, {0, gradients.size()}, n_decayed, at, settings, copy, offset);
  }
  // Of elements [begin, end) alone.
  void step_part(const Context& ctx, const std::vector<float>& gradients, std::pair<size_t, size_t> part,
                 size_t n_decayed, const AdamWStep& at, const AdamW& settings = kSettings, Bf16* copy = nullptr,
                 size_t offset = 0) {
    const auto [begin, end] = part;
    const Guarded<float> g(gradients, offset);
    AdamWStep prepared = at;
    prepared.factors = adamw_factors(settings, at);
    const OnDevice<AdamWStep> step(prepared);
    adamw(ctx,
          AdamWArrays<Moment>{params.data() + begin, m.data() + begin, v.data() + begin, g.data() + begin,
                              copy ? copy + begin : nullptr, end - begin, std::clamp(n_decayed, begin, end) - begin,
                              begin},
          step.data());
  }
};

// What the definition makes of moments m and v of element i.
void round_both(float& m, float& v, size_t i, const AdamWStep& at) {
  const PhiloxCounter r = philox4x32<10>(moment_counter(i / 4, at.t), philox_key(at.seed));
  const uint32_t word = std::array{r.x, r.y, r.z, r.w}[i % 4];
  m = to_float(round_first_moment(m, word)), v = to_float(round_second_moment(v, word));
}

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
        State<float> state(start, offset);
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

// With numbers of so few bits that all products of the moments are exact: then no compiler's fused multiply-add changes
// them.
void check_bf16_moments(RandomInputs& inputs, size_t n, size_t offset) {
  INFO("n ", n, ", offset ", offset);
  constexpr AdamW kExact{0.875f, 0.875f, 1e-8f, 0.1f};
  const size_t middle = n / 2 / 4 * 4;
  const auto start = inputs.normal(n), gradients = rounded<Bf16>(inputs.normal(n, 0.01f));
  const auto step_of = [&](uint64_t t) { return AdamWStep{1e-2f, 0.5f, t, 0, inputs.seed << 32 | 77}; };
  std::vector<float> m(n), v(n), params = start;
  for (const uint64_t t : {1, 2, 3}) {
    const AdamWFactors factors = adamw_factors(kExact, step_of(t));
    for (size_t i = 0; i < n; ++i) {
      adamw_update(params[i], m[i], v[i], gradients[i], i < n / 3 ? factors.keep : 1.0f, factors);
      round_both(m[i], v[i], i, step_of(t));
    }
  }
  in_every_order(
      [&](const Context& ctx) {
        State<Bf16> whole(start, offset), pieces(start, offset);
        for (const uint64_t t : {1, 2, 3}) {
          whole.step(ctx, gradients, n / 3, step_of(t), kExact, nullptr, offset);
          pieces.step_part(ctx, gradients, {middle, n}, n / 3, step_of(t), kExact, nullptr, offset);
          pieces.step_part(ctx, gradients, {0, middle}, n / 3, step_of(t), kExact, nullptr, offset);
        }
        const auto got = whole.params.values();
        CHECK(same_bits(whole.m.values(), m));
        CHECK(same_bits(whole.v.values(), v));
        for (size_t i = 0; i < n; ++i) CHECK(got[i] == doctest::Approx(params[i]).epsilon(1e-5));
        CHECK(same_bits(pieces.m.values(), whole.m.values()));
        CHECK(same_bits(pieces.v.values(), whole.v.values()));
        CHECK(same_bits(pieces.params.values(), got));
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

TEST_CASE("adamw: without gradient it only decays; millions of parameters") {
  const size_t n = 2048 * 256 * 4 + 5;
  std::vector<float> params(n, 2.0f);
  State<float> state(params);
  state.step({}, std::vector<float>(n, 0.0f), n - 3, {0.5f, 1.0f, 1}, AdamW{.weight_decay = 0.5f});
  std::fill_n(params.begin(), n - 3, 1.5f);
  CHECK(state.params.values() == params);
}

TEST_CASE("adamw: a NaN among the gradients reaches its parameter, no other") {
  std::vector<float> gradients(70, 0.1f);
  gradients[66] = std::nanf("");
  State<float> state(std::vector<float>(70, 1.0f));
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
  State<float> state(values);
  state.step({}, values, 70, {1e-2f, 1.0f, 1, 1});
  CHECK(same_bits(state.params.values(), values));
  for (const auto* moments : {&state.m, &state.v}) CHECK(same_bits(moments->values(), std::vector<float>(70)));
}

TEST_CASE("adamw: moments in bf16 are those of the definition, bit for bit, in pieces too, small shapes") {
  RandomInputs inputs(1604);
  INFO("seed ", inputs.seed);
  for (const size_t n : {size_t{1}, size_t{7}, size_t{64}, size_t{1027}}) check_bf16_moments(inputs, n, n == 1027);
}

TEST_CASE("adamw: many moments in bf16 are those of the definition, bit for bit") {
  RandomInputs inputs(504);
  INFO("seed ", inputs.seed);
  check_bf16_moments(inputs, 20011, 0);
}

TEST_CASE("adamw: moments in bf16 keep their mean where rounding to nearest would not move them") {
  constexpr AdamW kSlow{0.999f, 0.999f, 1e-8f, 0.0f};
  constexpr size_t n = 512;
  constexpr uint64_t kSeed = 1605, kSteps = 1000;
  INFO("seed ", kSeed);
  REQUIRE(to_float(to_bf16(1.0f * 0.999f)) == 1.0f);  // stuck
  State<Bf16> state(std::vector<float>(n, 1.0f), 0, 1.0f);
  for (uint64_t t = 1; t <= kSteps; ++t)
    state.step({}, std::vector<float>(n, 0.0f), 0, {0.0f, 1.0f, t, 0, kSeed}, kSlow);
  const double expected = std::pow(0.999, kSteps);
  for (const auto* moments : {&state.m, &state.v}) {
    double sum = 0;
    for (const float value : moments->values()) sum += value;
    // A step adds at most 0.19 * 2^-14 to the relative variance of an element: 0.5% for the mean of 512, after 1000.
    CHECK(sum / n == doctest::Approx(expected).epsilon(0.025));
  }
  CHECK(!same_bits(state.m.values(), state.v.values()));  // draws of their own
}

TEST_CASE("adamw: NaN and infinity in bf16 moments stay what they are, as does a halted state") {
  std::vector<float> gradients(70, 0.1f);
  gradients[66] = std::nanf(""), gradients[9] = 3e38f;  // whose square is infinite
  State<Bf16> state(std::vector<float>(70, 1.0f));
  state.step({}, gradients, 70, {0.5f, 1.0f, 1, 1, 1606});
  CHECK(same_bits(state.m.values(), std::vector<float>(70)));
  state.step({}, gradients, 70, {0.5f, 1.0f, 1, 0, 1606});
  const auto m = state.m.values(), v = state.v.values();
  for (size_t i = 0; i < 70; ++i) {
    CHECK(std::isnan(m[i]) == (i == 66));
    CHECK(std::isnan(v[i]) == (i == 66));
    CHECK(std::isinf(v[i]) == (i == 9));
  }
}

}  // namespace glint::test
