#include "kernels/embedding.h"

#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

template <typename Scalar>
struct Problem {
  EmbeddingShape shape;
  std::vector<int32_t> tokens;        // (B, T)
  std::vector<float> wte, wpe, dout;  // (V, C), (T, C), (B, T, C)
  std::vector<float> factors;         // (B, T, C), what dropout multiplies with

  Problem(RandomInputs& inputs, const EmbeddingShape& s, const Dropout& dropout) : shape(s) {
    const size_t rows = static_cast<size_t>(s.B * s.T), C = static_cast<size_t>(s.C), T = static_cast<size_t>(s.T);
    for (size_t i = 0; i < rows; ++i)
      tokens.push_back(inputs.below(2) ? inputs.below(s.V) : s.V / 2);  // one is frequent
    wte = rounded<Scalar>(inputs.normal(static_cast<size_t>(s.V) * C));
    wpe = rounded<Scalar>(inputs.normal(T * C));
    dout = rounded<Scalar>(inputs.normal(rows * C));
    const KeepRule rule = keep_rule(dropout.p);
    for (size_t i = 0; i < rows * C; ++i) {
      const bool keep =
          !dropout.on() ||
          keep_row(dropout.rng->seed, dropout.rng->offset + dropout.site, dropout.rng->first_sequence + i / C / T,
                   static_cast<uint32_t>(i / C % T), static_cast<uint32_t>(i % C), rule.threshold);
      factors.push_back(keep ? rule.scale : 0.0f);
    }
  }
  size_t C() const { return static_cast<size_t>(shape.C); }
  size_t token(size_t i) const { return static_cast<size_t>(tokens[i / C()]) * C() + i % C(); }  // of element i, in wte
  size_t position(size_t i) const { return i / C() % static_cast<size_t>(shape.T) * C() + i % C(); }  // and in wpe

  std::vector<float> forward() const {
    std::vector<float> out;
    for (size_t i = 0; i < dout.size(); ++i) out.push_back((wte[token(i)] + wpe[position(i)]) * factors[i]);
    return rounded<Scalar>(out);
  }
  template <typename Real>
  void backward(std::vector<Real>& dte, std::vector<Real>& dpe) const {
    for (size_t i = 0; i < dout.size(); ++i) {
      dte[token(i)] += Real(dout[i]) * Real(factors[i]);
      dpe[position(i)] += Real(dout[i]) * Real(factors[i]);
    }
  }
  std::vector<Scalar> scalars(const std::vector<float>& values) const {
    std::vector<Scalar> result;
    for (const float value : values) result.push_back(from_float_to<Scalar>(value));
    return result;
  }
};

struct Gradients {
  std::vector<float> dwte, dwpe;
};

template <typename Scalar>
Gradients run_backward(const Problem<Scalar>& p, const Dropout& dropout, Write write, float before, size_t offset = 0) {
  const Guarded<float> dwte(std::vector<float>(p.wte.size(), before), offset),
      dwpe(std::vector<float>(p.wpe.size(), before), offset);
  const Guarded<Scalar> dout(p.dout, offset);
  const DeviceBuffer<int32_t> tokens(p.tokens);
  const Guarded<float> scratch(embedding_backward_scratch(kCuda, p.shape));
  embedding_backward<Scalar>(kCuda, dwte.data(), dwpe.data(), dout.data(), tokens.data(), scratch.data(), p.shape,
                             dropout, write, write);
  scratch.values();
  return {dwte.values(), dwpe.values()};
}

template <typename Scalar>
Gradients run_backward_cpu(const Problem<Scalar>& p, const Dropout& dropout, Write write, float before) {
  Gradients g{std::vector<float>(p.wte.size(), before), std::vector<float>(p.wpe.size(), before)};
  embedding_backward(CpuContext{.threads = 2}, g.dwte.data(), g.dwpe.data(), p.scalars(p.dout).data(), p.tokens.data(),
                     nullptr, p.shape, dropout, write, write);
  return g;
}

template <typename Scalar>
void check(RandomInputs& inputs, const EmbeddingShape& shape, float probability, const RngState& rng,
           size_t offset = 0) {
  INFO("B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", V ", shape.V, ", p ", probability, ", bytes ",
       sizeof(Scalar));
  const DropoutPair dropout(probability, rng, 96);
  const Problem<Scalar> p(inputs, shape, dropout.cpu);
  const Guarded<Scalar> out(p.dout.size(), offset), wte(p.wte, offset), wpe(p.wpe, offset);
  const DeviceBuffer<int32_t> tokens(p.tokens);
  embedding_forward<Scalar>(kCuda, out.data(), tokens.data(), wte.data(), wpe.data(), shape, dropout.cuda);
  const std::vector<float> expected = p.forward();
  CHECK(out.values() == expected);
  std::vector<Scalar> cpu(p.dout.size());
  embedding_forward(kCpu, cpu.data(), p.tokens.data(), p.scalars(p.wte).data(), p.scalars(p.wpe).data(), shape,
                    dropout.cpu);
  for (size_t i = 0; i < cpu.size(); ++i) REQUIRE(to_float(cpu[i]) == expected[i]);

  for (const Write write : {Write::set, Write::add}) {
    const float before = write == Write::set ? std::nanf("") : 0.25f, base = write == Write::set ? 0.0f : 0.25f;
    std::vector<double> exact_te(p.wte.size(), base), exact_pe(p.wpe.size(), base);
    std::vector<float> plain_te(p.wte.size(), base), plain_pe(p.wpe.size(), base);
    p.backward(exact_te, exact_pe);
    p.backward(plain_te, plain_pe);
    const Gradients got = run_backward(p, dropout.cuda, write, before, offset);
    check_as_good("dwte", got.dwte, plain_te, exact_te);
    check_as_good("dwpe", got.dwpe, plain_pe, exact_pe);
    const Gradients on_cpu = run_backward_cpu(p, dropout.cpu, write, before);
    check_as_good("dwte, CPU", on_cpu.dwte, plain_te, exact_te);
    check_as_good("dwpe, CPU", on_cpu.dwpe, plain_pe, exact_pe);
  }
}

}  // namespace

TEST_CASE("cuda embedding: agrees with double, its dropout with keep_row, small shapes") {
  RandomInputs inputs(1701);
  INFO("seed ", inputs.seed);
  for (const EmbeddingShape& shape :
       {EmbeddingShape{1, 1, 8, 1}, {3, 7, 17, 5}, {2, 33, 131, 97}, {4, 16, 64, 300}, {1, 65, 3, 2}}) {
    for (const float p : {0.0f, 0.2f}) {
      check<float>(inputs, shape, p, kRngStates[1]);
      check<Bf16>(inputs, shape, p, kRngStates[1]);
    }
  }
  check<float>(inputs, {2, 9, 40, 7}, 0.5f, kRngStates[2], 1);
  check<Bf16>(inputs, {2, 9, 40, 7}, 0.5f, kRngStates[2], 3);
}

TEST_CASE("cuda embedding: many tokens, some of them over many chunks; large vocabularies") {
  RandomInputs inputs(1702);
  INFO("seed ", inputs.seed);
  check<Bf16>(inputs, {9, 500, 24, 300}, 0.1f, kRngStates[0]);    // more than two tiles of the sort; half are one token
  check<float>(inputs, {3, 700, 5, 1}, 0.0f, kRngStates[0]);      // all are
  check<float>(inputs, {2, 300, 4, 70000}, 0.0f, kRngStates[0]);  // tokens of three bytes
  check<Bf16>(inputs, {1, 64, 300, 3}, 0.0f, kRngStates[0]);      // one chunk, to its end
  check<Bf16>(inputs, {2, 64, 300, 1}, 0.0f, kRngStates[0]);      // two chunks of one token, to their end
}

TEST_CASE("cuda embedding: gradients have the same bits in any order of threads") {
  RandomInputs inputs(1703);
  INFO("seed ", inputs.seed);
  const DropoutPair dropout(0.1f, kRngStates[1], 0);
  const Problem<Bf16> p(inputs, {4, 150, 40, 260}, dropout.cpu);
  const Gradients once = run_backward(p, dropout.cuda, Write::set, 0.0f);
  simt::in_every_order([&] {
    const Gradients again = run_backward(p, dropout.cuda, Write::set, 7.0f);
    CHECK(same_bits(again.dwte, once.dwte));
    CHECK(same_bits(again.dwpe, once.dwpe));
  });
}

TEST_CASE("cuda embedding: starts at a position given by pointer") {
  RandomInputs inputs(1704);
  INFO("seed ", inputs.seed);
  const std::vector<float> wte = inputs.normal(5 * 8), wpe = inputs.normal(12 * 8);
  const Guarded<float> e(wte), positions(wpe), out(2 * 8);
  const std::vector<int32_t> tokens = {4, 0};
  const DeviceBuffer<int32_t> on_device(tokens);
  const OnDevice<int> position(0);
  for (int first = 0; first <= 10; first += 5) {
    position.buffer.copy_from(std::vector<int>{first});
    embedding_forward<float>(kCuda, out.data(), on_device.data(), e.data(), positions.data(),
                             {1, 2, 8, 5, position.data()}, Dropout{});
    const std::vector<float> got = out.values();
    for (size_t i = 0; i < 16; ++i) {
      CHECK(got[i] == wte[static_cast<size_t>(tokens[i / 8]) * 8 + i % 8] + wpe[static_cast<size_t>(first) * 8 + i]);
    }
  }
}

TEST_CASE("cuda embedding: a NaN reaches the rows of its token and position, no others") {
  RandomInputs inputs(1705);
  INFO("seed ", inputs.seed);
  Problem<float> p(inputs, {3, 50, 6, 9}, Dropout{});
  p.dout[77 * 6 + 2] = std::nanf("");
  const Gradients got = run_backward(p, Dropout{}, Write::set, 0.0f);
  for (size_t i = 0; i < got.dwte.size(); ++i) CHECK(std::isnan(got.dwte[i]) == (i == p.token(77 * 6 + 2)));
  for (size_t i = 0; i < got.dwpe.size(); ++i) CHECK(std::isnan(got.dwpe[i]) == (i == p.position(77 * 6 + 2)));
}

}  // namespace glint::test
