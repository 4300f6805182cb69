#include "src/comm/communicator.h"

#include <doctest/doctest.h>

#include <vector>

#include "src/comm/ranks.h"
#include "tests/train/run_program.h"

using namespace glint;

TEST_CASE("comm: shards are adjacent, equal except the last ones, and cover the buffer") {
  for (int ranks : {1, 2, 3, 4, 7})
    for (size_t n : {0, 1, 15, 16, 17, 32, 96, 112, 1344, 1000, 1001}) {
      size_t end = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const Shard shard = shard_of(n, rank, ranks);
        CHECK(shard.begin == end);
        CHECK(shard.size() <= shard_of(n, 0, ranks).size());
        if (n % (kShardUnit * static_cast<size_t>(ranks)) == 0) CHECK(shard.size() == n / static_cast<size_t>(ranks));
        if (shard.size() > 0) CHECK(shard.begin % kShardUnit == 0);
        end = shard.end;
      }
      CHECK(end == n);
    }
  CHECK_THROWS_AS(shard_of(4, 2, 2), Error);
}

TEST_CASE("comm: with one rank, no call changes the data") {
  const auto comm = make_single_communicator();
  CHECK(comm->rank() == 0);
  CHECK(comm->size() == 1);
  std::vector<float> data = {1, 2, 3};
  const std::vector<float> before = data;
  comm->all_reduce(data);
  comm->reduce_scatter(data);
  comm->all_gather(data);
  comm->broadcast(std::as_writable_bytes(std::span(data)), 0);
  comm->barrier();
  CHECK(data == before);
}

TEST_CASE("comm: an error while connecting is one line") {
  Ranks ranks;
  ranks.size = 2;
  GlooOptions options;
  const auto error = [&] { return test::error_of([&] { make_gloo_communicator(ranks, options); }); };
  if (!kHasGloo) {
    CHECK(error().starts_with("2 ranks on CPUs: this build of glint has no Gloo; install libgloo-dev and build again"));
    return;
  }
  options.launch = "one";
  options.folder = "/dev/null/x";
  CHECK(error() == "the ranks can't connect in /dev/null/x/one: Not a directory");
  options.interface = "no-such-if";
  CHECK(error() ==
        "`interface` no-such-if: there is no such network interface with an address; `ip address` lists them");
}
