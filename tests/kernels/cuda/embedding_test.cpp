#include "kernels/embedding.h"

#include "tests/kernels/cuda/guarded.h"

namespace glint::test {
namespace {

struct Case {
  EmbeddingShape shape;
  std::vector<int32_t> tokens;        // (B, T)
  std::vector<float> wte, wpe, dout;  // (V, C), (T, C), (B, T, C)
};

template <typename Scalar>
Case make(RandomInputs& inputs, const EmbeddingShape& s) {
  Case c{s, {}, {}, {}, {}};
  const size_t C = static_cast<size_t>(s.C), rows = static_cast<size_t>(s.B) * static_cast<size_t>(s.T);
  for (size_t i = 0; i < rows; ++i) c.tokens.push_back(inputs.below(3) ? inputs.below(s.V) : s.V / 2);  // one is common
  c.wte = rounded<Scalar>(inputs.normal(static_cast<size_t>(s.V) * C));
  c.wpe = rounded<Scalar>(inputs.normal(static_cast<size_t>(s.T) * C));
  c.dout = rounded<Scalar>(inputs.normal(rows * C));
  return c;
}

struct Results {
  std::vector<float> out, dwte, dwpe;
  bool operator==(const Results& other) const {
    return same_bits(out, other.out) && same_bits(dwte, other.dwte) && same_bits(dwpe, other.dwpe);
  }
};

template <typename Scalar>
Results run_on_gpu(const Case& c, const Dropout& dropout, Write write, float before, size_t offset = 0) {
  const DeviceBuffer<int32_t> tokens(c.tokens);
  const Guarded<Scalar> wte(c.wte, offset), wpe(c.wpe, offset), dout(c.dout, offset), out(c.dout.size(), offset);
  const Guarded<float> dwte(std::vector<float>(c.wte.size(), before)), dwpe(std::vector<float>(c.wpe.size(), before));
  DeviceBuffer<uint32_t> scratch(embedding_backward_scratch(kCuda, c.shape));
  embedding_forward(kCuda, out.data(), tokens.data(), static_cast<const Scalar*>(wte.data()), static_cast<const Scalar*>(wpe.data()), c.shape,
                    dropout);
  embedding_backward(kCuda, dwte.data(), dwpe.data(), static_cast<const Scalar*>(dout.data()), tokens.data(), scratch.data(), c.shape,
                     dropout, write, write);
  return {out.values(), dwte.values(), dwpe.values()};
}

Results run_on_cpu(const Case& c, const Dropout& dropout, Write write, float before) {
  Results r{std::vector<float>(c.dout.size()), std::vector<float>(c.wte.size(), before), std::vector<float>(c.wpe.size(), before)};
  embedding_forward(kCpu, r.out.data(), c.tokens.data(), c.wte.data(), c.wpe.data(), c.shape, dropout);
  embedding_backward(kCpu, r.dwte.data(), r.dwpe.data(), c.dout.data(), c.tokens.data(), nullptr, c.shape, dropout, write, write);
  return r;
}

// The CPU's results are those of the same sums in another order; forward has one sum and one product only.
template <typename Scalar>
void check(RandomInputs& inputs, const EmbeddingShape& shape, const DropoutPair& dropout, size_t offset = 0) {
  INFO("B ", shape.B, ", T ", shape.T, ", C ", shape.C, ", V ", shape.V, ", p ", dropout.cpu.p, ", bytes ", sizeof(Scalar));
  const Case c = make<Scalar>(inputs, shape);
  for (const Write write : {Write::set, Write::add}) {
    const float before = write == Write::set ? std::nanf("") : 0.5f;
    const Results gpu = run_on_gpu<Scalar>(c, dropout.cuda, write, before, offset), cpu = run_on_cpu(c, dropout.cpu, write, before);
    CHECK(same_bits(gpu.out, rounded<Scalar>(cpu.out)));
    const double rows = shape.B * shape.T;
    for (const auto& [got, expected] : {std::pair{gpu.dwte, cpu.dwte}, {gpu.dwpe, cpu.dwpe}})
      CHECK(worst_error(got, convert<double>(expected)) <= 4.0 * rows * 1.2e-7);
    CHECK(run_on_gpu<Scalar>(c, dropout.cuda, write, before, offset) == gpu);
  }
}

}  // namespace

TEST_CASE("cuda embedding is the CPU's, dropout and all, small shapes") {
  RandomInputs inputs(2701);
  INFO("seed ", inputs.seed);
  int turn = 0;
  for (const EmbeddingShape& shape : {EmbeddingShape{1, 1, 8, 3}, {3, 7, 40, 5}, {2, 33, 131, 97}, {4, 16, 16, 1000}}) {
    for (const float p : {0.0f, 0.1f, 0.5f}) {
      const DropoutPair dropout(p, kRngStates[turn % 3], 96);
      check<float>(inputs, shape, dropout, turn % 2);
      check<Bf16>(inputs, shape, dropout, turn % 3);
      ++turn;
    }
  }
}

TEST_CASE("cuda embedding: many places, cut into chunks, in any order of threads") {
  RandomInputs inputs(2702);
  INFO("seed ", inputs.seed);
  const DropoutPair dropout(0.2f, kRngStates[1], 0);
  check<Bf16>(inputs, {5, 211, 24, 65}, dropout);   // 4 chunks
  check<float>(inputs, {2, 300, 530, 40}, dropout);  // more channels than a warp has at once
  const Case c = make<Bf16>(inputs, {3, 250, 16, 20});
  const Results expected = run_on_gpu<Bf16>(c, dropout.cuda, Write::set, 0.0f);
  simt::in_every_order([&] { CHECK(run_on_gpu<Bf16>(c, dropout.cuda, Write::set, 0.0f) == expected); }, 1);
}

TEST_CASE("cuda embedding starts at a position given by pointer, small shapes") {
  RandomInputs inputs(2703);
  INFO("seed ", inputs.seed);
  const auto wte = inputs.normal(5 * 8), wpe = inputs.normal(20 * 8);
  const Guarded<float> wte_there(wte), wpe_there(wpe), out(2 * 8);
  const DeviceBuffer<int32_t> tokens(std::vector<int32_t>{4, 0});
  const OnDevice<int> position(7);
  embedding_forward(kCuda, out.data(), tokens.data(), static_cast<const float*>(wte_there.data()), static_cast<const float*>(wpe_there.data()),
                    {1, 2, 8, 5, position.data()}, Dropout{});
  const auto got = out.values();
  for (size_t i = 0; i < 16; ++i) CHECK(got[i] == wte[(i < 8 ? 4u : 0u) * 8 + i % 8] + wpe[7 * 8 + i]);
}

}  // namespace glint::test
