// Two hosts without a common file system, as two network namespaces with a cable between them and a Redis on one: a
// run, and the cable pulled. Needs root, iproute2 and a Redis server; skipped without.
#include <chrono>
#include <thread>

#include <doctest/doctest.h>

#include "data/corpus.h"
#include "src/comm/communicator.h"
#include "tests/src/comm/redis_server.h"
#include "tests/src/comm/two_hosts.h"
#include "tests/train/metrics.h"
#include "train/checkpoint/checkpoint.h"

#ifdef GLINT_WITH_REDIS

using namespace glint;
using namespace glint::test;

namespace {

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("ranks: two hosts without a common folder train as one, and a pulled cable ends both") {
  const TwoHosts hosts;
  if (!hosts.missing().empty()) {
    MESSAGE("skipped: it needs ", hosts.missing());
    return;
  }
  const ScratchFolder folder;
  const std::string text = folder / "text.txt";
  write_file_for_test(text, corpus_text(20000, 3));
  const RedisServer redis(hosts.address(0), hosts.before(0));
  const Words model = {"--data",       text, "--layers",       "1", "--heads",     "2",   "--embd",           "32",
                       "--context",    "16", "--batch",        "8", "--dropout",   "0.2", "--threads",        "1",
                       "--eval-every", "5",  "--eval-batches", "1", "--log-every", "1",   "--lr-decay-steps", "10",
                       "--warmup",     "2"};
  const auto start = [&](int rank, Words arguments) {
    Words words = hosts.before(rank);
    words.insert(words.end(),
                 {"/usr/bin/env", str_cat("RANK=", rank), "WORLD_SIZE=2", "LOCAL_RANK=0", GLINT_PROGRAM, "train"});
    words.insert(words.end(), arguments.begin(), arguments.end());
    words.insert(words.end(), {"--rendezvous", redis.url()});
    const std::string program = words.front();
    words.erase(words.begin());
    return std::make_unique<Running>(words, program);
  };
  const auto with = [](Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const std::string there = folder / "there", elsewhere = folder / "elsewhere", alone = folder / "alone";
  REQUIRE(run_program(with({"train", "--out", alone, "--steps", "10"}, model)).code == 0);
  const auto first = start(0, with({"--out", there, "--steps", "6"}, model)),
             second = start(1, with({"--out", elsewhere, "--steps", "6"}, model));
  const Ran first_ran = first->wait(), second_ran = second->wait();
  INFO(first_ran.err, second_ran.err);
  REQUIRE(first_ran.code == 0);
  REQUIRE(second_ran.code == 0);
  CHECK(!std::filesystem::exists(elsewhere + "/last"));
  CHECK(!std::filesystem::exists(elsewhere + "/metrics.jsonl"));

  // On from its checkpoint, of which the second host knows nothing; then further, until the cable is pulled.
  const auto third = start(0, {"--resume", there, "--steps", "10"}), fourth = start(1, {"--resume", elsewhere});
  const Ran third_ran = third->wait(), fourth_ran = fourth->wait();
  INFO(third_ran.err, fourth_ran.err);
  CHECK(third_ran.code == 0);
  CHECK(fourth_ran.code == 0);
  CHECK(losses_of(there).back() == doctest::Approx(losses_of(alone).back()).epsilon(1e-4));

  const Words endless = {"--steps", "1000000", "--checkpoint-every", "20", "--comm-timeout", "3", "--quiet"};
  const auto fifth = start(0, with({"--resume", there}, endless)),
             sixth = start(1, with({"--resume", elsewhere}, endless));
  uint64_t saved = 0;
  for (int i = 0; i < 3000 && saved < 40; ++i, usleep(10000))
    error_of([&] { saved = read_checkpoint_state(there + "/last").step; });
  REQUIRE(saved >= 40);
  const auto pulled = std::chrono::steady_clock::now();
  hosts.pull_cable();
  const Ran fifth_ran = fifth->wait(), sixth_ran = sixth->wait();
  CHECK(std::chrono::steady_clock::now() - pulled < std::chrono::seconds(6));
  CHECK(fifth_ran.code == 1);
  CHECK(sixth_ran.code == 1);
  INFO(fifth_ran.err);
  CHECK(fifth_ran.err.starts_with("glint: step "));
  CHECK(fifth_ran.err.find("rank 1 ") != std::string::npos);
  CHECK(read_checkpoint_state(there + "/last").step >= saved);
}

TEST_CASE("ranks: those of one machine that were given different folders are told so") {
  if (!RedisServer::here()) {
    MESSAGE("skipped: it needs a Redis server");
    return;
  }
  const ScratchFolder folder;
  const RedisServer redis;
  const auto start = [&](const std::string& rank) {
    return std::make_unique<Running>(
        Words{"RANK=" + rank, "WORLD_SIZE=2", "LOCAL_RANK=" + rank, GLINT_PROGRAM, "train", "--out", folder / rank,
              "--batch", "2", "--threads", "1", "--comm-timeout", "20", "--rendezvous", redis.url()},
        "/usr/bin/env");
  };
  const auto first = start("0"), second = start("1");
  const Ran ran = first->wait();
  CHECK(ran.code == 1);
  CHECK(ran.err.find("rank 1 does not find " + (folder / "1") + "/data.json") != std::string::npos);
  CHECK(second->wait().code == 1);
}

#endif
