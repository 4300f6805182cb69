// glint train, sample and eval, as a user runs them.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <sstream>
#include <thread>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "src/device.h"
#include "tests/train/metrics.h"

using namespace glint;
using test::Arguments;
using test::join;
using test::losses_of;
using test::run_program;
using test::Running;
using test::ScratchFolder;

namespace {

// A run of a few seconds at most, with dropout, micro-batches and GQA.
Arguments tiny_run(const ScratchFolder& folder, const std::string& name, const std::string& steps,
                   Arguments more = {}) {
  const Arguments all =
      join({"train", "--out", folder / name, "--data", folder / "text.txt", "--steps", steps},
           test::words_of("--layers 2 --heads 4 --kv-heads 2 --embd 32 --context 16 --batch 4 --micro-batch 2 "
                          "--dropout 0.2 --lr-decay-steps 60 --eval-every 20 --eval-batches 2 --log-every 5"));
  if (std::find(more.begin(), more.end(), "--checkpoint-every") == more.end())
    more = join(more, {"--checkpoint-every", "10"});
  return join(all, more);
}

void write_text(const ScratchFolder& folder) { test::write_file_for_test(folder / "text.txt", corpus_text(20000, 3)); }

int count_lines(const std::string& text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

}  // namespace

TEST_CASE("--optimizer-dtype bf16: half the optimizer's file, losses close to fp32's, a resume bit for bit") {
  ScratchFolder folder;
  write_text(folder);
  const auto run = [&](const char* name, const char* steps, const char* dtype) {
    REQUIRE(run_program(tiny_run(folder, name, steps, {"--optimizer-dtype", dtype, "--beta2", "0.999"})).code == 0);
  };
  const auto file = [&](const char* name) { return test::read_file(folder / name + "/last/optimizer.safetensors"); };
  run("fp32", "60", "fp32");
  run("straight", "60", "bf16");
  run("cut", "17", "bf16");
  for (const char* other : {"fp32", "bf16"}) {
    const char* name = other == std::string("fp32") ? "cut" : "fp32";
    const auto refused = run_program({"train", "--resume", folder / name, "--optimizer-dtype", other});
    CHECK(refused.code == 1);
    CHECK(refused.err.find("--optimizer-dtype " + std::string(other) + " differs from the run's") != std::string::npos);
    CHECK(count_lines(refused.err) == 1);
  }
  REQUIRE(run_program({"train", "--resume", folder / "cut", "--steps", "60", "--threads", "1"}).code == 0);
  CHECK(file("straight") == file("cut"));
  CHECK(test::read_file(folder / "straight/last/model.safetensors") ==
        test::read_file(folder / "cut/last/model.safetensors"));
  CHECK(static_cast<double>(file("straight").size()) < 0.6 * static_cast<double>(file("fp32").size()));
  const auto fp32 = losses_of(folder / "fp32"), bf16 = losses_of(folder / "straight");
  REQUIRE(fp32.size() == bf16.size());
  CHECK(fp32.back() < 0.9 * fp32.front());
  for (size_t i = 0; i < fp32.size(); ++i) CHECK(bf16[i] == doctest::Approx(fp32[i]).epsilon(0.01));
}

TEST_CASE("an uninterrupted run and one killed and resumed end with the same bytes") {
  ScratchFolder folder;
  write_text(folder);
  REQUIRE(run_program(tiny_run(folder, "straight", "60")).code == 0);

  Running killed(tiny_run(folder, "killed", "60"));
  for (int i = 0; i < 2000 && !std::filesystem::exists(folder / "killed/last/state.json"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  killed.send(SIGKILL);
  CHECK(killed.wait().code == -SIGKILL);
  const auto resumed = run_program({"train", "--resume", folder / "killed"});
  INFO(resumed.err);
  REQUIRE(resumed.code == 0);
  const std::string model = test::read_file(folder / "straight/last/model.safetensors");
  CHECK(model.size() > 10000);
  CHECK(model == test::read_file(folder / "killed/last/model.safetensors"));
  CHECK(test::read_file(folder / "straight/last/optimizer.safetensors") ==
        test::read_file(folder / "killed/last/optimizer.safetensors"));

  // The metrics of every step are there exactly once.
  int steps_seen = 0;
  std::istringstream lines(test::read_file(folder / "killed/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    if (json.contains("loss")) CHECK(json["step"].get<int>() == (steps_seen += 5));
  }
  CHECK(steps_seen == 60);
}

TEST_CASE("on resume --steps may be raised, but options that change the mathematics may not change") {
  ScratchFolder folder;
  write_text(folder);
  REQUIRE(run_program(tiny_run(folder, "straight", "40")).code == 0);
  REQUIRE(run_program(tiny_run(folder, "raised", "25")).code == 0);
  const auto refused = run_program({"train", "--resume", folder / "raised", "--lr", "0.5"});
  CHECK(refused.code == 1);
  CHECK(refused.err.find("--lr") != std::string::npos);
  CHECK(count_lines(refused.err) == 1);
  REQUIRE(run_program({"train", "--resume", folder / "raised", "--steps", "40"}).code == 0);
  CHECK(test::read_file(folder / "straight/last/model.safetensors") ==
        test::read_file(folder / "raised/last/model.safetensors"));
}

TEST_CASE("SIGINT and SIGTERM finish the step, save, and exit 130 and 143") {
  for (const auto& [signal, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
    ScratchFolder folder;
    write_text(folder);
    Running running(tiny_run(folder, "run", "1000000"));
    for (int i = 0; i < 2000 && running.err_so_far().find("step 5/") == std::string::npos; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    running.send(signal);
    const auto ran = running.wait();
    CHECK(ran.code == code);
    CHECK(ran.out.empty());
    const auto state = nlohmann::json::parse(test::read_file(folder / "run/last/state.json"));
    CHECK(state["step"].get<int>() >= 5);
  }
}

TEST_CASE("recompute, reference attention, Eigen and the loss by chunks train to the same losses") {
  ScratchFolder folder;
  write_text(folder);
  REQUIRE(run_program(tiny_run(folder, "plain", "20")).code == 0);
  REQUIRE(run_program(tiny_run(folder, "recompute", "20", {"--recompute", "true"})).code == 0);
  CHECK(test::read_file(folder / "plain/last/model.safetensors") ==
        test::read_file(folder / "recompute/last/model.safetensors"));
  const auto loss = [&](const std::string& name) {
    const auto ran = run_program({"eval", folder / name, "--checkpoint", "last", "--json"});
    REQUIRE(ran.code == 0);
    return nlohmann::json::parse(ran.out)["loss"].get<double>();
  };
  const double expected = loss("plain");
  CHECK(expected < 3.4);  // below ln(vocabulary): it has learned something
  REQUIRE(run_program(tiny_run(folder, "reference", "20", {"--attention", "reference"})).code == 0);
  CHECK(loss("reference") == doctest::Approx(expected).epsilon(1e-4));
  REQUIRE(run_program(tiny_run(folder, "eigen", "20", {"--matmul", "eigen"})).code == 0);
  CHECK(loss("eigen") == doctest::Approx(expected).epsilon(1e-4));
  // By chunks of rows, in one go and resumed: the same bits.
  REQUIRE(run_program(tiny_run(folder, "chunks", "20", {"--loss-chunk", "10"})).code == 0);
  CHECK(loss("chunks") == doctest::Approx(expected).epsilon(1e-4));
  REQUIRE(run_program(tiny_run(folder, "resumed", "7", {"--loss-chunk", "10"})).code == 0);
  REQUIRE(run_program({"train", "--resume", folder / "resumed", "--steps", "20"}).code == 0);
  CHECK(test::read_file(folder / "chunks/last/model.safetensors") ==
        test::read_file(folder / "resumed/last/model.safetensors"));
}

TEST_CASE("a loss that is not finite ends the run; the error names step, tensor and checkpoint") {
  ScratchFolder folder;
  write_text(folder);
  const auto ran =
      run_program(tiny_run(folder, "run", "60", {"--lr", "1e30", "--min-lr", "1e30", "--checkpoint-every", "1"}));
  CHECK(ran.code == 1);
  const std::string last = ran.err.substr(ran.err.rfind("glint: "));
  CHECK(count_lines(last) == 1);
  CHECK(last.find("no longer finite; first in ") != std::string::npos);
  CHECK(last.find("last good checkpoint is ") != std::string::npos);
  CHECK(run_program({"eval", folder / "run", "--checkpoint", "last"}).code == 0);
}

TEST_CASE("sample: only text on standard output, the same for the same seed; bad prompts are errors") {
  ScratchFolder folder;
  write_text(folder);
  REQUIRE(run_program(tiny_run(folder, "run", "20")).code == 0);
  const Arguments draw = {"sample", folder / "run", "--prompt", "the ",    "--tokens",
                          "100",    "--seed",       "3",        "--count", "3"};
  const auto first = run_program(draw);
  REQUIRE(first.code == 0);
  CHECK(first.err.empty());
  CHECK(first.out.starts_with("the "));
  CHECK(first.out.size() == 3 * 104 + 2 * 5 + 1);  // three samples, the lines between them, the end
  for (const char* batch : {"1", "2"}) CHECK(run_program(join(draw, {"--batch", batch})).out == first.out);
  for (const Arguments& bad : {Arguments{"--prompt", "caf\xC3\xA9"}, Arguments{"--temperature", "-1"},
                               Arguments{"--top-p", "2"}, Arguments{"--prompt", ""}, Arguments{"--batch", "0"}}) {
    const auto ran = run_program(join({"sample", folder / "run"}, bad));
    CHECK(ran.code == 1);
    CHECK(ran.out.empty());
    CHECK(count_lines(ran.err) == 1);
    CHECK(ran.err.starts_with("glint: " + bad[0]));
  }
}

TEST_CASE("eval: every token of the split but the first, on the run's data or another text") {
  ScratchFolder folder;
  write_text(folder);
  REQUIRE(run_program(tiny_run(folder, "run", "20")).code == 0);
  const auto val = run_program({"eval", folder / "run", "--json"});
  REQUIRE(val.code == 0);
  const auto json = nlohmann::json::parse(val.out);
  CHECK(json["tokens"] == 1999);
  CHECK(json["perplexity"].get<double>() == doctest::Approx(std::exp(json["loss"].get<double>())));
  CHECK(json["bits_per_byte"].get<double>() == doctest::Approx(json["loss"].get<double>() / std::log(2.0)));
  CHECK(nlohmann::json::parse(run_program({"eval", folder / "run", "--split", "all", "--json"}).out)["tokens"] ==
        19999);
  const auto other = run_program({"eval", folder / "run", "--data", folder / "text.txt", "--json", "--batch", "3"});
  CHECK(nlohmann::json::parse(other.out)["loss"].get<double>() ==
        doctest::Approx(json["loss"].get<double>()).epsilon(1e-5));
}

TEST_CASE("bad input: one line on standard error, exit 1, the folder unchanged") {
  ScratchFolder folder;
  write_text(folder);
  test::write_file_for_test(folder / "empty.txt", "");
  test::write_file_for_test(folder / "short.txt", "too short");
  test::write_file_for_test(folder / "latin1.txt", std::string(500, 'a') + "\xE9" + std::string(500, 'b'));
  test::write_file_for_test(folder / "unknown.toml", "layers = 2\nheadz = 3\n");
  std::filesystem::create_directory(folder / "occupied");
  test::write_file_for_test(folder / "occupied/precious", "keep me");
  const std::string text = folder / "text.txt";
  struct Bad {
    Arguments arguments;
    std::string says;
  };
  std::vector<Bad> cases = {{{"--data", folder / "missing.txt"}, "missing.txt"},
                            {{"--data", folder / "empty.txt"}, "empty"},
                            {{"--data", folder / "short.txt"}, "short.txt"},
                            {{"--data", folder / "latin1.txt"}, "UTF-8"},
                            {{"--data", text, "--heads", "5"}, "--embd 128 is not a multiple of --heads 5"},
                            {{"--data", text, "--dropout", "1"}, "dropout"},
                            {{"--data", text, "--dropout", "-0.1"}, "dropout"},
                            {{"--data", text, "--layers", "-1"}, "--layers"},
                            {{"--data", text, "--embd", "1048576", "--layers", "1000"}, "B"},
                            {{"--data", text, "--batch", "5", "--micro-batch", "2"}, "--micro-batch"},
                            {{"--data", text, "--config", folder / "unknown.toml"}, "headz"},
                            {{"--data", text, "--config", folder / "none.toml"}, "none.toml"},
                            {{"--data", text, "--out", folder / "occupied"}, "occupied"},
                            {{"--data", text, "--out", "/proc/nowhere"}, "/proc/nowhere"}};
  std::string fault;
  if (gpus_here(fault).empty()) cases.push_back({{"--data", text, "--device", "cuda"}, "cuda"});
  for (const auto& bad : cases) {
    Arguments all = {"train", "--steps", "2"};
    if (std::find(bad.arguments.begin(), bad.arguments.end(), "--out") == bad.arguments.end()) {
      all.push_back("--out");
      all.push_back(folder / "new");
    }
    const auto ran = run_program(join(all, bad.arguments));
    INFO(bad.says, ": ", ran.err);
    CHECK(ran.code == 1);
    CHECK(ran.out.empty());
    CHECK(count_lines(ran.err) == 1);
    CHECK(ran.err.starts_with("glint: "));
    CHECK(ran.err.find(bad.says) != std::string::npos);
    // After fixing the mistake the same folder can be used.
    CHECK(
        run_program({"train", "--data", text, "--out", folder / "new", "--steps", "0", "--layers", "1", "--embd", "32"})
            .code == 0);
    std::filesystem::remove_all(folder / "new");
  }
  CHECK(test::read_file(folder / "occupied/precious") == "keep me");
  CHECK(run_program({"train", "--layers", "two"}).code == 2);
  CHECK(run_program({"train", "--no-such-flag"}).code == 2);
  CHECK(run_program({}).code == 2);
}

TEST_CASE("damaged checkpoints and a run in use are errors") {
  ScratchFolder folder;
  write_text(folder);
  REQUIRE(run_program(tiny_run(folder, "run", "10")).code == 0);
  const std::string path = folder / "run/last/model.safetensors", whole = test::read_file(path);
  const auto refused = [&](const std::string& content) {
    test::write_file_for_test(path, content);
    for (const Arguments& command : {Arguments{"train", "--resume", folder / "run", "--steps", "20"},
                                     Arguments{"sample", folder / "run", "--checkpoint", "last"},
                                     Arguments{"eval", folder / "run", "--checkpoint", "last"}}) {
      const auto ran = run_program(command);
      INFO(ran.err);
      CHECK(ran.code == 1);
      const std::string last = ran.err.substr(std::min(ran.err.size(), ran.err.rfind("glint: ")));
      CHECK(count_lines(last) == 1);
      CHECK(last.find("model.safetensors") != std::string::npos);
    }
  };
  refused(whole.substr(0, whole.size() / 2));
  std::string flipped = whole;
  flipped[whole.size() - 100] = static_cast<char>(flipped[whole.size() - 100] ^ 1);
  refused(flipped);
  test::write_file_for_test(path, whole);
  CHECK(run_program({"eval", folder / "run", "--checkpoint", "last"}).code == 0);

  Running running(tiny_run(folder, "busy", "1000000"));
  for (int i = 0; i < 2000 && running.err_so_far().find("step 5/") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const auto second = run_program({"train", "--resume", folder / "busy"});
  CHECK(second.code == 1);
  CHECK(second.err.find("in use") != std::string::npos);
  running.send(SIGTERM);
  CHECK(running.wait().code == 143);
}
