#include "src/graph.h"

#include <cmath>

#include <doctest/doctest.h>

#include "kernels/attention.h"
#include "src/ops.h"
#include "tests/models/tiny_gpt.h"

using namespace glint;

namespace {

// A two-op graph on a parameter: loss rows of a linear layer.
struct Small {
  Parameters parameters;
  Parameter* weight;
  RngState rng{.seed = 1};
  Graph graph;
  Tensor tokens, targets, losses;
  DeviceMemory arena;

  Small()
      : weight(parameters.add("weight", {9, 8})),
        graph({.device = CpuContext{1, default_matmul_engine()}, .training = true, .rng = &rng}) {
    Parameter* position = parameters.add("position", {4, 8});
    parameters.allocate();
    parameters.allocate_training();
    for (size_t i = 0; i < parameters.elements(); ++i) parameters.values()[i] = std::sin(static_cast<float>(i));
    tokens = graph.input("tokens", {2, 4}, DType::i32);
    targets = graph.input("targets", {2, 4}, DType::i32);
    const Tensor x = embedding(graph, tokens, graph.parameter(weight), graph.parameter(position), 0.0f);
    losses = cross_entropy(graph, linear(graph, x, graph.parameter(weight), Tensor(), WeightLayout::out_in), targets,
                           0.125f, 9);
    graph.keep(losses);
    arena = DeviceMemory(graph.plan(), "test");
    graph.bind(arena.data());
    for (int i = 0; i < 8; ++i) tokens.i32()[i] = i, targets.i32()[i] = (3 * i) % 9;
  }
  std::vector<float> gradients() const {
    return {parameters.gradients(), parameters.gradients() + parameters.elements()};
  }
};

}  // namespace

TEST_CASE("after a node's backward its inputs and the gradient of its output can be read") {
  Small small;
  int calls = 0;
  small.graph.after_backward_of("linear", [&](const Node& node) {
    calls += 1;
    const float *x = node.inputs[0].f32(), *dlogits = node.outputs[0].gradient();
    for (int row = 0; row < 8; ++row) {
      for (int c = 0; c < 8; ++c)  // token `row`, position row % 4
        CHECK(x[row * 8 + c] ==
              small.weight->data()[row * 8 + c] + small.parameters.all().back().data()[row % 4 * 8 + c]);
      float sum = 0, size = 0;  // of softmax - 1 at the target
      for (int c = 0; c < 9; ++c) sum += dlogits[row * 9 + c], size += std::abs(dlogits[row * 9 + c]);
      CHECK(std::abs(sum) < 1e-7f);
      CHECK(size > 1e-3f);
    }
  });
  small.graph.forward();
  CHECK(calls == 0);
  small.graph.backward();
  CHECK(calls == 1);
}

TEST_CASE("a replay sets a parameter's gradient, or adds to it while accumulating") {
  Small small;
  small.graph.forward();
  small.graph.backward();
  const auto once = small.gradients();
  small.graph.forward();
  small.graph.backward();
  CHECK(small.gradients() == once);
  small.graph.accumulate(true);
  small.graph.forward();
  small.graph.backward();
  const auto twice = small.gradients();
  for (size_t i = 0; i < once.size(); ++i) CHECK(twice[i] == doctest::Approx(2 * once[i]));
}

TEST_CASE("a tied weight sums the gradients of both uses") {
  Small small;
  small.graph.forward();
  small.graph.backward();
  const auto gradient = small.gradients();
  const auto loss = [&] {
    small.graph.forward();
    double total = 0;
    for (int i = 0; i < 8; ++i) total += small.losses.f32()[i];
    return total / 8;
  };
  for (size_t i : {size_t{0}, size_t{13}, size_t{40}, size_t{71}}) {
    float& value = small.parameters.values()[i];
    const float start = value, h = 1e-2f;
    value = start + h;
    const double up = loss();
    value = start - h;
    const double down = loss();
    value = start;
    CHECK((up - down) / (2 * static_cast<double>(h)) == doctest::Approx(gradient[i]).epsilon(1e-3));
  }
}

TEST_CASE("dropout sites follow one another; p = 0 and evaluation consume nothing") {
  RngState rng;
  Graph training({.training = true, .rng = &rng, .global_batch = 5});
  const Dropout a = training.dropout_site(0.1f, 4), off = training.dropout_site(0.0f, 4),
                b = training.dropout_site(0.2f, 1);
  CHECK(a.on());
  CHECK(a.site == 0);
  CHECK_FALSE(off.on());
  CHECK(b.site == 32 * 5 * 4);
  CHECK(training.dropout_offsets_used() == 32 * 5 * 5);
  Graph evaluation({.rng = &rng});
  CHECK_FALSE(evaluation.dropout_site(0.1f, 4).on());
  CHECK(evaluation.dropout_offsets_used() == 0);
}

TEST_CASE("recording ends with planning, binding needs a plan") {
  Graph g({});
  CHECK_THROWS_AS(g.bind(nullptr), Error);
  const Tensor tokens = g.input("tokens", {1, 1}, DType::i32);
  CHECK_THROWS_AS(tokens.f32(), Error);
  Small small;
  CHECK_THROWS_AS(small.graph.tensor("late", {1}), Error);
  CHECK_THROWS_AS(small.graph.plan(), Error);
}

TEST_CASE("a profile names every op, forward and backward") {
  Small small;
  small.graph.profile(true);
  small.graph.forward();
  small.graph.backward();
  const Profile& profile = small.graph.profiled();
  for (const char* name : {"embedding", "linear", "cross_entropy", "linear backward", "embedding backward"}) {
    REQUIRE(profile.contains(name));
    CHECK(profile.at(name).seconds > 0);
    CHECK(profile.at(name).bytes > 0);
    CHECK((profile.at(name).flops > 0) == (std::string(name).find("linear") == 0));
  }
  CHECK(profile.at("linear backward").flops == 2 * profile.at("linear").flops);
}

// What lies in the arena; parameters do not.
TEST_CASE("a profile counts the bytes that each op reads and writes") {
  Small small;
  const Profile work = small.graph.work();
  const double x = 8 * 8 * 4, logits = 8 * 9 * 4, row = 8 * 4;  // 8 tokens, 8 channels, 9 words
  CHECK(work.at("linear").bytes == x + logits);
  CHECK(work.at("cross_entropy").bytes == 2 * logits + row + row);  // logits become their gradient; targets; losses
  CHECK(work.at("linear backward").bytes == x + logits + x);
}
