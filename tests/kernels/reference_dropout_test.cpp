// The variants of dropout that the reference attention has: results against their definition in double, gradients
// against its finite differences.
#include <doctest/doctest.h>

#include "tests/kernels/ops/attention_oracle.h"

namespace glint::test {
namespace {

constexpr DropoutVariant kVariants[] = {DropoutVariant::flash,         DropoutVariant::before_softmax,
                                        DropoutVariant::diagonal_kept, DropoutVariant::rate_by_row,
                                        DropoutVariant::unscaled,      DropoutVariant::stored_mask};

// Element (i, j) of row i's weights, of `keys` that it sees: left out of the softmax, or multiplied after it.
struct Element {
  bool hidden = false;
  double factor = 1;
};
Element element(const AttentionProblem& x, DropoutVariant variant, int b, int h, int i, int j, int keys) {
  const auto drawn_at = [&](float p) {
    const uint64_t head = (x.rng.first_sequence + static_cast<uint64_t>(b)) * static_cast<uint64_t>(x.shape.NH) +
                          static_cast<uint64_t>(h);
    return keep_attention(x.rng.seed, x.rng.offset + x.site, head, static_cast<uint32_t>(i), static_cast<uint32_t>(j),
                          keep_rule(p).threshold);
  };
  const bool kept = drawn_at(x.p);
  switch (variant) {
    case DropoutVariant::before_softmax:
      return {!kept, 1};
    case DropoutVariant::diagonal_kept:
      return {false, i == j ? 1 : kept / (1.0 - x.p)};
    case DropoutVariant::rate_by_row: {
      const float p = 2 * x.p * static_cast<float>(keys) / static_cast<float>(x.shape.T + 1);
      return {false, drawn_at(p) / (1.0 - p)};
    }
    case DropoutVariant::unscaled:
      return {false, kept ? 1.0 : 0.0};
    default:
      return {false, kept / (1.0 - x.p)};
  }
}

struct Inputs {
  std::vector<double> q, k, v;  // (B, heads, T, HS)
};

// out (B, NH, T, HS) of causal attention.
std::vector<double> forward(const AttentionProblem& x, DropoutVariant variant, const Inputs& in) {
  const auto [B, T, S, NH, NKV, HS, causal, scale] = x.shape;
  std::vector<double> out(in.q.size());
  for (int b = 0; b < B; ++b) {
    for (int h = 0; h < NH; ++h) {
      const int kv = b * NKV + h / (NH / NKV);
      for (int i = 0; i < T; ++i) {
        const double* q = &in.q[static_cast<size_t>(((b * NH + h) * T + i) * HS)];
        double* o = &out[static_cast<size_t>(((b * NH + h) * T + i) * HS)];
        double sum = 0;
        for (int j = 0; j <= i; ++j) {
          const Element e = element(x, variant, b, h, i, j, i + 1);
          if (e.hidden) continue;
          const size_t key = static_cast<size_t>((kv * T + j) * HS);
          double score = 0;
          for (int c = 0; c < HS; ++c) score += q[c] * in.k[key + c];
          const double weight = std::exp(static_cast<double>(scale) * score);
          sum += weight;
          for (int c = 0; c < HS; ++c) o[c] += e.factor * weight * in.v[key + c];
        }
        for (int c = 0; c < HS && sum > 0; ++c) o[c] /= sum;
      }
    }
  }
  return out;
}

void run(const AttentionProblem& x, AttentionProblem& got, DropoutVariant variant) {
  const TestSite site(x.p, x.rng, x.site);
  CpuContext ctx;
  ctx.threads = 2;
  std::vector<float> scratch(reference_attention_scratch(ctx, x.shape), std::nanf(""));
  std::vector<uint8_t> bits(stored_mask_bytes(x.shape), 0xaa);
  const ReferenceDropout how{variant, bits.data()};
  const auto view = [](HeadArray& array) { return array.over(array.buffer.data()); };
  reference_attention_forward(ctx,
                              {.out = view(got.out),
                               .lse = got.lse.data(),
                               .q = view(got.q),
                               .k = view(got.k),
                               .v = view(got.v),
                               .scratch = scratch.data(),
                               .shape = x.shape,
                               .dropout = site.dropout},
                              how);
  RngState other = x.rng;
  other.offset += 12345;  // a stored mask needs no state
  const TestSite moved(x.p, other, x.site);
  reference_attention_backward(ctx,
                               {.dq = view(got.dq),
                                .dk = view(got.dk),
                                .dv = view(got.dv),
                                .dout = view(got.dout),
                                .out = view(got.out),
                                .lse = got.lse.data(),
                                .q = view(got.q),
                                .k = view(got.k),
                                .v = view(got.v),
                                .scratch = scratch.data(),
                                .shape = x.shape,
                                .dropout = variant == DropoutVariant::stored_mask ? moved.dropout : site.dropout},
                               how);
}

AttentionProblem problem(RandomInputs& inputs, int T, float p) {
  return {attention_shape(2, T, T, 2, 1, 8, true), Layout::packed, p, inputs};
}

TEST_CASE("reference attention: each variant of dropout, and its gradient") {
  RandomInputs inputs(20261201);
  INFO("seed ", inputs.seed);
  for (const DropoutVariant variant : kVariants) {
    for (const float p : {0.0f, 0.3f}) {
      INFO("variant ", static_cast<int>(variant), ", p ", p);
      AttentionProblem x = problem(inputs, 11, p), got = x;
      run(x, got, variant);
      const Inputs in{convert<double>(x.q.in_order()), convert<double>(x.k.in_order()),
                      convert<double>(x.v.in_order())};
      CHECK(worst_error(got.out.in_order(), forward(x, variant, in)) < 1e-6);
      const std::vector<double> dout = convert<double>(x.dout.in_order());
      const auto check_gradient = [&](std::vector<double> Inputs::*part, const HeadArray& gradient) {
        const auto loss = [&](const std::vector<double>& value) {
          Inputs changed = in;
          changed.*part = value;
          const std::vector<double> out = forward(x, variant, changed);
          return dot(out, dout);
        };
        CHECK(worst_error(gradient.in_order(), finite_differences(in.*part, loss)) < 1e-5);
      };
      check_gradient(&Inputs::q, got.dq);
      check_gradient(&Inputs::k, got.dk);
      check_gradient(&Inputs::v, got.dv);
    }
  }
}

TEST_CASE("reference attention: a stored mask gives FlashAttention's bits") {
  RandomInputs inputs(20261202);
  INFO("seed ", inputs.seed);
  const AttentionProblem x = problem(inputs, 37, 0.4f);
  AttentionProblem drawn = x, stored = x;
  run(x, drawn, DropoutVariant::flash);
  run(x, stored, DropoutVariant::stored_mask);
  CHECK(stored.out.in_order() == drawn.out.in_order());
  CHECK(stored.dq.in_order() == drawn.dq.in_order());
  CHECK(stored.dk.in_order() == drawn.dk.in_order());
  CHECK(stored.dv.in_order() == drawn.dv.in_order());
}

TEST_CASE("reference attention: without dropout all variants are the same") {
  RandomInputs inputs(20261203);
  const AttentionProblem x = problem(inputs, 9, 0.0f);
  AttentionProblem plain = x;
  run(x, plain, DropoutVariant::flash);
  for (const DropoutVariant variant : kVariants) {
    AttentionProblem got = x;
    run(x, got, variant);
    CHECK(got.out.in_order() == plain.out.in_order());
    CHECK(got.dk.in_order() == plain.dk.in_order());
  }
}

}  // namespace
}  // namespace glint::test
