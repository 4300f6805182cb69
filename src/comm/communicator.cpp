#include "src/comm/communicator.h"

#include <algorithm>

#include "src/comm/ranks.h"

namespace glint {

Shard shard_of(size_t n, int rank, int ranks) {
  GLINT_CHECK(0 <= rank && rank < ranks, "rank is ", rank, " of ", ranks);
  const size_t unit = kShardUnit * static_cast<size_t>(ranks), each = (n + unit - 1) / unit * kShardUnit;
  const size_t begin = std::min(n, each * static_cast<size_t>(rank));
  return {begin, std::min(n, begin + each)};
}

#ifndef GLINT_WITH_GLOO
std::unique_ptr<Communicator> make_gloo_communicator(const Ranks& ranks, const GlooOptions&) {
  throw UserError(str_cat(ranks.size,
                          " ranks on CPUs: this build of glint has no Gloo; build it where libgloo-dev is installed, ",
                          "or train with one process"));
}
#endif

}  // namespace glint
