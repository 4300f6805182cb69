#include <algorithm>
#include <cmath>

#include <doctest/doctest.h>

#include "src/ops.h"
#include "tests/random.h"

using namespace glint;

namespace {

// Tokens -> embedding -> the loss of a head tied to it.
struct Tied {
  Parameters parameters;
  Parameter *weight, *position;
  RngState rng{.seed = 1};
  Graph graph;
  Tensor tokens, targets, x, losses;
  DeviceMemory arena;

  Tied(DType dtype, int rows, int V, int C, int chunk, bool training = true, float scale = 1.0f, int padding = 0)
      : parameters(CpuContext{2, default_matmul_engine()}, dtype),
        weight(parameters.add("weight", {V, C}, padding)),
        position(parameters.add("position", {rows, C})),
        graph({.device = parameters.device(), .dtype = dtype, .training = training, .rng = &rng}) {
    parameters.allocate();
    parameters.allocate_training();
    test::RandomInputs inputs(7);
    const std::vector<float> values = inputs.normal(parameters.elements(), 0.5f);
    std::copy(values.begin(), values.end(), parameters.values());
    std::fill_n(weight->data() + static_cast<size_t>(V) * static_cast<size_t>(C), padding * C, 0.0f);
    parameters.refresh_rounded();
    tokens = graph.input("tokens", {1, rows}, DType::i32);
    targets = graph.input("targets", {1, rows}, DType::i32);
    const Tensor head = graph.weight(weight);
    x = embedding(graph, tokens, head, graph.weight(position), 0.0f);
    losses = chunk ? linear_cross_entropy(graph, x, head, targets, scale, V, chunk)
                   : cross_entropy(graph, linear(graph, x, head, Tensor(), WeightLayout::out_in), targets, scale, V);
    graph.keep(losses);
    arena = DeviceMemory(graph.plan(), "test");
    graph.bind(arena.data());
    for (int i = 0; i < rows; ++i) tokens.i32()[i] = inputs.below(V), targets.i32()[i] = inputs.below(V);
  }

  void step(bool accumulate = false) {
    graph.accumulate(accumulate);
    graph.forward();
    graph.backward();
  }
  std::vector<float> all_losses() const { return {losses.f32(), losses.f32() + losses.shape().elements()}; }
  std::vector<float> gradients() const {
    return {parameters.gradients(), parameters.gradients() + parameters.elements()};
  }
};

void check_close(const std::vector<float>& got, const std::vector<float>& expected, double tolerance) {
  REQUIRE(got.size() == expected.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(static_cast<double>(got[i]) - expected[i], 2);
    size += std::pow(static_cast<double>(expected[i]), 2);
  }
  CHECK(size > 0);
  CHECK(std::sqrt(difference / size) < tolerance);
}

}  // namespace

TEST_CASE("[threads] loss by chunks: losses and gradients of whole logits, to rounding") {
  constexpr int kRows = 21, V = 37, C = 16;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const double tolerance = dtype == DType::f32 ? 2e-6 : 1e-3;
    Tied whole(dtype, kRows, V, C, 0);
    whole.step();
    for (const int chunk : {1, 4, 7, 20, 21, 50}) {
      INFO("chunk ", chunk, dtype == DType::bf16 ? ", bf16" : ", fp32");
      Tied cut(dtype, kRows, V, C, chunk), evaluated(dtype, kRows, V, C, chunk, false);
      cut.step();
      check_close(cut.all_losses(), whole.all_losses(), tolerance);
      const auto once = cut.gradients();
      check_close(once, whole.gradients(), tolerance);
      evaluated.graph.forward();
      check_close(evaluated.all_losses(), whole.all_losses(), tolerance);
      // Another replay sets the gradients again, one that accumulates adds to them.
      cut.step();
      CHECK(cut.gradients() == once);
      cut.step(true);
      std::vector<float> half = cut.gradients();
      for (float& value : half) value /= 2;
      check_close(half, once, 1e-6);
    }
  }
}

TEST_CASE("loss with rows of padding: the same losses and gradients, and a gradient of 0 for the padding") {
  constexpr int kRows = 21, V = 37, C = 16, kPadding = 27;
  for (const int chunk : {0, 8}) {
    Tied plain(DType::f32, kRows, V, C, chunk), padded(DType::f32, kRows, V, C, chunk, true, 1.0f, kPadding);
    std::copy_n(plain.weight->data(), V * C, padded.weight->data());
    std::copy_n(plain.position->data(), kRows * C, padded.position->data());
    std::copy_n(plain.tokens.i32(), kRows, padded.tokens.i32());
    std::copy_n(plain.targets.i32(), kRows, padded.targets.i32());
    plain.step(), padded.step();
    check_close(padded.all_losses(), plain.all_losses(), 2e-6);
    const float *from = padded.parameters.gradients() + padded.weight->offset, *all = plain.parameters.gradients();
    check_close({from, from + V * C}, {all, all + V * C}, 2e-6);
    CHECK(std::count(from + V * C, from + (V + kPadding) * C, 0.0f) == kPadding * C);
  }
}

TEST_CASE("loss by chunks: a chunk's logits take less memory, and the work is the same") {
  Tied whole(DType::f32, 64, 301, 8, 0), cut(DType::f32, 64, 301, 8, 16);
  CHECK(whole.arena.bytes() > 64 * 301 * 4);
  CHECK(cut.arena.bytes() < 64 * 301 * 4 / 3);
  const Profile all = whole.graph.work(), by_chunks = cut.graph.work();
  const OpStats& op = by_chunks.at("linear_cross_entropy");
  CHECK(op.flops == all.at("linear").flops + all.at("linear backward").flops);
  CHECK(op.bytes > 4 * 64 * 301 * 4);  // each logit is written and read twice, as before
}

TEST_CASE("loss by chunks: what is not finite is named; shapes and targets are checked") {
  Tied tied(DType::f32, 5, 11, 8, 2);
  tied.step();
  CHECK_FALSE(tied.graph.find_nonfinite().has_value());
  Tied overflows(DType::f32, 5, 11, 8, 2, true, INFINITY);  // in forward already
  CHECK(overflows.graph.find_nonfinite() == "gradient of " + overflows.x.name());
  tied.parameters.gradients()[3] = INFINITY;
  tied.graph.accumulate(true);
  CHECK(tied.graph.find_nonfinite() == "gradient of weight");
  tied.targets.i32()[4] = 11;
  CHECK_THROWS_AS(tied.graph.forward(), Error);
  Graph g({});
  const Tensor x = g.tensor("x", {4, 8}), weight = g.tensor("weight", {9, 8}), narrow = g.tensor("narrow", {9, 7}),
               targets = g.input("targets", {4}, DType::i32), few = g.input("few", {3}, DType::i32);
  CHECK_THROWS_AS(linear_cross_entropy(g, x, narrow, targets, 1.0f, 9, 2), Error);
  CHECK_THROWS_AS(linear_cross_entropy(g, x, weight, few, 1.0f, 9, 2), Error);
  CHECK_THROWS_AS(linear_cross_entropy(g, x, weight, targets, 1.0f, 9, 0), Error);
  CHECK_THROWS_AS(linear_cross_entropy(g, x, weight, targets, 1.0f, 10, 2), Error);
}
