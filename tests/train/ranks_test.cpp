// glint train by several ranks over Gloo on this machine, as a user runs it: the same training as by one process.
#include <algorithm>
#include <sstream>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "src/comm/communicator.h"
#include "tests/train/run_program.h"

using namespace glint;
using test::run_program;
using test::ScratchFolder;

namespace {

using Arguments = std::vector<std::string>;

// Of a run with dropout and GQA; one thread a rank.
Arguments shared_run(const ScratchFolder& folder, const std::string& name, const std::string& ranks, const Arguments& more = {}) {
  Arguments all = {"train", "--out", folder / name, "--data", folder / "text.txt", "--layers", "2", "--heads", "4", "--kv-heads", "2",
                   "--embd", "32", "--context", "16", "--batch", "12", "--dropout", "0.2", "--steps", "50", "--lr-decay-steps", "50", "--eval-every", "25",
                   "--eval-batches", "2", "--log-every", "1", "--checkpoint-every", "20", "--threads", "1", "--ranks", ranks, "--comm-timeout", "20"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// Losses of every line, of training and validation.
std::vector<double> losses_of(const std::string& folder) {
  std::vector<double> losses;
  std::istringstream lines(test::read_file(folder + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    for (const char* key : {"loss", "val_loss"})
      if (json.contains(key)) losses.push_back(json[key].get<double>());
  }
  return losses;
}

void check_close(const std::vector<double>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(expected[i]).epsilon(1e-4));
}

}  // namespace

TEST_CASE("ranks: the curve of one process, by 2, 3 and 4, with micro-batches too" * doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  test::write_file_for_test(folder / "text.txt", corpus_text(20000, 3));
  REQUIRE(run_program(shared_run(folder, "one", "1")).code == 0);
  const auto expected = losses_of(folder / "one");
  REQUIRE(expected.size() > 50);
  for (const char* ranks : {"2", "3", "4"}) {
    const auto ran = run_program(shared_run(folder, std::string("by") + ranks, ranks));
    INFO(ranks, " ranks: ", ran.err);
    REQUIRE(ran.code == 0);
    check_close(losses_of(folder / (std::string("by") + ranks)), expected);
  }
  const auto micro = run_program(shared_run(folder, "micro", "2", {"--micro-batch", "3"}));
  INFO(micro.err);
  REQUIRE(micro.code == 0);
  check_close(losses_of(folder / "micro"), expected);
  CHECK(run_program(shared_run(folder, "again", "2")).code == 0);
  for (const char* file : {"/last/model.safetensors", "/last/optimizer.safetensors"})
    CHECK(test::read_file(folder / ("again" + std::string(file))) == test::read_file(folder / ("by2" + std::string(file))));
}

TEST_CASE("ranks: a checkpoint knows no number of ranks" * doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  test::write_file_for_test(folder / "text.txt", corpus_text(20000, 3));
  REQUIRE(run_program(shared_run(folder, "one", "1")).code == 0);
  REQUIRE(run_program(shared_run(folder, "mixed", "4", {"--steps", "20"})).code == 0);
  for (const auto& [ranks, steps] : {std::pair("3", "40"), {"1", "50"}}) {
    const auto ran = run_program({"train", "--resume", folder / "mixed", "--ranks", ranks, "--steps", steps});
    INFO(ran.err);
    REQUIRE(ran.code == 0);
  }
  check_close(losses_of(folder / "mixed"), losses_of(folder / "one"));
}

TEST_CASE("ranks: what does not divide is refused with what does" * doctest::skip(!kHasGloo)) {
  ScratchFolder folder;
  test::write_file_for_test(folder / "text.txt", corpus_text(20000, 3));
  const auto ran = run_program(shared_run(folder, "run", "5"));
  INFO(ran.err);
  CHECK(ran.code == 1);
  CHECK(ran.err.find("--batch 12 does not divide over 5 ranks: give 10 or 15") != std::string::npos);
  CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
}
