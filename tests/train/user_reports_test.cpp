// What users of such programs have reported, as a user runs into it.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "tests/train/run_program.h"

using namespace glint;
using test::Ran;
using test::read_file;
using test::run_program;
using test::Running;
using test::ScratchFolder;
using test::write_file_for_test;
namespace fs = std::filesystem;

namespace {

using test::Arguments;

// A tiny run; `more` replaces what it repeats.
Arguments train(const ScratchFolder& folder, const std::string& run, Arguments more = {}) {
  Arguments all = {"train", "--out", folder / run};
  const Arguments usual = {"--layers", "1",    "--heads",      "2", "--embd",         "16", "--context", "8",
                           "--batch",  "2",    "--eval-every", "5", "--eval-batches", "1",  "--threads", "1",
                           "--quiet",  "true", "--steps",      "10"};
  for (size_t i = 0; i < usual.size(); i += 2)
    if (std::find(more.begin(), more.end(), usual[i]) == more.end()) all.insert(all.end(), {usual[i], usual[i + 1]});
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

Ran train_on(const ScratchFolder& folder, const std::string& run, const std::string& text, Arguments more = {}) {
  more.insert(more.end(), {"--data", text});
  return run_program(train(folder, run, more));
}

bool says(const Ran& ran, const std::string& text) { return (ran.err + ran.out).find(text) != std::string::npos; }

std::string text_file(const ScratchFolder& folder, const std::string& name = "text.txt") {
  write_file_for_test(folder / name, corpus_text(4000, 3));
  return folder / name;
}

// Until the program has printed `text`, or 10 s.
bool wait_for(const Running& running, const std::string& text) {
  for (int i = 0; i < 2000; ++i) {
    if (running.err_so_far().find(text) != std::string::npos) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

std::vector<std::string> entries(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

}  // namespace

TEST_CASE("reports: text of another language or line end is no success") {
  ScratchFolder folder;
  std::string lines, dos, foreign;
  for (int i = 0; i < 200; ++i) lines += "abab\n", dos += "abab\r\n", foreign += "\xE5\xA4\xA9\xE5\x9C\xB0\n";
  write_file_for_test(folder / "text.txt", lines);
  write_file_for_test(folder / "dos.txt", dos);
  write_file_for_test(folder / "foreign.txt", foreign);
  REQUIRE(train_on(folder, "run", folder / "text.txt").code == 0);
  CHECK(says(run_program({"eval", folder / "run"}), "bits per byte"));
  const Ran other = run_program({"eval", folder / "run", "--data", folder / "foreign.txt"});
  CHECK(says(other, "U+5929"));
  CHECK(!says(other, "bits per byte  "));
  CHECK(says(run_program({"eval", folder / "run", "--data", folder / "dos.txt"}), "U+000D"));
  const auto json =
      nlohmann::json::parse(run_program({"eval", folder / "run", "--data", folder / "foreign.txt", "--json"}).out);
  CHECK(json["perplexity"].is_null());
  CHECK(json["unknown_tokens"].get<int>() == 40);
  CHECK(json["unknown_characters"].size() == 2);

  REQUIRE(run_program({"data", "prepare", folder / "foreign.txt", "--out", folder / "prepared"}).code == 0);
  const Ran prepared = run_program({"eval", folder / "run", "--data", folder / "prepared"});
  CHECK(prepared.code == 1);
  CHECK(says(prepared, "--tokenizer-from"));
  const Ran ours = run_program(
      {"data", "prepare", folder / "foreign.txt", "--out", folder / "ours", "--tokenizer-from", folder / "run"});
  CHECK(says(ours, "are unknown"));
  CHECK(says(run_program({"eval", folder / "run", "--data", folder / "ours"}), "U+5929"));
  CHECK(says(run_program({"data", "info", folder / "run"}), "training"));
}

TEST_CASE("reports: a start that was interrupted does not block its folder") {
  ScratchFolder folder;
  const std::string text = text_file(folder);
  fs::create_directories(folder / "run/data");
  for (const char* leftover : {"lock", "tokenizer.json", "config.json.partial", "data.json", "data/tokenizer.json",
                               "data/tokens.bin.partial.999999999"})
    write_file_for_test(folder / ("run/" + std::string(leftover)), "torn");
  REQUIRE(train_on(folder, "run", text).code == 0);
  for (const std::string& name : entries(folder / "run")) CHECK(name.find("partial") == std::string::npos);
  fs::create_directories(folder / "mine/data");  // somebody's folder
  write_file_for_test(folder / "mine/data/precious", "keep me");
  CHECK(says(train_on(folder, "mine", text), "not empty"));
  CHECK(read_file(folder / "mine/data/precious") == "keep me");
}

TEST_CASE("reports: runs and their data may move") {
  ScratchFolder folder;
  const std::string text = text_file(folder);
  fs::create_directories(folder / "a");
  REQUIRE(run_program({"data", "prepare", text, "--out", folder / "a/prepared"}).code == 0);
  REQUIRE(train_on(folder, "a/run", folder / "a/prepared").code == 0);
  fs::rename(folder / "a", folder / "b");
  CHECK(run_program({"train", "--resume", folder / "b/run", "--steps", "12", "--quiet"}).code == 0);
  fs::rename(folder / "b/prepared", folder / "elsewhere");
  const Ran lost = run_program({"train", "--resume", folder / "b/run", "--steps", "14"});
  CHECK(lost.code == 1);
  CHECK(says(lost, "--data"));
  CHECK(run_program({"train", "--resume", folder / "b/run", "--steps", "14", "--data", folder / "elsewhere", "--quiet"})
            .code == 0);
  CHECK(run_program({"train", "--resume", folder / "b/run", "--steps", "16", "--quiet"}).code == 0);

  REQUIRE(train_on(folder, "plain", text).code == 0);
  fs::rename(text, folder / "moved.txt");
  CHECK(run_program({"train", "--resume", folder / "plain", "--data", folder / "moved.txt", "--quiet"}).code == 0);
  write_file_for_test(folder / "other.txt", corpus_text(4000, 4));
  const Ran other = run_program({"train", "--resume", folder / "plain", "--data", folder / "other.txt"});
  CHECK(other.code == 1);
  CHECK(says(other, "differs"));
}

TEST_CASE("reports: the number of cores is no setting of a run") {
  ScratchFolder folder;
  REQUIRE(run_program({"train", "--out", folder / "run", "--data", text_file(folder), "--layers", "1", "--embd", "16",
                       "--heads", "2", "--context", "8", "--steps", "0", "--quiet", "--device", "auto"})
              .code == 0);
  const auto config = nlohmann::json::parse(read_file(folder / "run/config.json"));
  CHECK(config["threads"] == 0);
  CHECK(config["device"] == "auto");
  CHECK(config["dtype"] == "auto");
  const auto first = nlohmann::json::parse(read_file(folder / "run/metrics.jsonl")
                                               .substr(0, 1000)
                                               .substr(0, read_file(folder / "run/metrics.jsonl").find('\n')));
  CHECK(first["dtype"].is_string());
  const Ran many = train_on(folder, "many", folder / "text.txt", {"--steps", "0"});
  CHECK(!says(many, "warning"));
}

TEST_CASE("reports: settings that hardly work are one line before the first step") {
  ScratchFolder folder;
  const std::string text = text_file(folder);
  CHECK(
      says(train_on(folder, "a", text, {"--attn-dropout", "1e-6", "--steps", "1"}), "--attn-dropout 1e-06 drops 0.39"));
  CHECK(says(train_on(folder, "b", text, {"--resid-dropout", "0.999", "--steps", "1"}), "--resid-dropout 0.999 drops"));
  CHECK(!says(train_on(folder, "c", text, {"--dropout", "0.2", "--steps", "1"}), "warning"));
  CHECK(says(train_on(folder, "d", text, {"--weight-decay", "1001", "--steps", "1"}), "warning: --lr 0.001"));
  REQUIRE(train_on(folder, "e", text, {"--steps", "5"}).code == 0);
  const Ran raised = run_program({"train", "--resume", folder / "e", "--steps", "7", "--quiet", "false"});
  CHECK(says(raised, "from there on the learning rate is --min-lr"));
  const std::string before = read_file(folder / "e/config.json");
  const Ran lower = run_program({"train", "--resume", folder / "e", "--steps", "3"});
  CHECK(lower.code == 1);
  CHECK(says(lower, "--steps 3 is below the step that the run has reached, 7"));
  CHECK(read_file(folder / "e/config.json") == before);
}

TEST_CASE("reports: a sample begins with a token that the text has") {
  ScratchFolder folder;
  std::string text;
  for (int i = 0; i < 500; ++i) text += "xyyz";
  write_file_for_test(folder / "text.txt", text);
  REQUIRE(train_on(folder, "run", folder / "text.txt").code == 0);
  CHECK(run_program({"sample", folder / "run", "--tokens", "5"}).out.size() == 7);  // with the first and a line break
  write_file_for_test(folder / "prompt", "zx");
  CHECK(run_program({"sample", folder / "run", "--tokens", "5", "--prompt-file", folder / "prompt"})
            .out.starts_with("zx"));
  CHECK(says(run_program({"sample", folder / "run", "--seed", "-1"}), "negative"));
  CHECK(says(run_program({"sample", folder / "run", "--prompt", "\n"}), "U+000A"));
  CHECK(says(run_program({"train", "--steps", "1", "--steps", "2"}), "--steps is given more than once"));
}

TEST_CASE("reports: weights written by another program are loaded when asked") {
  ScratchFolder folder;
  REQUIRE(train_on(folder, "run", text_file(folder)).code == 0);
  for (const char* which : {"best", "last"}) {  // the same tensors, another header
    const std::string path = folder / ("run/" + std::string(which) + "/model.safetensors");
    std::string file = read_file(path);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    file.insert(8 + length, "        ");
    length += 8;
    std::memcpy(file.data(), &length, sizeof length);
    write_file_for_test(path, file);
  }
  const Ran refused = run_program({"eval", folder / "run"});
  CHECK(refused.code == 1);
  CHECK(says(refused, "--accept-changed"));
  CHECK(run_program({"eval", folder / "run", "--accept-changed"}).code == 0);
  CHECK(run_program({"sample", folder / "run", "--tokens", "1", "--accept-changed"}).code == 0);
  CHECK(run_program({"train", "--resume", folder / "run", "--steps", "12", "--accept-changed", "--quiet"}).code == 0);
  CHECK(run_program({"eval", folder / "run", "--checkpoint", "last"}).code == 0);
}

TEST_CASE("reports: a run begins with another one's weights, on other text and a shorter context") {
  ScratchFolder folder;
  const std::string text = text_file(folder);
  REQUIRE(train_on(folder, "first", text, {"--steps", "50"}).code == 0);
  write_file_for_test(folder / "other.txt", corpus_text(3000, 5));
  const auto from = [&](const std::string& run, Arguments more) {
    Arguments all = {"train",          "--out",     folder / run, "--data",  folder / "other.txt", "--init-from",
                     folder / "first", "--threads", "1",          "--quiet", "--eval-batches",     "1"};
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all);
  };
  REQUIRE(from("same", {"--steps", "0"}).code == 0);
  CHECK(read_file(folder / "same/last/model.safetensors").size() ==
        read_file(folder / "first/best/model.safetensors").size());
  CHECK(read_file(folder / "same/tokenizer.json") == read_file(folder / "first/tokenizer.json"));
  const auto loss = [&](const std::string& run) {
    const Ran ran = run_program({"eval", folder / run, "--data", folder / "other.txt", "--json"});
    return nlohmann::json::parse(ran.out)["loss"].get<double>();
  };
  CHECK(loss("same") == loss("first"));
  REQUIRE(from("short", {"--steps", "5", "--context", "4", "--dropout", "0.1", "--lr", "1e-4"}).code == 0);
  CHECK(says(from("long", {"--steps", "5", "--context", "64"}), "is longer than"));
  CHECK(says(from("wide", {"--steps", "5", "--embd", "32"}), "--embd differs"));
  fs::remove_all(folder / "first");
  CHECK(run_program({"train", "--resume", folder / "short", "--steps", "8", "--quiet"}).code == 0);
}

TEST_CASE("reports: --patience ends a run that no longer improves, and counts over a resume") {
  ScratchFolder folder;
  const Ran ran =
      train_on(folder, "run", text_file(folder),
               {"--steps", "1000", "--lr", "1e-30", "--min-lr", "0", "--patience", "3", "--quiet", "false"});
  REQUIRE(ran.code == 0);
  CHECK(says(ran, "stopped at step 20: no better validation loss in 3 evaluations"));
  CHECK(says(run_program({"train", "--resume", folder / "run"}), "stopped at step 20"));
  CHECK(says(run_program({"train", "--resume", folder / "run", "--patience", "5"}), "stopped at step 30"));
}

TEST_CASE("reports: SIGHUP saves and ends, SIGUSR1 saves and goes on") {
  std::signal(SIGHUP, SIG_DFL);  // under nohup the tests, and what they start, ignore it
  ScratchFolder folder;
  Arguments arguments = train(folder, "run",
                              {"--steps", "100000000", "--eval-every", "0", "--checkpoint-every", "0", "--quiet",
                               "false", "--log-every", "1000", "--data", text_file(folder)});
  Running running(arguments);
  REQUIRE(wait_for(running, "step 1000/"));
  running.send(SIGUSR1);
  REQUIRE(wait_for(running, "saved, by SIGUSR1"));
  CHECK(fs::exists(folder / "run/last/state.json"));
  running.send(SIGHUP);
  const Ran ran = running.wait();
  CHECK(ran.code == 128 + SIGHUP);
  CHECK(says(ran, "continue with"));
}

TEST_CASE("reports: tokens truncated in mid-run: one line names the file") {
  ScratchFolder folder;
  Arguments arguments = train(folder, "run",
                              {"--steps", "100000000", "--quiet", "false", "--log-every", "1000", "--eval-every", "0",
                               "--data", text_file(folder)});
  Running running(arguments);
  REQUIRE(wait_for(running, "step 1000/"));
  fs::resize_file(folder / "run/data/tokens.bin", 256);
  const Ran ran = running.wait();
  CHECK(ran.code == 1);
  CHECK(says(ran, "tokens.bin was "));
}
