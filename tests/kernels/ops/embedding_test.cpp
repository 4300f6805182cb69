#include "kernels/embedding.h"

#include "tests/kernels/dropout_site.h"

namespace glint::test {
namespace {

template <typename Scalar>
struct Problem {
  EmbeddingShape shape;
  std::vector<int32_t> tokens;        // (B, T)
  std::vector<float> wte, wpe, dout;  // (V, C), (T, C), (B, T, C)
  std::vector<float> factors;         // (B, T, C), of dropout

  Problem(RandomInputs& inputs, const EmbeddingShape& s, const TestSite& site)
      : shape(s), factors(site.factors(s.B, s.T, s.C)) {
    const size_t T = static_cast<size_t>(s.T);
    for (int i = 0; i < s.B * s.T; ++i)
      tokens.push_back(inputs.below(2) ? inputs.below(s.V) : s.V / 2);  // one is frequent
    wte = rounded<Scalar>(inputs.normal(static_cast<size_t>(s.V) * C()));
    wpe = rounded<Scalar>(inputs.normal(T * C()));
    dout = rounded<Scalar>(inputs.normal(factors.size()));
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

template <typename Scalar>
Gradients run_backward(const Context& ctx, const Problem<Scalar>& p, const Dropout& dropout, Write write = Write::set,
                       size_t offset = 0, bool positions = true) {
  const Guarded<float> dwte(p.wte.size(), before(write), offset), dwpe(p.wpe.size(), before(write), offset);
  const Guarded<Scalar> dout(p.dout, offset);
  const Buffer<int32_t> tokens(p.tokens);
  const Guarded<float> scratch(embedding_backward_scratch(ctx, p.shape));
  embedding_backward<Scalar>(ctx, dwte.data(), positions ? dwpe.data() : nullptr, dout.data(), tokens.data(),
                             scratch.data(), p.shape, dropout, write, write);
  scratch.values();
  return {dwte.values(), dwpe.values()};
}

template <typename Scalar>
void check(RandomInputs& inputs, const EmbeddingShape& shape, float probability, const RngState& rng,
           size_t offset = 0) {
  INFO("B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", V ", shape.V, ", p ", probability, ", bytes ",
       sizeof(Scalar));
  const TestSite site(probability, rng);
  const Problem<Scalar> p(inputs, shape, site);
  const Guarded<Scalar> wte(p.wte, offset), wpe(p.wpe, offset);
  const Buffer<int32_t> tokens(p.tokens);
  Gradients first[2];
  for_each_context([&](const Context& ctx) {
    const Guarded<Scalar> out(p.dout.size(), offset);
    embedding_forward<Scalar>(ctx, out.data(), tokens.data(), wte.data(), wpe.data(), shape, site.dropout);
    CHECK(out.values() == rounded<Scalar>(p.forward(p.wte, p.wpe)));
    embedding_forward<Scalar>(ctx, out.data(), tokens.data(), wte.data(), nullptr, shape, site.dropout);
    CHECK(out.values() == rounded<Scalar>(p.forward(p.wte, std::vector<float>(p.wpe.size()))));
    for (const Write write : {Write::set, Write::add}) {
      std::vector<double> exact_te(p.wte.size(), base(write)), exact_pe(p.wpe.size(), base(write));
      std::vector<float> plain_te(p.wte.size(), base(write)), plain_pe(p.wpe.size(), base(write));
      p.backward(exact_te, exact_pe);
      p.backward(plain_te, plain_pe);
      const Gradients got = run_backward(ctx, p, site.dropout, write, offset);
      check_as_good("dwte", got.dwte, plain_te, exact_te);
      check_as_good("dwpe", got.dwpe, plain_pe, exact_pe);
      Gradients& once = first[write == Write::add];  // no bit depends on the threads
      if (once.dwte.empty()) once = got;
      CHECK(same_bits(got.dwte, once.dwte));
      CHECK(same_bits(got.dwpe, once.dwpe));
      CHECK(same_bits(run_backward(ctx, p, site.dropout, write, offset, false).dwte, once.dwte));
    }
  });
}

}  // namespace

TEST_CASE("embedding: agrees with double, its dropout with keep_row, small shapes") {
  RandomInputs inputs(1701);
  INFO("seed ", inputs.seed);
  for (const EmbeddingShape& shape :
       {EmbeddingShape{1, 1, 8, 1}, {3, 7, 17, 5}, {3, 7, 40, 5}, {2, 33, 131, 97}, {4, 16, 64, 300}, {1, 65, 3, 2}}) {
    for (const float p : {0.0f, 0.2f}) {
      check<float>(inputs, shape, p, kRngStates[1]);
      check<Bf16>(inputs, shape, p, kRngStates[1]);
    }
  }
  check<float>(inputs, {2, 9, 40, 7}, 0.5f, kRngStates[2], 1);
  check<Bf16>(inputs, {2, 9, 40, 7}, 0.5f, kRngStates[2], 3);
}

TEST_CASE("embedding: many tokens, some of them very frequent; large vocabularies") {
  RandomInputs inputs(1702);
  INFO("seed ", inputs.seed);
  // What follows "//" is for a GPU, which sorts the tokens in tiles and adds up chunks of equal ones.
  check<Bf16>(inputs, {9, 500, 24, 300}, 0.1f, kRngStates[0]);    // more than two tiles; half are one token
  check<float>(inputs, {3, 700, 5, 1}, 0.0f, kRngStates[0]);      // all are
  check<float>(inputs, {2, 300, 4, 70000}, 0.0f, kRngStates[0]);  // tokens of three bytes
  check<Bf16>(inputs, {1, 64, 300, 3}, 0.0f, kRngStates[0]);      // one chunk, to its end
  check<Bf16>(inputs, {2, 64, 300, 1}, 0.0f, kRngStates[0]);      // two chunks of one token, to their end
  check<float>(inputs, {4, 16, 16, 1000}, 0.5f, kRngStates[0]);
}

TEST_CASE("embedding: the oracle's backward is the derivative of its forward") {
  RandomInputs inputs(702);
  INFO("seed ", inputs.seed);
  const Problem<float> p(inputs, {2, 3, 8, 4}, TestSite(0.3f, kRngStates[0]));
  const auto te = convert<double>(p.wte), pe = convert<double>(p.wpe), dout = convert<double>(p.dout);
  std::vector<double> dte(te.size()), dpe(pe.size());
  p.backward(dte, dpe);
  check_gradient("dwte", dte, finite_differences(te, [&](const auto& v) { return dot(p.forward(v, pe), dout); }));
  check_gradient("dwpe", dpe, finite_differences(pe, [&](const auto& v) { return dot(p.forward(te, v), dout); }));
}

TEST_CASE("embedding: gradients have the same bits in every order") {
  RandomInputs inputs(1703);
  INFO("seed ", inputs.seed);
  const TestSite site(0.1f, kRngStates[1], 0);
  const Problem<Bf16> p(inputs, {4, 150, 40, 260}, site);
  const Gradients once = run_backward({}, p, site.dropout);
  in_every_order([&](const Context& ctx) {
    const Gradients again = run_backward(ctx, p, site.dropout);
    CHECK(same_bits(again.dwte, once.dwte));
    CHECK(same_bits(again.dwpe, once.dwpe));
  });
}

TEST_CASE("embedding: starts at a position given by pointer") {
  RandomInputs inputs(1704);
  INFO("seed ", inputs.seed);
  const std::vector<float> wte = inputs.normal(5 * 8), wpe = inputs.normal(12 * 8);
  const Guarded<float> e(wte), positions(wpe), out(2 * 8);
  const std::vector<int32_t> tokens = {4, 0};
  const Buffer<int32_t> on_device(tokens);
  const OnDevice<int> position(0);
  for (int first = 0; first <= 10; first += 5) {
    position.set(first);
    embedding_forward<float>(Context{}, out.data(), on_device.data(), e.data(), positions.data(),
                             {1, 2, 8, 5, position.data()}, Dropout{});
    const std::vector<float> got = out.values();
    for (size_t i = 0; i < 16; ++i)
      CHECK(got[i] == wte[static_cast<size_t>(tokens[i / 8]) * 8 + i % 8] + wpe[static_cast<size_t>(first) * 8 + i]);
  }
}

TEST_CASE("embedding: a NaN reaches the rows of its token and position, no others") {
  RandomInputs inputs(1705);
  INFO("seed ", inputs.seed);
  Problem<float> p(inputs, {3, 50, 6, 9}, TestSite(0.0f, {}));
  p.dout[77 * 6 + 2] = std::nanf("");
  const Gradients got = run_backward({}, p, Dropout{});
  for (size_t i = 0; i < got.dwte.size(); ++i) CHECK(std::isnan(got.dwte[i]) == (i == p.token(77 * 6 + 2)));
  for (size_t i = 0; i < got.dwpe.size(); ++i) CHECK(std::isnan(got.dwpe[i]) == (i == p.position(77 * 6 + 2)));
}

}  // namespace glint::test
