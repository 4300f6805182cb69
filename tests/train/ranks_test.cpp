// glint train with several ranks over Gloo on this machine, as a user runs it: the same training as in one process.
#include <algorithm>
#include <map>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "src/comm/communicator.h"
#include "tests/train/metrics.h"

using namespace glint;
using test::losses_of;
using test::run_program;
using test::ScratchFolder;

namespace {

using test::Arguments;

// A run with dropout and GQA; one thread per rank.
Arguments shared_run(const ScratchFolder& folder, const std::string& name, const std::string& ranks,
                     const Arguments& more = {}) {
  const std::string text = folder / "text.txt";
  if (!std::filesystem::exists(text)) test::write_file_for_test(text, corpus_text(20000, 3));
  std::map<std::string, std::string> flags = {
      {"--out", folder / name},  {"--data", text},   {"--layers", "2"},      {"--heads", "4"},
      {"--kv-heads", "2"},       {"--embd", "32"},   {"--context", "16"},    {"--batch", "12"},
      {"--dropout", "0.2"},      {"--steps", "50"},  {"--eval-every", "25"}, {"--eval-batches", "2"},
      {"--log-every", "1"},      {"--threads", "1"}, {"--ranks", ranks},     {"--comm-timeout", "60"},
      {"--lr-decay-steps", "50"}};
  for (size_t i = 0; i + 1 < more.size(); i += 2) flags[more[i]] = more[i + 1];
  Arguments all = {"train"};
  for (const auto& [flag, value] : flags) all.insert(all.end(), {flag, value});
  return all;
}

void check_close(const std::vector<double>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-4));
}

void train(const Arguments& arguments) {
  const auto ran = run_program(arguments);
  INFO(ran.err);
  REQUIRE(ran.code == 0);
}

bool same_checkpoint(const std::string& a, const std::string& b) {
  return test::read_file(a + "/last/model.safetensors") == test::read_file(b + "/last/model.safetensors") &&
         test::read_file(a + "/last/optimizer.safetensors") == test::read_file(b + "/last/optimizer.safetensors");
}

}  // namespace

TEST_CASE("ranks: the curve of one process, with 2, 3 and 4 ranks, with micro-batches and with --zero 1" *
          doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  train(shared_run(folder, "one", "1"));
  const auto expected = losses_of(folder / "one");
  REQUIRE(expected.size() == 53);
  struct Layout {
    const char *name, *ranks;
    Arguments more;
  };
  const Layout layouts[] = {{"by2", "2", {}},
                            {"by3", "3", {}},
                            {"by4", "4", {}},
                            {"micro", "2", {"--micro-batch", "3", "--recompute", "true", "--loss-chunk", "50"}},
                            {"zero2", "2", {"--zero", "1"}},
                            {"zero3", "3", {"--zero", "1", "--micro-batch", "2"}},
                            {"zero4", "4", {"--zero", "1", "--bucket-mb", "0.01"}}};
  for (const Layout& layout : layouts) {
    INFO(layout.name);
    train(shared_run(folder, layout.name, layout.ranks, layout.more));
    check_close(losses_of(folder / layout.name), expected);
  }
  // The same bits in a second run with other buckets, with and without --zero 1.
  train(shared_run(folder, "again", "3", {"--bucket-mb", "0.02"}));
  CHECK(same_checkpoint(folder / "again", folder / "by3"));
  train(shared_run(folder, "zero-again", "3", {"--zero", "1", "--micro-batch", "2"}));
  CHECK(same_checkpoint(folder / "zero-again", folder / "zero3"));
}

// A pass of 4 sequences is the same on every rank, and losses are added in the order of sequences: one different bit
// of a mask would show.
TEST_CASE("ranks: masks are those of one process, exactly" * doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  const Arguments one_step = {"--steps", "1", "--micro-batch", "4", "--dropout", "0.5", "--eval-every", "0"};
  for (const char* ranks : {"1", "3"}) train(shared_run(folder, ranks, ranks, one_step));
  CHECK(losses_of(folder / "1") == losses_of(folder / "3"));
}

TEST_CASE("ranks: a checkpoint knows no number of ranks, and the same number resumes bit for bit" *
          doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  train(shared_run(folder, "one", "1"));
  train(shared_run(folder, "mixed", "4", {"--steps", "10", "--zero", "1", "--micro-batch", "1"}));
  struct Leg {
    const char *ranks, *zero, *steps;
  };
  for (const auto& [ranks, zero, steps] :
       {Leg{"3", "0", "20"}, Leg{"2", "1", "30"}, Leg{"1", "0", "40"}, Leg{"2", "0", "50"}})
    train({"train", "--resume", folder / "mixed", "--ranks", ranks, "--zero", zero, "--steps", steps});
  const auto mixed = losses_of(folder / "mixed"), one = losses_of(folder / "one");
  CHECK(mixed.front() == doctest::Approx(one.front()).epsilon(1e-4));  // evaluations are at other steps
  CHECK(mixed.back() == doctest::Approx(one.back()).epsilon(1e-4));
  for (const char* zero : {"0", "1"}) {
    const std::string straight = folder / (std::string("straight") + zero), cut = folder / (std::string("cut") + zero);
    train(shared_run(folder, std::string("straight") + zero, "3", {"--zero", zero, "--steps", "20"}));
    train(shared_run(folder, std::string("cut") + zero, "3", {"--zero", zero, "--steps", "9"}));
    train({"train", "--resume", cut, "--steps", "20"});
    CHECK(same_checkpoint(straight, cut));
  }
}

// With fp32 masters of only its own shard on each rank.
TEST_CASE("ranks: bf16 with --zero 1 agrees with one process, and resumes bit for bit" * doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  const auto bf16_run = [&](const char* name, const char* ranks, const char* zero, const char* steps) {
    train(shared_run(folder, name, ranks, {"--dtype", "bf16", "--zero", zero, "--steps", steps, "--bias", "true"}));
  };
  bf16_run("one", "1", "0", "12");
  bf16_run("two", "2", "1", "12");
  const auto one = losses_of(folder / "one"), two = losses_of(folder / "two");
  REQUIRE(one.size() == two.size());
  for (size_t i = 0; i < one.size(); ++i) CHECK(two[i] == doctest::Approx(one[i]).epsilon(2e-3));
  bf16_run("cut", "2", "1", "5");
  train({"train", "--resume", folder / "cut", "--steps", "12"});
  CHECK(same_checkpoint(folder / "cut", folder / "two"));
  bf16_run("other", "3", "1", "5");
  train({"train", "--resume", folder / "other", "--steps", "12", "--ranks", "1"});
  CHECK(losses_of(folder / "other").back() == doctest::Approx(one.back()).epsilon(2e-3));
}

// Without clipping, whose norm the ranks add in another order.
TEST_CASE("ranks: moments in bf16 are the same bits with and without --zero 1" * doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  const auto run = [&](const char* name, const char* ranks, const char* zero, const char* steps) {
    train(shared_run(folder, name, ranks,
                     {"--optimizer-dtype", "bf16", "--zero", zero, "--grad-clip", "0", "--steps", steps}));
  };
  run("one", "1", "0", "12");
  run("whole", "3", "0", "12");
  run("sharded", "3", "1", "5");
  train({"train", "--resume", folder / "sharded", "--steps", "12"});
  CHECK(same_checkpoint(folder / "whole", folder / "sharded"));
  CHECK(losses_of(folder / "sharded").back() == doctest::Approx(losses_of(folder / "one").back()).epsilon(1e-3));
}

// Ranks share the matrices; with --zero 1 each has a part of their momentum.
TEST_CASE("ranks: Muon's curve is that of one process, and its checkpoint resumes bit for bit" *
          doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  const auto run = [&](const char* name, const char* ranks, const char* zero, const char* steps, const char* dtype) {
    train(
        shared_run(folder, name, ranks,
                   {"--optimizer", "muon", "--zero", zero, "--steps", steps, "--dtype", dtype, "--micro-batch", "2"}));
    return losses_of(folder / name);
  };
  const auto one = run("one", "1", "0", "20", "fp32");
  check_close(run("whole", "2", "0", "20", "fp32"), one);
  check_close(run("sharded", "3", "1", "20", "fp32"), one);
  run("cut", "3", "1", "9", "fp32");
  train({"train", "--resume", folder / "cut", "--steps", "20"});
  CHECK(same_checkpoint(folder / "cut", folder / "sharded"));
  run("other", "2", "1", "9", "fp32");
  train({"train", "--resume", folder / "other", "--steps", "20", "--ranks", "1", "--zero", "0"});
  CHECK(losses_of(folder / "other").back() == doctest::Approx(one.back()).epsilon(1e-4));
  run("bf16", "2", "1", "12", "bf16");
  run("bf16-cut", "2", "1", "5", "bf16");
  train({"train", "--resume", folder / "bf16-cut", "--steps", "12"});
  CHECK(same_checkpoint(folder / "bf16-cut", folder / "bf16"));
}

TEST_CASE("ranks: a batch that does not divide: the error suggests one that does" * doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  const auto ran = run_program(shared_run(folder, "run", "5"));
  INFO(ran.err);
  CHECK(ran.code == 1);
  CHECK(ran.err.find("--batch 12 does not divide over 5 ranks: give 10 or 15") != std::string::npos);
  CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
}

TEST_CASE("ranks: bench comm and bench step measure communication" * doctest::skip(!kHasGloo)) {
  const auto comm = run_program({"bench", "comm", "--ranks", "3", "--to-mb", "0.25", "--repeats", "2", "--json"});
  INFO(comm.err);
  REQUIRE(comm.code == 0);
  const auto json = nlohmann::json::parse(comm.out);
  CHECK(json["ranks"] == 3);
  REQUIRE(json["results"].size() == 6);  // three collectives, 64 and 256 KiB
  for (const auto& row : json["results"]) {
    const double bytes = row["bytes"], us = row["us"], algorithm = row["algbw_gbytes"], bus = row["busbw_gbytes"];
    CHECK(algorithm == doctest::Approx(1e-3 * bytes / us));
    CHECK(bus == doctest::Approx(algorithm * (row["collective"] == "all_reduce" ? 4.0 : 2.0) / 3.0));
  }
  const auto step = run_program({"bench",     "step", "--ranks",   "2",  "--layers", "1",        "--heads", "2",
                                 "--embd",    "32",   "--context", "16", "--batch",  "4",        "--steps", "3",
                                 "--threads", "1",    "--zero",    "1",  "--json",   "--profile"});
  INFO(step.err);
  REQUIRE(step.code == 0);
  const auto result = nlohmann::json::parse(step.out);
  CHECK(result["ranks"] == 2);
  CHECK(result["exchange_ms"] > 0);
  CHECK(result["hidden"] >= 0);
  CHECK(result["exchanged_mbytes"] > 2 * 4e-6 * result["parameters"].get<double>());  // there and back
  const auto alone = run_program({"bench", "comm", "--ranks", "1"});
  CHECK(alone.code == 1);
  CHECK(alone.err == "glint: --ranks 1 has no other rank to measure: give 2 or more\n");
}

TEST_CASE("ranks: a build without Gloo says so" * doctest::skip(kHasGloo)) {
  ScratchFolder folder;
  const auto ran = run_program(shared_run(folder, "run", "2"));
  CHECK(ran.code == 1);
  CHECK(ran.err.find("this build of glint has no Gloo") != std::string::npos);
}
