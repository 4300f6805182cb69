#include "src/comm/communicator.h"

#include <algorithm>

#include "src/comm/ranks.h"

namespace glint {

namespace {

class SingleCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce(std::span<float>) override {}
  void all_reduce(std::span<double>) override {}
  void reduce_scatter(std::span<float>) override {}
  void all_gather(std::span<float>) override {}
  void all_gather(std::span<Bf16>) override {}
  void broadcast(std::span<std::byte>, int root) override { GLINT_CHECK(root == 0, "root is ", root, " of one rank"); }
  void abort(const std::string&) noexcept override {}
};

}  // namespace

std::unique_ptr<Communicator> make_single_communicator() { return std::make_unique<SingleCommunicator>(); }

Shard shard_of(size_t n, int rank, int ranks) {
  GLINT_CHECK(0 <= rank && rank < ranks, "rank is ", rank, " of ", ranks);
  const size_t unit = kShardUnit * static_cast<size_t>(ranks), each = (n + unit - 1) / unit * kShardUnit;
  const size_t begin = std::min(n, each * static_cast<size_t>(rank));
  return {begin, std::min(n, begin + each)};
}

#ifndef GLINT_WITH_GLOO
std::unique_ptr<Communicator> make_gloo_communicator(const Ranks& ranks, const GlooOptions&) {
  throw UserError(str_cat(ranks.size, " ranks on CPUs: this build of glint has no Gloo; install libgloo-dev and build ",
                          "again, or train with one process"));
}
#endif

}  // namespace glint
