#include "kernels/step_state.h"

#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

// f on a state in the device's memory, and on the host; both must come to the same.
template <typename F>
StepState after(StepState state, const F& f) {
  const OnDevice<StepState> there(state);
  f(kCuda, there.data());
  f(kCpu, &state);
  const StepState got = there.get();
  CHECK(got.rng == state.rng);
  CHECK(got.adamw.learning_rate == state.adamw.learning_rate);
  CHECK(same_bits({got.adamw.gradient_scale}, {state.adamw.gradient_scale}));
  CHECK(got.adamw.t == state.adamw.t);
  CHECK(got.adamw.halted == state.adamw.halted);
  return got;
}

}  // namespace

TEST_CASE("step state: the clip factor, small shapes") {
  const struct {
    double squares;
    float limit;
  } cases[] = {{4.0, 1.0f}, {4.0, 2.0f}, {0.3, 1.0f}, {123.456, 0.1f}, {1e60, 1.0f}, {4.0, 0.0f}, {0.0, 1.0f}};
  for (const auto& [squares_given, limit_given] : cases) {
    const double squares = squares_given;  // clang 14 captures no structured binding
    const float limit = limit_given;
    INFO("sum of squares ", squares, ", limit ", limit);
    const StepState got =
        after({{}, {1e-3f, 7.0f, 41}, squares}, [&](const auto& ctx, StepState* s) { clip_gradients(ctx, s, limit); });
    const double norm = std::sqrt(squares);
    CHECK(got.adamw.gradient_scale == (limit > 0 && norm > limit ? static_cast<float>(limit / (norm + 1e-6)) : 1.0f));
    CHECK(got.adamw.halted == 0);
  }
}

TEST_CASE("step state: a norm that is no number halts it, and then it stays where it is, small shapes") {
  for (const double broken : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const StepState halted =
        after({{3, 5, 9, 0}, {}, broken}, [](const auto& ctx, StepState* s) { clip_gradients(ctx, s, 1.0f); });
    CHECK(halted.adamw.halted != 0);
    const StepState later = after(halted, [](const auto& ctx, StepState* s) { advance(ctx, s, 64); });
    CHECK(later.rng == RngState{3, 5, 9, 0});
  }
  const StepState moved =
      after({{3, 0xffffffffu, 9, 12}, {}, 1.0}, [](const auto& ctx, StepState* s) { advance(ctx, s, 64); });
  CHECK(moved.rng == RngState{3, 0xffffffffu + uint64_t{64}, 10, 12});
}

TEST_CASE("step state: a micro-batch comes from the slot of the step's parity, small shapes") {
  const StepInputLayout layout{601};
  CHECK(layout.bytes() % StepInputLayout::kAlignment == 0);
  std::vector<std::byte> slots(2 * layout.bytes());
  const float rates[] = {0.25f, 0.5f};
  for (int slot : {0, 1}) {
    const StepInput input = layout.at(slots.data() + static_cast<size_t>(slot) * layout.bytes());
    *input.learning_rate = rates[slot];
    for (int i = 0; i < 601; ++i) input.tokens[i] = 10000 * slot + i, input.targets[i] = 5000 + input.tokens[i];
  }
  const DeviceBuffer<std::byte> there(slots);
  for (const uint64_t step : {6, 7}) {
    for (const size_t first : {size_t{0}, size_t{300}}) {
      const DeviceBuffer<int32_t> tokens(300), targets(300);
      std::vector<int32_t> cpu_tokens(300), cpu_targets(300);
      const StepState got = after({{1, 2, step, 0}, {}, 0}, [&]<typename Context>(const Context& ctx, StepState* s) {
        if constexpr (std::is_same_v<Context, CudaContext>)
          begin_micro_batch(ctx, s, tokens.data(), targets.data(), {there.data(), layout, first, 300, 5});
        else begin_micro_batch(ctx, s, cpu_tokens.data(), cpu_targets.data(), {slots.data(), layout, first, 300, 5});
      });
      CHECK(tokens.to_host() == cpu_tokens);
      CHECK(targets.to_host() == cpu_targets);
      CHECK(cpu_tokens[7] == static_cast<int32_t>(step % 2 * 10000 + first + 7));
      CHECK(cpu_targets[7] == cpu_tokens[7] + 5000);
      CHECK(got.adamw.learning_rate == rates[step % 2]);
      CHECK(got.adamw.t == step + 1);
      CHECK(got.rng.first_sequence == 5);
    }
  }
}

}  // namespace glint::test
