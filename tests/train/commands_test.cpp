// Help, version, exit codes, and the small commands info and data.
#include <algorithm>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "tests/train/run_program.h"
#include "train/options.h"

using namespace glint;
using test::run_program;
using test::ScratchFolder;

namespace {

using test::Arguments;

int lines(const std::string& text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

}  // namespace

TEST_CASE("--version and --help, of the program and of every command, on standard output") {
  const auto version = run_program({"--version"});
  CHECK(version.code == 0);
  CHECK(version.out.starts_with("glint 0."));
  const std::vector<Arguments> commands = {{},
                                           {"train"},
                                           {"sample"},
                                           {"eval"},
                                           {"report"},
                                           {"data"},
                                           {"data", "prepare"},
                                           {"data", "info"},
                                           {"data", "corpus"},
                                           {"mask"},
                                           {"bench"},
                                           {"bench", "attention"},
                                           {"bench", "matmul"},
                                           {"bench", "step"},
                                           {"bench", "sample"},
                                           {"study"},
                                           {"study", "ladder"},
                                           {"info"}};
  for (const Arguments& command : commands) {
    Arguments arguments = command;
    arguments.push_back("--help");
    const auto ran = run_program(arguments);
    INFO((command.empty() ? "" : command.back()));
    CHECK(ran.code == 0);
    CHECK(ran.err.empty());
    CHECK(lines(ran.out) > 3);
    CHECK(ran.out.find("Usage: ") != std::string::npos);
  }
  const std::string help = run_program({"train", "--help"}).out;
  const auto options = to_json(TrainOptions());
  for (const auto& option : options.items()) {
    const std::string& name = option.key();
    INFO(name);
    CHECK(help.find("--" + name + " ") != std::string::npos);
  }
  CHECK(help.find("as --heads") != std::string::npos);
}

TEST_CASE("wrong usage: one line on standard error, exit 2") {
  const std::vector<Arguments> cases = {{},
                                        {"dance"},
                                        {"mask", "--nonsense"},
                                        {"data"},
                                        {"data", "prepare"},
                                        {"info", "extra"},
                                        {"bench"},
                                        {"study"},
                                        {"study", "dance"},
                                        {"study", "ladder"},
                                        {"study", "ladder", "--nonsense", "--out", "x"}};
  for (const Arguments& bad : cases) {
    const auto ran = run_program(bad);
    INFO((bad.empty() ? "" : bad.back()), ": ", ran.err);
    CHECK(ran.code == 2);
    CHECK(ran.out.empty());
    CHECK(lines(ran.err) == 1);
    CHECK(ran.err.starts_with("glint: "));
    CHECK(ran.err.find("--help") != std::string::npos);
  }
}

TEST_CASE("a mistake in the command line is named, with what is likely meant") {
  const std::vector<std::pair<Arguments, const char*>> cases = {
      {{"trian"}, "'trian' is no command of glint; did you mean train?"},
      {{"data", "prep", "x"}, "'prep' is no command of glint data; did you mean prepare?"},
      {{"train", "--lyaers", "4"}, "'--lyaers' is no flag of glint train; did you mean --layers? see"},
      {{"train", "--learning-rate=1"}, "'--learning-rate=1' is no flag of glint train; see glint train --help"},
      {{"train", "-layers", "4"}, "'-layers' is no flag of glint train; did you mean --layers?"},
      {{"train", "--layers", "4", "extra"}, "glint train takes no argument 'extra'; see glint train --help"},
      {{"info", "--threads"}, "--threads needs a value: INT; see glint info --help"},
      {{"train", "--layers", "x"}, "--layers: 'x' is no number; see glint train --help"},
      {{"sample"}, "glint sample needs RUN; see glint sample --help"},
      {{"data", "prepare", "x"}, "glint data prepare needs --out; see"}};
  for (const auto& [arguments, message] : cases) {
    const auto ran = run_program(arguments);
    CHECK(ran.code == 2);
    INFO(ran.err);
    CHECK(ran.err.find(message) != std::string::npos);
  }
}

TEST_CASE("info describes this build and this machine") {
  const auto ran = run_program({"info", "--threads", "1"});
  CHECK(ran.code == 0);
  for (const char* word :
       {"glint ", "compiler ", "CPU ", "vectors ", "threads    1\n", "memory ", "matmul ", "GFLOP/s", "GB/s"}) {
    INFO(word);
    CHECK(ran.out.find(word) != std::string::npos);
  }
  CHECK(run_program({"info", "--threads", "-1"}).code == 1);
}

TEST_CASE("data corpus: the same bytes on standard output and in a file") {
  ScratchFolder folder;
  const auto printed = run_program({"data", "corpus", "--bytes", "100000", "--seed", "7"});
  CHECK(printed.code == 0);
  CHECK(printed.out == corpus_text(100000, 7));
  const auto written =
      run_program({"data", "corpus", "--bytes", "100000", "--seed", "7", "--out", folder / "corpus.txt"});
  CHECK(written.code == 0);
  CHECK(written.out.empty());
  CHECK(test::read_file(folder / "corpus.txt") == printed.out);
  CHECK(run_program({"data", "corpus", "--out", folder / "missing/corpus.txt"}).code == 1);
}

TEST_CASE("data prepare and info: a folder is described, a damaged one is an error") {
  ScratchFolder folder;
  test::write_file_for_test(folder / "text.txt", corpus_text(20000, 1));
  for (const char* tokenizer : {"char", "byte", "bpe"}) {
    const auto prepared =
        run_program({"data", "prepare", folder / "text.txt", "--out", folder / "tokens", "--tokenizer", tokenizer});
    INFO(prepared.err);
    REQUIRE(prepared.code == 0);
    CHECK(prepared.out.empty());
    const auto info = run_program({"data", "info", folder / "tokens"});
    CHECK(info.code == 0);
    CHECK(info.out.find(tokenizer) != std::string::npos);
    const auto json = run_program({"data", "info", folder / "tokens", "--json"});
    CHECK(nlohmann::json::parse(json.out).is_object());
  }
  const auto made =
      run_program({"data", "tokenizer", folder / "text.txt", "--vocab", "300", "--out", folder / "tokenizer.json"});
  CHECK(made.code == 0);
  CHECK(made.err == "300 tokens in " + (folder / "tokenizer.json") + "\n");
  const auto with_it = run_program({"data", "prepare", folder / "text.txt", "--tokenizer", folder / "tokenizer.json",
                                    "--out", folder / "tokens", "--shard-tokens", "1"});
  INFO(with_it.err);
  CHECK(with_it.code == 0);
  CHECK(with_it.err.find("bpe, vocabulary 300") != std::string::npos);
  const std::string tokens = test::read_file(folder / "tokens/tokens.bin");
  test::write_file_for_test(folder / "tokens/tokens.bin", tokens.substr(0, tokens.size() / 2));
  for (const Arguments& bad :
       {Arguments{"data", "info", folder / "tokens"},
        {"data", "info", folder / "nothing"},
        {"data", "prepare", folder / "text.txt", "--vocab", "300", "--out", folder / "more"},
        {"data", "prepare", folder / "text.txt", "--tokenizer", "word", "--out", folder / "more"},
        {"data", "tokenizer", folder / "text.txt", "--vocab", "256", "--out", folder / "t.json"},
        {"data", "prepare", folder / "nothing.txt", "--out", folder / "more"}}) {
    const auto ran = run_program(bad);
    INFO(ran.err);
    CHECK(ran.code == 1);
    CHECK(ran.out.empty());
    CHECK(lines(ran.err) == 1);
  }
}

TEST_CASE("results that can't be written are an error") {
  if (!std::filesystem::exists("/dev/full")) return;
  const std::string command = std::string(GLINT_PROGRAM) + " mask --rows 4 --cols 4 > /dev/full 2> /dev/null";
  CHECK(WEXITSTATUS(std::system(command.c_str())) == 1);
}
