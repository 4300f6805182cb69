// Ranks that meet in a Redis, and what may be wrong with it.
#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "src/comm/communicator.h"
#include "src/comm/ranks.h"
#include "tests/src/comm/rank_processes.h"
#include "tests/src/comm/redis_server.h"
#include "tests/src/comm/two_hosts.h"

#ifdef GLINT_WITH_GLOO
#include "src/comm/gloo_address.h"
#include "src/comm/meeting_place.h"

using namespace glint;
using namespace glint::test;

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

double seconds_from(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A meeting of rank 0 of 2 alone: what it says, and that it does so in time.
std::string error_at(const std::string& rendezvous, int timeout_ms) {
  Ranks ranks;
  ranks.size = 2;
  GlooOptions options;
  options.rendezvous = rendezvous;
  options.launch = "launch";
  options.timeout = milliseconds(timeout_ms);
  const auto start = Clock::now();
  const std::string error = error_of([&] { make_gloo_communicator(ranks, options); });
  CHECK(seconds_from(start) < timeout_ms / 1000.0 + 1);
  return error;
}

bool redis_here() {
  if (!RedisServer::here()) MESSAGE("skipped: it needs a Redis server");
  return RedisServer::here();
}

// What redis-cli prints; it comes with the server.
std::string ask(const RedisServer& redis, std::vector<std::string> words) {
  words.insert(words.begin(), {"-u", redis.url()});
  return Running(words, path_of("redis-cli")).wait().out;
}

void check_met(RankProcesses& ranks, int size) {
  for (int rank = 0; rank < size; ++rank) {
    const Ran ran = ranks.wait(rank);
    INFO("rank ", rank, ":\n", ran.out, ran.err);
    CHECK(ran.code == 0);
    CHECK(ranks.wrote(rank, "error") == "");
    CHECK(!ranks.wrote(rank, "hash").empty());
  }
  CHECK(!std::filesystem::exists(ranks.folder() + "/launch"));
}

constexpr const char* kOneRank = "comm: one rank";

}  // namespace

TEST_CASE("comm: the address of a Redis") {
  const auto is = [](const std::string& text, const std::string& host, int port, const std::string& user,
                     const std::string& password) {
    const RedisUrl url = redis_url(text);
    CHECK(url.host == host);
    CHECK(url.port == port);
    CHECK(url.user == user);
    CHECK(url.password == password);
  };
  is("redis://node-1", "node-1", 6379, "", "");
  is("redis://10.0.0.1:7000/", "10.0.0.1", 7000, "", "");
  is("redis://[fe80::1]:7000", "fe80::1", 7000, "", "");
  is("redis://[::1]", "::1", 6379, "", "");
  is("redis://:se@cret@h:1", "h", 1, "", "se@cret");
  is("redis://u:%40%2f%25:@[::1]:2", "::1", 2, "u", "@/%:");
  const std::string what = ": give redis://HOST:PORT, or leave it out to meet in the run folder";
  for (const char* bad :
       {"redis", "redis:", "redis://", "http://h", "redis://h:", "redis://h:0", "redis://h:65536", "redis://h:x",
        "redis://h:1x", "redis://[::1", "redis://[::1]x", "redis://[::1]7000", "redis://::1", "redis://h/0"}) {
    INFO(bad);
    CHECK(error_of([&] { redis_url(bad); }) == str_cat("--rendezvous ", bad, what));
  }
  // No password in what is printed.
  for (const char* bad :
       {"redis://word@h", "redis://:@h", "redis://:%4@h", "redis://:%-1@h", "redis://:%zz@h", "http://:word@h"})
    CHECK(error_of([&] { redis_url(bad); }) == "--rendezvous redis://...@h" + what);
  CHECK(error_at("redis://h:x", 100) == "--rendezvous redis://h:x" + what);
}

TEST_CASE("comm: a build without a Redis client says so") {
  if (kHasRedis) return;
  CHECK(
      error_at("redis://:word@h", 100) ==
      "--rendezvous redis://...@h: this build of glint has no Redis client; build it where libhiredis-dev is installed");
}

TEST_CASE("comm: the address towards a machine") {
  CHECK(address_towards("127.0.0.1") == "127.0.0.1");
  CHECK(address_towards("") == "");
  CHECK(address_towards("no-such-host.invalid") == "");
  CHECK(is_loopback(address_towards("localhost")));
  CHECK(!is_loopback("10.127.0.1"));
}

TEST_CASE("comm: ranks meet in a Redis by password, and leave nothing in it") {
  if (!kHasRedis || !redis_here()) return;
  const RedisServer redis("127.0.0.1", {}, "se@cret");
  RankProcesses ranks("collectives", 3, 20000, 3, kOneRank, redis.url("se%40cret"));
  check_met(ranks, 3);
  CHECK(ask(redis, {"-a", "se@cret", "--no-auth-warning", "DBSIZE"}) == "0\n");
  const std::string where = "the ranks can't meet in " + redis.url() + ": ";
  CHECK(error_at(redis.url(), 1000) == where + "NOAUTH Authentication required.");
  CHECK(error_at(redis.url("wrong"), 1000).starts_with(where + "WRONGPASS "));
}

TEST_CASE("comm: ranks that come before their Redis, and after others of the same name who failed") {
  if (!kHasRedis || !redis_here()) return;
  const int port = RedisServer::free_port();
  const std::string url = str_cat("redis://127.0.0.1:", port);
  RankProcesses early("collectives", 2, 20000, 2, kOneRank, url);
  std::this_thread::sleep_for(milliseconds(300));
  const RedisServer redis("127.0.0.1", {}, "", port);
  check_met(early, 2);

  CHECK(error_at(url, 300) == "rank 1 of 2 did not come to " + url + " within 0.3 s: see what stopped it");
  const int lifetime = std::stoi(ask(redis, {"TTL", "glint/launch"}));
  CHECK(3000 < lifetime);
  CHECK(lifetime <= 3600);
  RankProcesses two_of_three("collectives", 3, 1500, 2, kOneRank, url);
  for (int rank : {0, 1}) {
    two_of_three.wait(rank);
    CHECK(two_of_three.wrote(rank, "error") ==
          "rank 2 of 3 did not come to " + url + " within 1.5 s: see what stopped it");
  }
  // Of what they left, nothing is taken for a word of these, the first of whom waits for the second.
  CHECK(std::stoi(ask(redis, {"HLEN", "glint/launch"})) > 3);
  RankProcesses late("collectives", 2, 6000, 2, kOneRank, url, {{}, {"/bin/sh", "-c", "sleep 2; exec \"$@\"", "sh"}});
  check_met(late, 2);
  CHECK(ask(redis, {"DBSIZE"}) == "0\n");
}

TEST_CASE("comm: a Redis that is not there, is silent, or dies while ranks wait for each other") {
  if (!kHasRedis) return;
  const std::string nowhere = str_cat("redis://127.0.0.1:", RedisServer::free_port());
  CHECK(error_at(nowhere, 400) ==
        "the ranks can't meet in " + nowhere + ": Connection refused; is it running, and can it be reached from here?");
  if (!redis_here()) return;
  for (const int signal : {SIGSTOP, SIGKILL}) {
    const RedisServer redis;
    const std::string where = "the ranks can't meet in " + redis.url() + ": ";
    RankProcesses ranks("collectives", 3, 4000, 2, kOneRank, redis.url());  // they wait for a third one
    for (int i = 0; i < 200 && ask(redis, {"HLEN", "glint/launch"}) != "3\n"; ++i)
      std::this_thread::sleep_for(milliseconds(5));
    const auto start = Clock::now();
    redis.send(signal);
    for (int rank : {0, 1}) {
      ranks.wait(rank);
      const std::string error = ranks.wrote(rank, "error");
      INFO(error);
      CHECK(error.starts_with(where));
      if (signal == SIGSTOP) CHECK(error == where + "it does not answer");
    }
    CHECK(seconds_from(start) < 5);
    if (signal == SIGSTOP)
      CHECK(error_at(redis.url(), 500) ==
            where + "it does not answer; is it running, and can it be reached from here?");
  }
}

TEST_CASE("comm: two hosts that have a folder or a Redis in common, and a pulled cable") {
  if (!kHasRedis) return;
  const TwoHosts hosts;
  if (!hosts.missing().empty()) {
    MESSAGE("skipped: it needs ", hosts.missing());
    return;
  }
  const RedisServer redis(hosts.address(0), hosts.before(0));
  const std::vector<std::vector<std::string>> before = {hosts.before(0), hosts.before(1)};
  {  // with a folder in common, as a launcher tells them
    std::vector<std::vector<std::string>> told = before;
    for (auto& words : told)
      words.insert(words.end(), {"/usr/bin/env", "MASTER_ADDR=" + hosts.address(0), "MASTER_PORT=29500"});
    RankProcesses ranks("collectives", 2, 20000, 2, kOneRank, "", told);
    check_met(ranks, 2);
  }
  {
    RankProcesses ranks("collectives", 2, 20000, 2, kOneRank, redis.url(), before);
    check_met(ranks, 2);
  }
  RankProcesses ranks("reduce", 2, 2000, 2, kOneRank, redis.url(), before);
  for (int rank : {0, 1}) ranks.wait_until_written(rank, "ready");
  const auto start = Clock::now();
  hosts.pull_cable();
  for (int rank : {0, 1}) {
    const Ran ran = ranks.wait(rank);
    INFO("rank ", rank, ":\n", ran.out, ran.err);
    CHECK(ran.code == 0);
    const int other = 1 - rank;
    CHECK(ranks.wrote(rank, "error") == str_cat(other, " rank ", other, " stands still: nothing came from it for 2 s"));
  }
  CHECK(seconds_from(start) < 3.5);
}

TEST_CASE("comm: a rank that the other machine can't reach is named") {
  if (!kHasRedis) return;
  const TwoHosts hosts;
  if (!hosts.missing().empty()) {
    MESSAGE("skipped: it needs ", hosts.missing());
    return;
  }
  // The first host calls its Redis by loopback, as a machine does that finds loopback under its own name.
  const RedisServer redis("0.0.0.0", hosts.before(0));
  std::vector<std::vector<std::string>> before = {hosts.before(0), hosts.before(1)};
  before[0].insert(before[0].end(), {"/usr/bin/env", "GLINT_TEST_RENDEZVOUS=redis://127.0.0.1:" + redis.port()});
  before[1].insert(before[1].end(),
                   {"/usr/bin/env", "GLINT_TEST_RENDEZVOUS=redis://" + hosts.address(0) + ":" + redis.port()});
  RankProcesses ranks("collectives", 2, 5000, 2, kOneRank, "", before);
  for (int rank : {0, 1}) {
    CHECK(ranks.wait(rank).code == 0);
    CHECK(
        ranks.wrote(rank, "error") ==
        "rank 0 would talk over 127.0.0.1, where rank 1 on another machine can't reach it: tell rank 0 its network, such as "
        "--interface eth0");
  }
}

#endif
