// Ranks that meet in a Redis.
#include <doctest/doctest.h>

#include <chrono>

#include "src/comm/communicator.h"
#include "src/comm/ranks.h"
#include "tests/src/comm/rank_processes.h"
#include "tests/src/comm/redis_server.h"

#ifdef GLINT_WITH_REDIS
#include "src/comm/meeting_place.h"

using namespace glint;
using namespace glint::test;

namespace {

std::string error_at(const std::string& rendezvous, int timeout_ms) {
  Ranks ranks;
  ranks.size = 2;
  GlooOptions options;
  options.rendezvous = rendezvous;
  options.launch = "one";
  options.timeout = std::chrono::milliseconds(timeout_ms);
  return error_of([&] { make_gloo_communicator(ranks, options); });
}

}  // namespace

TEST_CASE("comm: the address of a Redis") {
  const auto is = [](const std::string& text, const std::string& host, int port, const std::string& password) {
    const RedisUrl url = redis_url(text);
    CHECK(url.host == host);
    CHECK(url.port == port);
    CHECK(url.password == password);
  };
  is("redis://node-1", "node-1", 6379, "");
  is("redis://10.0.0.1:7000/", "10.0.0.1", 7000, "");
  is("redis://[fe80::1]:7000", "fe80::1", 7000, "");
  is("redis://[::1]", "::1", 6379, "");
  is("redis://:se@cret@h:1", "h", 1, "se@cret");
  for (const char* bad : {"", "redis:", "redis://", "http://h", "redis://h:", "redis://h:0", "redis://h:65536", "redis://h:x", "redis://[::1",
                          "redis://user:word@h", "redis://h/0"}) {
    INFO(bad);
    CHECK(error_at(bad[0] ? bad : "redis", 100) ==
          text("--rendezvous ", bad[0] ? bad : "redis", ": give redis://HOST:PORT, or leave it out to meet in the run folder"));
  }
}

TEST_CASE("comm: ranks that meet in a Redis, and what may be wrong with it" * doctest::skip(!RedisServer::here())) {
  const RedisServer redis("127.0.0.1", {}, "secret");
  {
    RankProcesses ranks("collectives", 3, 20000, 3, "comm: one rank", redis.url("secret"));
    for (int rank = 0; rank < 3; ++rank) {
      const Ran ran = ranks.wait(rank);
      INFO(ran.out, ran.err);
      CHECK(ran.code == 0);
      CHECK(ranks.wrote(rank, "error") == "");
      CHECK(!ranks.wrote(rank, "hash").empty());
    }
    CHECK(!std::filesystem::exists(ranks.folder() + "/launch"));
  }
  CHECK(error_at(redis.url(), 2000).find("NOAUTH") != std::string::npos);
  CHECK(error_at(redis.url("wrong"), 2000).find("the ranks can't meet in redis://127.0.0.1:") == 0);
  CHECK(error_at(redis.url("secret"), 500).starts_with("rank 1 of 2 did not come to redis://127.0.0.1:"));
  redis.send(SIGSTOP);  // it answers no more
  const auto start = std::chrono::steady_clock::now();
  CHECK(error_at(redis.url("secret"), 500).starts_with("the ranks can't meet in redis://127.0.0.1:"));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));
}

TEST_CASE("comm: a Redis that is not there is waited for, and then named") {
  const std::string nowhere = text("redis://127.0.0.1:", RedisServer::free_port());
  const std::string error = error_at(nowhere, 400);
  CHECK(error == "the ranks can't meet in " + nowhere + ": Connection refused; is it running, and can it be reached from here?");
}

#endif
