#include "kernels/step_state.h"

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

constexpr AdamW kSettings;

// What f makes of a state in the backend's memory.
template <typename F>
StepState after(const StepState& state, const F& f) {
  const OnDevice<StepState> there(state);
  f(there.data());
  return there.get();
}

}  // namespace

TEST_CASE("step state: the clip factor, small shapes") {
  const struct {
    double squares;
    float limit;
  } cases[] = {{4.0, 1.0f}, {4.0, 2.0f}, {0.3, 1.0f}, {123.456, 0.1f}, {1e60, 1.0f}, {4.0, 0.0f}, {0.0, 1.0f}};
  for (const auto& c : cases) {
    INFO("sum of squares ", c.squares, ", limit ", c.limit);
    const StepState got = after({{3, 5, 9, 2}, {1e-3f, 7.0f, 41}, c.squares},
                                [&](StepState* s) { prepare_update(Context{}, s, c.limit, kSettings); });
    const double norm = std::sqrt(c.squares);
    CHECK(got.adamw.gradient_scale ==
          (c.limit > 0 && norm > c.limit ? static_cast<float>(c.limit / (norm + 1e-6)) : 1.0f));
    CHECK(got.adamw.learning_rate == 1e-3f);
    CHECK(got.adamw.t == 41);
    CHECK(got.adamw.halted == 0);
    CHECK(got.adamw.factors.gradient_scale == got.adamw.gradient_scale);
    CHECK(got.adamw.factors.keep == doctest::Approx(1 - 1e-3 * kSettings.weight_decay).epsilon(1e-7));
    CHECK(got.adamw.factors.step_size ==
          doctest::Approx(1e-3 / (1 - std::pow(double{kSettings.beta1}, 41))).epsilon(1e-6));
    CHECK(got.rng == RngState{3, 5, 9, 2});
  }
}

TEST_CASE("step state: a norm that is not finite halts it, and a halted state does not advance, small shapes") {
  const auto next = [](StepState* s) { advance(Context{}, s, 64); };
  for (const double broken : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const StepState halted =
        after({{3, 5, 9, 0}, {}, broken}, [](StepState* s) { prepare_update(Context{}, s, 1.0f, kSettings); });
    CHECK(halted.adamw.halted != 0);
    CHECK(after(halted, next).rng == RngState{3, 5, 9, 0});
  }
  CHECK(after({{3, 0xffffffffu, 9, 12}, {}, 1.0}, next).rng == RngState{3, 0xffffffffu + uint64_t{64}, 10, 12});
}

TEST_CASE("step state: a micro-batch comes from the slot of the step's parity, small shapes") {
  constexpr int kTokens = 601;
  const StepInputLayout layout{kTokens};
  CHECK(layout.bytes() % StepInputLayout::kAlignment == 0);
  const float rates[] = {0.25f, 0.5f};
  std::vector<std::byte> slots(2 * layout.bytes());
  for (int slot : {0, 1}) {
    const StepInput input = layout.at(slots.data() + static_cast<size_t>(slot) * layout.bytes());
    *input.learning_rate = rates[slot];
    for (int i = 0; i < kTokens; ++i) input.tokens[i] = 10000 * slot + i, input.targets[i] = 5000 + input.tokens[i];
  }
  const Buffer<std::byte> there(slots);
  for (const uint64_t step : {6, 7}) {
    for (const size_t first : {size_t{0}, size_t{300}}) {
      const Buffer<int32_t> tokens(300), targets(300);
      const StepState got = after({{1, 2, step, 0}, {}, 0}, [&](StepState* s) {
        begin_micro_batch(Context{}, s, tokens.data(), targets.data(), {there.data(), layout, first, 300, 5});
      });
      const auto got_tokens = tokens.to_host(), got_targets = targets.to_host();
      for (size_t i = 0; i < 300; ++i) {
        const auto expected = static_cast<int32_t>(step % 2 * 10000 + first + i);
        CHECK(got_tokens[i] == expected);
        CHECK(got_targets[i] == expected + 5000);
      }
      CHECK(got.adamw.learning_rate == rates[step % 2]);
      CHECK(got.adamw.t == step + 1);
      CHECK(got.rng == RngState{1, 2, step, 5});
    }
  }
}

}  // namespace glint::test
