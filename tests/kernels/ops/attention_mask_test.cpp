// What the attention kernels drop, bit for bit against kernels/dropout.h: in out and in each gradient. Scores are all
// zero, so that P is 1 / (keys seen) and nothing underflows; an identity matrix for V, dO, K or Q makes every element
// of the dropped matrix show as zero or not in a result.
#include <doctest/doctest.h>

#include "tests/kernels/ops/attention_kernels.h"
#include "tests/kernels/ops/attention_oracle.h"

namespace glint::test {
namespace {

enum class Shows { rows, columns };  // element (token, c) of the result is (i, j) = (token, base + c), or the transpose

// Elements in which a result, cut to the HS columns (or rows) from `base` on, differs from the mask.
int wrong_elements(const AttentionProblem& x, const HeadArray& result, int base, Shows shows) {
  const AttentionShape& s = x.shape;
  int wrong = 0;
  for (int b = 0; b < s.B; ++b) {
    for (int h = 0; h < s.NH; ++h) {
      for (int t = 0; t < s.T; ++t) {
        for (int c = 0; c < s.HS && base + c < s.T; ++c) {
          const int i = shows == Shows::rows ? t : base + c, j = shows == Shows::rows ? base + c : t;
          const bool kept = (!s.causal || j <= i) && x.keeps(b, h, i, j);
          const float value = result.at(b, t, h)[c];
          wrong += (value != 0.0f) != kept || std::isnan(value);
        }
      }
    }
  }
  return wrong;
}

// HS columns at a time.
template <typename Scalar, typename AnyContext>
void check_masks_of(const AnyContext& ctx, AttentionProblem x) {
  const TestSite site(x.p, x.rng, x.site);
  const auto zero = [](int, int) { return 0.0f; };
  const auto first = [](int, int c) { return c == 0 ? 1.0f : 0.0f; };
  for (int base = 0; base < x.shape.T; base += x.shape.HS) {
    INFO("from column ", base);
    const auto identity = [base](int t, int c) { return t == base + c ? 1.0f : 0.0f; };
    // P shows in O = dropout(P) V and in dV = dropout(P)^T dO.
    x.q.fill(zero), x.k.fill(zero), x.v.fill(identity), x.dout.fill(identity);
    run_attention<Scalar>(ctx, x);
    CHECK(wrong_elements(x, x.out, base, Shows::rows) == 0);
    CHECK(wrong_elements(x, x.dv, base, Shows::columns) == 0);
    // With dO V^T = 1 and O taken for 0, dS is scale * dropout(P): it shows in dQ = dS K and dK = dS^T Q.
    x.dout.fill(first), x.v.fill(first), x.out.fill(zero), x.k.fill(identity);
    run_backward<Scalar>(ctx, x, site.dropout);
    CHECK(wrong_elements(x, x.dq, base, Shows::rows) == 0);
    x.k.fill(zero), x.q.fill(identity);
    run_backward<Scalar>(ctx, x, site.dropout);
    CHECK(wrong_elements(x, x.dk, base, Shows::columns) == 0);
  }
}

template <typename Scalar>
void check_masks(const AttentionKernels& kernels, int T, int HS, bool causal, float p, uint64_t offset,
                 RandomInputs& inputs) {
  AttentionProblem x(attention_shape(T < 100 ? 2 : 1, T, T, 2, 2, HS, causal), Layout::packed, p, inputs);
  x.rng.offset = offset;
  INFO("T ", T, ", HS ", HS, ", causal ", causal, ", p ", p, ", seed ", x.rng.seed, ", offset ", offset, ", bytes ",
       sizeof(Scalar));
  if (sizeof(Scalar) == 4 && !kernels.has_fp32()) return;
  Context ctx = kernels.context();
#ifndef GLINT_TEST_CUDA
  ctx.threads = 2;
  if constexpr (sizeof(Scalar) == 4) check_masks_of<float>(ReferenceContext{ctx}, x);
#endif
  check_masks_of<Scalar>(ctx, x);
}

TEST_CASE("attention: small masks, bit for bit") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261120);
  INFO("seed ", inputs.seed);
  for (const int T : {1, 3, 17, 40}) {
    check_masks<Bf16>(kernels, T, 32, T % 2 == 0, 0.5f, 0xfffffff0, inputs);
    check_masks<float>(kernels, T, 32, T % 2 == 1, 0.5f, 0xfffffff0, inputs);
  }
}

TEST_CASE("attention: masks, bit for bit" * doctest::test_suite("large")) {
  const AttentionKernels kernels;
  RandomInputs inputs(20261121);
  INFO("seed ", inputs.seed);
#ifdef GLINT_TEST_CUDA
  const simt::SavedOptions saved;
  simt::options.workers = 2;
#endif
  constexpr uint64_t kOffsets[] = {0, 0xffffffe0, 0xffffffffffffffa0};  // carry across 32 bits, wrap around 64
  int turn = 0;
  for (const int T : {63, 64, 65, 127, 129, 200, 257}) {
    for (const int HS : {32, 64, 96, 128}) {
      if (T > 4 * HS) continue;  // HS columns at a time: it would take long
      const float p = turn % 3 == 0 ? 0.1f : turn % 3 == 1 ? 0.5f : 0.9f;
      check_masks<Bf16>(kernels, T, HS, turn % 2 == 0, p, kOffsets[turn % 3], inputs);
      if (turn % 4 == 0) check_masks<float>(kernels, T, HS, turn % 8 == 0, p, kOffsets[turn % 3], inputs);
      ++turn;
    }
    ++turn;
  }
}

// Thresholds on both sides of 128, where a packed compare of bytes changes its form, and the extremes.
TEST_CASE("attention: masks at every kind of threshold") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261122);
  INFO("seed ", inputs.seed);
  for (const float p : {1e-9f, 0.003f, 0.05f, 0.49f, 0.4980392f, 0.5f, 0.505f, 0.75f, 0.99f, 0.9999f}) {
    check_masks<Bf16>(kernels, 48, 64, false, p, 64, inputs);
    check_masks<float>(kernels, 48, 64, false, p, 64, inputs);
  }
}

TEST_CASE("attention: the state of the random numbers is read when the kernel runs") {
  const AttentionKernels kernels;
  RandomInputs inputs(20261123);
  INFO("seed ", inputs.seed);
  AttentionProblem x(attention_shape(1, 33, 33, 1, 1, 32, true), Layout::packed, 0.5f, inputs);
  const TestSite site(x.p, x.rng, x.site);  // its dropout is what a captured graph would hold: a pointer, no numbers
  const auto run = [&](uint64_t offset) {
    x.rng.offset = offset;
    site.state.set(x.rng);
    run_forward<Bf16>(kernels.context(), x, site.dropout);
    return x.out.buffer;
  };
  const uint64_t offset = x.rng.offset;
  const std::vector<float> before = run(offset);
  CHECK(run(offset + 1000) != before);
  CHECK(run(offset) == before);
}

}  // namespace
}  // namespace glint::test
