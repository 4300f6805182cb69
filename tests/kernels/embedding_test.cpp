#include "kernels/embedding.h"

#include "tests/kernels/compare.h"
#include "tests/random.h"

namespace glint::test {
namespace {

struct Case {
  EmbeddingShape shape;
  std::vector<int32_t> tokens;        // (B, T)
  std::vector<float> wte, wpe, dout;  // (V, C), (T, C), (B, T, C)
  std::vector<float> factors;         // (B, T, C), what dropout multiplies with

  Case(RandomInputs& inputs, const EmbeddingShape& s, const Dropout& dropout) : shape(s) {
    const size_t rows = static_cast<size_t>(s.B * s.T), C = static_cast<size_t>(s.C);
    for (size_t i = 0; i < rows; ++i) tokens.push_back(inputs.below(s.V));
    wte = inputs.normal(static_cast<size_t>(s.V) * C);
    wpe = inputs.normal(static_cast<size_t>(s.T) * C);
    dout = inputs.normal(rows * C);
    const KeepRule rule = keep_rule(dropout.p);
    for (size_t i = 0; i < rows * C; ++i) {
      const bool keep = !dropout.on() || keep_row(dropout.rng->seed, dropout.rng->offset + dropout.site,
                                                  dropout.rng->first_sequence + i / C / static_cast<size_t>(s.T),
                                                  static_cast<uint32_t>(i / C % static_cast<size_t>(s.T)),
                                                  static_cast<uint32_t>(i % C), rule.threshold);
      factors.push_back(keep ? rule.scale : 0.0f);
    }
  }
  size_t C() const { return static_cast<size_t>(shape.C); }
  size_t token(size_t i) const { return static_cast<size_t>(tokens[i / C()]) * C() + i % C(); }  // of element i, in wte
  size_t position(size_t i) const { return i / C() % static_cast<size_t>(shape.T) * C() + i % C(); }  // and in wpe

  template <typename Real>
  std::vector<Real> forward(const std::vector<Real>& te, const std::vector<Real>& pe) const {
    std::vector<Real> out;
    for (size_t i = 0; i < dout.size(); ++i) out.push_back((te[token(i)] + pe[position(i)]) * Real(factors[i]));
    return out;
  }
  template <typename Real>
  void backward(std::vector<Real>& dte, std::vector<Real>& dpe) const {
    for (size_t i = 0; i < dout.size(); ++i) {
      dte[token(i)] += Real(dout[i]) * Real(factors[i]);
      dpe[position(i)] += Real(dout[i]) * Real(factors[i]);
    }
  }
};

struct Gradients {
  std::vector<float> dwte, dwpe;
};

Gradients run_backward(const Case& c, const Dropout& dropout, int threads, Write write, float before) {
  const CpuContext ctx{.threads = threads};
  Gradients g{std::vector<float>(c.wte.size(), before), std::vector<float>(c.wpe.size(), before)};
  std::vector<uint32_t> scratch(embedding_backward_scratch(ctx, c.shape));
  embedding_backward(ctx, g.dwte.data(), g.dwpe.data(), c.dout.data(), c.tokens.data(), scratch.data(), c.shape,
                     dropout, write, write);
  return g;
}

}  // namespace

TEST_CASE("embedding agrees with double; its dropout with keep_row") {
  RandomInputs inputs(701);
  INFO("seed ", inputs.seed);
  const RngState rng{77, 0xFFFFFFE0u, 2, 3};
  for (const EmbeddingShape& shape : {EmbeddingShape{1, 1, 8, 3}, {3, 7, 40, 5}, {2, 33, 131, 97}, {4, 16, 16, 1000}}) {
    for (const Dropout& dropout : {Dropout{}, Dropout{0.1f, &rng, 96}, Dropout{0.5f, &rng, 0}}) {
      for (const int threads : {1, 2, 3}) {
        INFO("B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", V ", shape.V, ", p ", dropout.p, ", threads ",
             threads);
        const Case c(inputs, shape, dropout);
        std::vector<float> out(c.dout.size());
        embedding_forward({.threads = threads}, out.data(), c.tokens.data(), c.wte.data(), c.wpe.data(), shape,
                          dropout);
        CHECK(out == c.forward<float>(c.wte, c.wpe));
        for (const Write write : {Write::set, Write::add}) {
          const float before = write == Write::set ? std::nanf("") : 0.25f, base = write == Write::set ? 0.0f : 0.25f;
          const Gradients got = run_backward(c, dropout, threads, write, before);
          std::vector<double> exact_te(c.wte.size(), base), exact_pe(c.wpe.size(), base);
          std::vector<float> plain_te(c.wte.size(), base), plain_pe(c.wpe.size(), base);
          c.backward(exact_te, exact_pe);
          c.backward(plain_te, plain_pe);
          check_as_good("dwte", got.dwte, plain_te, exact_te);
          check_as_good("dwpe", got.dwpe, plain_pe, exact_pe);
          CHECK(same_bits(got.dwte, run_backward(c, dropout, 1, write, before).dwte));
        }
      }
    }
  }
}

TEST_CASE("the embedding oracle's backward is the derivative of its forward") {
  RandomInputs inputs(702);
  INFO("seed ", inputs.seed);
  const RngState rng{5, 0, 0, 0};
  const Case c(inputs, {2, 3, 8, 4}, Dropout{0.3f, &rng, 0});
  const auto te = convert<double>(c.wte), pe = convert<double>(c.wpe), dout = convert<double>(c.dout);
  std::vector<double> dte(te.size()), dpe(pe.size());
  c.backward(dte, dpe);
  check_gradient("dwte", dte, finite_differences(te, [&](const auto& v) { return dot(c.forward(v, pe), dout); }));
  check_gradient("dwpe", dpe, finite_differences(pe, [&](const auto& v) { return dot(c.forward(te, v), dout); }));
}

TEST_CASE("embedding starts at a position given by pointer") {
  RandomInputs inputs(703);
  INFO("seed ", inputs.seed);
  int position = 0;
  const std::vector<float> wte = inputs.normal(5 * 8), wpe = inputs.normal(12 * 8);
  const std::vector<int32_t> tokens = {4, 0};
  for (position = 0; position <= 10; position += 5) {
    std::vector<float> out(2 * 8);
    embedding_forward(CpuContext{}, out.data(), tokens.data(), wte.data(), wpe.data(), {1, 2, 8, 5, &position},
                      Dropout{});
    for (size_t i = 0; i < 16; ++i) {
      CHECK(out[i] == wte[static_cast<size_t>(tokens[i / 8]) * 8 + i % 8] + wpe[static_cast<size_t>(position) * 8 + i]);
    }
  }
}

}  // namespace glint::test
