#include "kernels/attention.h"

#include <doctest/doctest.h>

#include <array>

#include "tests/kernels/ops/attention_kernels.h"
#include "tests/kernels/ops/attention_oracle.h"

namespace glint::test {
namespace {

template <typename Scalar, typename AnyContext>
void check_results(const AnyContext& ctx, AttentionProblem x, const AttentionBounds<Scalar>& bounds) {
  run_attention<Scalar>(ctx, x);
  bounds.for_each(x, [](const std::string& name, double error, double bound) {
    INFO(name);
    CHECK(error <= bound);
  });
}

template <typename Scalar>
void check_in(const Context& ctx, AttentionProblem x) {
  const AttentionShape& s = x.shape;
  INFO("B ", s.B, ", T ", s.T, ", S ", s.S, ", NH ", s.NH, ", NKV ", s.NKV, ", HS ", s.HS, ", causal ", s.causal,
       ", p ", x.p, ", offset ", x.rng.offset, ", bytes ", sizeof(Scalar));
  x.round_inputs<Scalar>();
  const AttentionBounds<Scalar> bounds(x);
  check_results(ctx, x, bounds);
#ifndef GLINT_TEST_CUDA
  INFO("reference");
  if constexpr (sizeof(Scalar) == 4) check_results(ReferenceContext{ctx}, x, bounds);
#endif
}

// Each turn has another number of threads, or on the emulator another order of them.
void check(const AttentionKernels& kernels, int turn, const AttentionProblem& x) {
  Context ctx = kernels.context();
#ifdef GLINT_TEST_CUDA
  const simt::SavedOptions saved;
  simt::options.workers = 2;
  simt::options.order = static_cast<simt::Order>(turn % 3);
  simt::options.seed = static_cast<uint64_t>(turn);
#else
  ctx.threads = 1 + turn % 3;
  INFO("threads ", ctx.threads);
#endif
  check_in<Bf16>(ctx, x);
  if (kernels.has_fp32()) check_in<float>(ctx, x);
}

constexpr float kRates[] = {0.0f, 0.1f, 0.5f, 0.9f};
// The last of them carry across 32 bits, and wrap around 64, within a problem's range of offsets.
constexpr uint64_t kOffsets[] = {0, 64, 0xfffffff0, 0x1ffffffe0, 0xffffffffffffffc0};

// Heads, layout, rate and offset go round with different periods.
void check_lengths(const std::vector<int>& lengths, uint64_t seed) {
  const AttentionKernels kernels;
  const auto head_sizes = kOnCpu ? std::array{8, 40, 72, 256} : std::array{32, 64, 96, 128};
  RandomInputs inputs(seed);
  INFO("seed ", inputs.seed);
  int turn = 0;
  for (const int T : lengths) {
    for (const int HS : head_sizes) {
      for (const bool causal : {true, false}) {
        const int group = 1 + turn % 3, NKV = turn % 2 ? 1 : (T > 150 ? 1 : 2), NH = NKV * group;
        const Layout layout = turn / 2 % 2 ? Layout::packed : Layout::separate;
        AttentionProblem x(attention_shape(T < 70 ? 2 : 1, T, T, NH, NKV, HS, causal), layout, kRates[turn % 4],
                           inputs);
        x.rng.offset = kOffsets[turn % 5];
        check(kernels, turn++, x);
      }
    }
    ++turn;  // else a rate would always meet the same head sizes
  }
}

void check_more_keys(const std::vector<std::pair<int, int>>& sizes, uint64_t seed) {
  const AttentionKernels kernels;
  RandomInputs inputs(seed);
  INFO("seed ", inputs.seed);
  int turn = 0;
  for (const auto& [T, S] : sizes) {
    for (const bool causal : {true, false})
      check(kernels, turn++, {attention_shape(2, T, S, 4, 2, 24, causal), Layout::separate, 0.0f, inputs});
  }
}

}  // namespace

TEST_CASE("attention: agrees with double, small shapes") { check_lengths({1, 3, 17, 33}, 20261110); }

TEST_CASE("attention: head sizes between those of CUDA's kernels, and all on the CPU") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261117);
  INFO("seed ", inputs.seed);
  for (int HS = 8; HS <= (kOnCpu ? 256 : 128); HS += kOnCpu ? 8 : 16)
    check(kernels, HS / 8,
          {attention_shape(1, 35, 35, 2, 1, HS, HS % 16 == 0), Layout::packed, HS % 24 ? 0.0f : 0.2f, inputs});
}

TEST_CASE("attention: with more keys than queries, aligned to the bottom right") {
  check_more_keys({{1, 2}, {1, 65}, {5, 70}, {17, 64}, {33, 97}}, 20261118);
}

TEST_CASE("attention: the oracle's backward is the derivative of its forward") {
  RandomInputs inputs(20260807);
  INFO("seed ", inputs.seed);
  AttentionProblem x(attention_shape(1, 5, 7, 2, 1, 8, true), Layout::separate, 0.0f, inputs);
  const auto check_element = [&](float& element, double gradient) {
    const float kept = element, step = 0x1p-8f;
    const auto loss = [&](float value) {
      element = value;
      return dot(plain_attention<double>(x).out, convert<double>(x.dout.in_order()));
    };
    const float above = kept + step, below = kept - step;
    const double difference = (loss(above) - loss(below)) / (static_cast<double>(above) - below);
    element = kept;
    CHECK(difference == doctest::Approx(gradient).epsilon(1e-3).scale(0.1));
  };
  const AttentionResults<double> exact = plain_attention<double>(x);
  for (int c = 0; c < 8; ++c) {
    check_element(x.q.at(0, 3, 1)[c], exact.dq[(1 * 5 + 3) * 8 + c]);
    check_element(x.k.at(0, 2, 0)[c], exact.dk[2 * 8 + c]);
    check_element(x.v.at(0, 4, 0)[c], exact.dv[4 * 8 + c]);
  }
}

TEST_SUITE_BEGIN("large");

TEST_CASE("attention: lengths around a tile") { check_lengths({63, 64, 65}, 20261112); }

TEST_CASE("attention: agrees with double on long sequences") {
  check_lengths({127, 128, 129, 200, 257}, 20261114);
  if (!kOnCpu) return;
  const AttentionKernels kernels;
  RandomInputs inputs(20260812);
  for (int turn = 0; turn < 6; ++turn) {
    const AttentionShape shape = attention_shape(1, 513, 513, 1, 1, turn % 2 ? 40 : 16, turn / 3 == 0);
    check(kernels, turn, {shape, turn / 2 % 2 ? Layout::packed : Layout::separate, kRates[turn % 3], inputs});
  }
}

TEST_CASE("attention: with more keys than queries, several tiles") {
  check_more_keys({{1, 64}, {1, 200}, {64, 65}, {63, 150}, {65, 129}, {100, 163}}, 20260805);
}

TEST_CASE("attention: every rate at every head size") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261116);
  INFO("seed ", inputs.seed);
  for (const int HS : {32, 64, 96, 128}) {
    for (const float p : kRates)
      check(kernels, 0, {attention_shape(1, 97, 97, 2, 1, HS, HS % 64 == 0), Layout::packed, p, inputs});
  }
}

#ifndef GLINT_TEST_CUDA
TEST_CASE("attention: keys cut into ranges for many threads") {
  RandomInputs inputs(20260806);
  INFO("seed ", inputs.seed);
  for (const int threads : {2, 3, 5, 7}) {
    for (const bool causal : {true, false}) {
      const CpuContext ctx{.threads = threads};
      AttentionProblem x(attention_shape(1, 330, 330, 2, 1, 16, causal), Layout::packed, causal ? 0.1f : 0.0f, inputs);
      check_in<float>(ctx, x);
      check_in<float>(ctx, {attention_shape(1, 100, 333, 1, 1, 8, causal), Layout::separate, 0.0f, inputs});
      AttentionProblem again = x, alone = x;
      run_attention<float>(ctx, x);
      run_attention<float>(ctx, again);
      run_attention<float>(CpuContext{}, alone);
      CHECK(same_bits(x.out.buffer, alone.out.buffer));
      CHECK(same_bits(x.lse, alone.lse));
      CHECK(same_bits(x.dq.buffer, again.dq.buffer));
      CHECK(same_bits(x.dk.buffer, again.dk.buffer));
      CHECK(same_bits(x.dv.buffer, again.dv.buffer));
    }
  }
}
#endif

TEST_SUITE_END();

}  // namespace glint::test
