// CPU ranks on two hosts with one network between them, as two network namespaces that share the file system: a run,
// and the network lost. Needs root and iproute2; skipped without.
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "data/corpus.h"
#include "src/comm/communicator.h"
#include "tests/train/metrics.h"
#include "tests/train/run_program.h"
#include "train/checkpoint/checkpoint.h"
#include "train/exit_code.h"

namespace glint::test {
namespace {

using Words = std::vector<std::string>;
constexpr const char* kIp = "/usr/sbin/ip";

// Hosts 0 and 1, with the addresses 10.213.N.1 and 10.213.N.2.
class TwoHosts {
 public:
  TwoHosts() {
    if (geteuid() != 0 || !std::filesystem::exists(kIp) || !ip({"netns", "add", name(0)})) return;
    usable_ = ip({"netns", "add", name(1)}) && ip({"link", "add", "glint0", "netns", name(0), "type", "veth", "peer",
                                                   "name", "glint0", "netns", name(1)});
    for (int host = 0; host < 2; ++host)
      usable_ = usable_ && ip({"-n", name(host), "address", "add", address(host) + "/24", "dev", "glint0"}) &&
                ip({"-n", name(host), "link", "set", "glint0", "up"}) &&
                ip({"-n", name(host), "link", "set", "lo", "up"});
  }
  ~TwoHosts() {
    for (int host = 0; host < 2; ++host)
      if (std::filesystem::exists("/run/netns/" + name(host))) ip({"netns", "delete", name(host)});
  }
  bool usable() const { return usable_; }
  // glint train as rank `host` of two, on that host.
  std::unique_ptr<Running> start(int host, const Words& arguments) const {
    Words words = {"netns",
                   "exec",
                   name(host),
                   "/usr/bin/env",
                   "WORLD_SIZE=2",
                   str_cat("RANK=", host),
                   "LOCAL_RANK=0",
                   "MASTER_PORT=29500",
                   "MASTER_ADDR=" + address(0),
                   GLINT_PROGRAM,
                   "train"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return std::make_unique<Running>(words, kIp);
  }
  void disconnect() const { ip({"-n", name(1), "link", "set", "glint0", "down"}); }

 private:
  static bool ip(const Words& words) { return Running(words, kIp).wait().code == 0; }
  static std::string name(int host) { return str_cat("glint-", getpid(), "-", host); }
  static std::string address(int host) { return str_cat("10.213.", getpid() % 250, ".", host + 1); }
  bool usable_ = false;
};

}  // namespace

TEST_CASE("ranks: two hosts train as one process, and both end when the network between them is lost" *
          doctest::skip(!kHasGloo)) {
  const TwoHosts hosts;
  if (!hosts.usable()) {
    MESSAGE("skipped: it needs root, iproute2 and network namespaces");
    return;
  }
  const ScratchFolder folder;
  write_file_for_test(folder / "text.txt", corpus_text(20000, 3));
  const Words model = {"--data",           folder / "text.txt",
                       "--layers",         "1",
                       "--heads",          "2",
                       "--embd",           "32",
                       "--context",        "16",
                       "--batch",          "8",
                       "--dropout",        "0.2",
                       "--threads",        "1",
                       "--eval-every",     "0",
                       "--log-every",      "1",
                       "--lr-decay-steps", "10",
                       "--warmup",         "2"};
  const std::string alone = folder / "alone", run = folder / "run";
  REQUIRE(run_program(join({"train", "--out", alone, "--steps", "10"}, model)).code == 0);
  const Words both = join({"--out", run, "--steps", "10"}, model);
  const auto first = hosts.start(0, both), second = hosts.start(1, both);
  const Ran first_ran = first->wait(), second_ran = second->wait();
  INFO(first_ran.err, second_ran.err);
  REQUIRE(first_ran.code == 0);
  REQUIRE(second_ran.code == 0);
  CHECK(losses_of(run).back() == doctest::Approx(losses_of(alone).back()).epsilon(1e-4));

  const Words endless = {"--resume",       run, "--steps", "1000000", "--checkpoint-every", "20",
                         "--comm-timeout", "3", "--quiet"};
  const auto third = hosts.start(0, endless), fourth = hosts.start(1, endless);
  uint64_t saved = 0;
  for (int i = 0; i < 3000 && saved < 40; ++i, usleep(10000))
    error_of([&] { saved = read_checkpoint_state(run + "/last").step; });
  REQUIRE(saved >= 40);
  const auto lost = std::chrono::steady_clock::now();
  hosts.disconnect();
  const Ran third_ran = third->wait(), fourth_ran = fourth->wait();
  CHECK(std::chrono::steady_clock::now() - lost < std::chrono::seconds(10));
  INFO(third_ran.err, fourth_ran.err);
  CHECK(third_ran.code == kPeerFailed);
  CHECK(fourth_ran.code == kPeerFailed);
  CHECK(third_ran.err.find("rank 1 hangs") != std::string::npos);
  CHECK(read_checkpoint_state(run + "/last").step >= saved);
}

}  // namespace glint::test
