#include "src/partition.h"

#include <algorithm>

#include <doctest/doctest.h>

#include "src/comm/communicator.h"
#include "src/graph.h"
#include "src/ops.h"

using namespace glint;

namespace {

struct Layout {
  Parameters parameters;
  Layout() {
    parameters.add("wte", {65, 400});
    parameters.add("norm", {400});
    parameters.add("big", {400, 1600});
    parameters.add("bias", {1601});
    parameters.allocate();
  }
};

}  // namespace

TEST_CASE("partition: buckets cover all elements, separate decayed ones, and are neither too large nor too many") {
  const Layout layout;
  const size_t n = layout.parameters.elements(), decayed = layout.parameters.decayed_elements();
  for (int ranks : {2, 3, 4, 7, 64})
    for (size_t bytes : {size_t{1}, size_t{64} << 10, size_t{25} << 20}) {
      const Partition partition = partition_of(layout.parameters, 0, ranks, {bytes, false});
      const size_t unit = kShardUnit * static_cast<size_t>(ranks);
      size_t end = 0;
      for (const Bucket& bucket : partition.buckets) {
        CHECK(bucket.begin == end);
        CHECK((bucket.end <= decayed || bucket.begin >= decayed));
        CHECK(bucket.size() * sizeof(float) <= std::max(bytes, unit * sizeof(float)));
        if (bucket.end != decayed && bucket.end != n) CHECK(bucket.size() % unit == 0);
        end = bucket.end;
      }
      CHECK(end == n);
      CHECK(partition.kept == n);
      REQUIRE(partition.pieces.size() == 1);
      CHECK(partition.pieces[0].size() == n);
      if (bytes > n * sizeof(float)) CHECK(partition.buckets.size() == 4);  // of a MiB, which is small enough
    }
}

TEST_CASE("partition: the ranks' pieces cover every element once, have similar sizes and adjacent moments") {
  const Layout layout;
  const size_t n = layout.parameters.elements();
  for (int ranks : {1, 2, 3, 4, 7, 64}) {
    std::vector<int> owners(n, 0);
    for (int rank = 0; rank < ranks; ++rank) {
      const Partition partition = partition_of(layout.parameters, rank, ranks, {size_t{100} << 10, true});
      CHECK(partition.sharded == (ranks > 1));
      size_t kept = 0;
      for (const Piece& piece : partition.pieces) {
        CHECK(piece.size() > 0);
        CHECK(piece.moments == kept);
        CHECK(piece.begin % kShardUnit == 0);
        kept += piece.size();
        for (size_t i = piece.begin; i < piece.end; ++i) ++owners[i];
      }
      CHECK(partition.kept == kept);
      CHECK(kept <= n / static_cast<size_t>(ranks) + 2 * kShardUnit * partition.buckets.size());
    }
    CHECK(std::count(owners.begin(), owners.end(), 1) == static_cast<std::ptrdiff_t>(n));
  }
}

TEST_CASE("graph: a gradient is reported complete when backward adds no more to it, in backward's order") {
  Parameters parameters;
  Parameter* table = parameters.add("table", {9, 16});  // tied: used first and last
  Parameter* position = parameters.add("position", {4, 16});
  Parameter* weight = parameters.add("weight", {16, 16});
  parameters.allocate();
  parameters.allocate_training();
  for (size_t i = 0; i < parameters.elements(); ++i) parameters.values()[i] = 0.01f * static_cast<float>(i % 37);
  Graph graph({.device = CpuContext{1, default_matmul_engine()}, .training = true});
  const Tensor tokens = graph.input("tokens", {2, 4}, DType::i32), targets = graph.input("targets", {2, 4}, DType::i32);
  Tensor x = embedding(graph, tokens, graph.parameter(table), graph.parameter(position), 0.0f);
  x = linear(graph, x, graph.parameter(weight), Tensor(), WeightLayout::in_out);
  const Tensor losses = cross_entropy(graph, linear(graph, x, graph.parameter(table), Tensor(), WeightLayout::out_in),
                                      targets, 0.125f, table->shape[0]);
  graph.keep(losses);
  DeviceMemory arena(graph.plan(), "test");
  graph.bind(arena.data());
  std::vector<std::string> order;
  std::vector<float> seen;
  const auto note = [&](const Parameter* parameter) {
    return [&, parameter] {
      order.push_back(parameter->name);
      const float* gradient = parameters.gradients() + parameter->offset;
      seen.insert(seen.end(), gradient, gradient + parameter->shape.elements());
    };
  };
  for (const Parameter* parameter : {table, position, weight}) graph.on_gradient_ready({parameter}, note(parameter));
  graph.on_gradient_ready({weight, table}, [&] { order.push_back("both"); });
  graph.forward();
  CHECK(order.empty());
  graph.backward();
  CHECK(order == std::vector<std::string>{"weight", "table", "position", "both"});
  std::vector<float> finally;
  for (const Parameter* parameter : {weight, table, position}) {
    const float* gradient = parameters.gradients() + parameter->offset;
    finally.insert(finally.end(), gradient, gradient + parameter->shape.elements());
  }
  CHECK(seen == finally);
}
