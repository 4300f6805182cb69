// glint sample: stops, prompts of a file, JSON, and a conversation.
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <thread>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/train/run_program.h"

using namespace glint;
using namespace glint::test;

namespace {

// A small run on the built-in corpus, trained for one step.
std::string trained(const ScratchFolder& folder) {
  const std::string run = folder / "run";
  REQUIRE(run_program(join({"train", "--out", run},
                           words_of("--layers 1 --heads 2 --embd 16 --context 32 --steps 1 --eval-every 0 --quiet")))
              .code == 0);
  return run;
}

Ran sample(const std::string& run, const Arguments& more) {
  return run_program(join({"sample", run, "--tokens", "60"}, more));
}

std::vector<nlohmann::json> lines_of(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace

TEST_CASE("sample: a stop string ends each text before it; the JSON says why each ended") {
  const ScratchFolder folder;
  const std::string run = trained(folder);
  const Arguments draw = {"--prompt", "the ", "--count", "3", "--json"};
  const auto whole = lines_of(sample(run, draw).out);
  REQUIRE(whole.size() == 3);
  const auto text = whole[1]["text"].get<std::string>();
  CHECK(text.size() >= 60);
  CHECK(whole[1]["finish"] == "length");
  CHECK(whole[1]["tokens"] == 60);
  CHECK(whole[1]["prompt"] == "the ");
  const std::string stop = text.substr(7, 3);  // of three tokens
  const auto cut = lines_of(sample(run, join(draw, {"--stop", "never this", "--stop", stop})).out);
  for (size_t i = 0; i < 3; ++i) {
    const auto full = whole[i]["text"].get<std::string>();
    CHECK(cut[i]["text"] == full.substr(0, full.find(stop)));
    CHECK(cut[i]["finish"] == (full.find(stop) == std::string::npos ? "length" : "stop"));
  }
  const std::string shown = sample(run, {"--prompt", "the ", "--stop", text.substr(7, 3)}).out;
  CHECK(shown == "the " + cut[0]["text"].get<std::string>() + "\n");
}

TEST_CASE("sample: log probabilities of the tokens drawn and of the likeliest, which sum to 1 over all") {
  const ScratchFolder folder;
  const std::string run = trained(folder);
  for (const char* temperature : {"0", "1.5"}) {  // they are the model's own
    const Arguments flags = {"--json", "--logprobs", "1000", "--temperature", temperature, "--tokens", "5"};
    const auto line = lines_of(run_program(join({"sample", run}, flags)).out).at(0);
    CHECK(line["prompt"].is_null());
    REQUIRE(line["logprobs"].size() == 5);
    std::string text;
    for (const auto& token : line["logprobs"]) {
      text += token["token"].get<std::string>();
      double sum = 0, before = 0;
      bool chosen = false;
      for (const auto& other : token["top"]) {
        const double logprob = other["logprob"].get<double>();
        CHECK(logprob <= before);
        before = logprob;
        sum += std::exp(logprob);
        chosen |= other["id"] == token["id"] && logprob == token["logprob"].get<double>();
      }
      CHECK(sum == doctest::Approx(1).epsilon(1e-6));
      CHECK(chosen);
      if (*temperature == '0') CHECK(token["id"] == token["top"][0]["id"]);
    }
    CHECK(text == line["text"]);
  }
  const auto ran = sample(run, {"--logprobs", "2"});
  CHECK(ran.code == 1);
  CHECK(ran.err.find("add --json") != std::string::npos);
}

TEST_CASE("sample: each prompt of a file is continued as it is alone") {
  const ScratchFolder folder;
  const std::string run = trained(folder);
  write_file_for_test(folder / "prompts", "\xEF\xBB\xBFthe \n\nshe\r\n");
  write_file_for_test(folder / "prompts.jsonl", "\"the \"\n{\"prompt\": \"she\", \"id\": 7}\n");
  std::string expected;
  for (const char* prompt : {"the ", "she"}) {
    expected += (expected.empty() ? "" : "---\n") + sample(run, {"--prompt", prompt, "--count", "2"}).out;
  }
  CHECK(sample(run, {"--prompts", folder / "prompts", "--count", "2"}).out == expected);
  CHECK(sample(run, {"--prompts", folder / "prompts.jsonl", "--count", "2"}).out == expected);
  for (const auto& [content, error] : {std::pair<std::string, std::string>{"\"a\"\n7\n", "line 2 of --prompts "},
                                       {"\"a\"\n{\"prompt\": \"\"}\n", "line 2 of --prompts "},
                                       {"\"a\"\n\"caf\xC3\xA9\"\n", "U+00E9"},
                                       {"\n", "no prompt"}}) {
    write_file_for_test(folder / "bad.jsonl", content);
    const auto ran = sample(run, {"--prompts", folder / "bad.jsonl"});
    CHECK(ran.code == 1);
    CHECK(ran.out.empty());
    CHECK(ran.err.find(error) != std::string::npos);
  }
  CHECK(sample(run, {"--prompts", folder / "nothing"}).err.find("can't be read") != std::string::npos);
  CHECK(sample(run, {"--prompts", folder / "prompts", "--prompt", "a"}).code == 1);
  CHECK(sample(run, {"--stop", ""}).code == 1);
  CHECK(sample(run, {"--interactive", "--json"}).code == 1);
}

TEST_CASE("sample: a conversation; an interrupt ends the text and not the program") {
  const ScratchFolder folder;
  const std::string run = trained(folder), pipe = folder / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  Running running({"-c", "exec " + glint_program() + " sample " + run +
                             " --device cpu --interactive --tokens 1000000000 --temperature 0 < " + pipe},
                  "/bin/sh");
  std::ofstream input(pipe);
  const auto wait_for = [&](const auto& holds) {
    for (int i = 0; i < 1000 && !holds(running.out_so_far()); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return holds(running.out_so_far());
  };
  const auto interrupt = [&](size_t texts) {
    const size_t before = running.out_so_far().size();
    REQUIRE(wait_for([&](const std::string& out) { return out.size() > before + 20; }));
    for (int twice = 0; twice < 2; ++twice) running.send(SIGINT);
    const auto ends = [&](const std::string& out) {
      return out.ends_with('\n') && static_cast<size_t>(std::count(out.begin(), out.end(), '\n')) >= texts;
    };
    REQUIRE(wait_for(ends));
  };
  input << "the " << std::endl;
  interrupt(1);
  input << "caf\xC3\xA9" << std::endl << "she" << std::endl;
  interrupt(2);
  input.close();
  const Ran ran = running.wait();
  CHECK(ran.code == 0);
  CHECK(ran.err.find("U+00E9") != std::string::npos);
}
