// What a determined user tries: settings that cannot work, files that are not what they seem, places that hold
// something else. Each gets one line, and nothing is lost.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "tests/train/run_program.h"

using namespace glint;
using namespace glint::test;
using Json = nlohmann::json;
namespace fs = std::filesystem;

namespace {

void check_refused(const Arguments& arguments, const std::string& word) {
  const Ran ran = run_program(arguments);
  CHECK_MESSAGE((ran.code == 1 || ran.code == 2), ran.code);
  CHECK_MESSAGE(ran.err.find(word) != std::string::npos, ran.err);
  CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
}

std::string text_file(const ScratchFolder& folder) {
  write_file_for_test(folder / "text.txt", corpus_text(6000, 3));
  return folder / "text.txt";
}

Arguments train(const ScratchFolder& folder, const std::string& more) {
  return join({"train", "--data", text_file(folder), "--out", folder / "run"},
              join(words_of("--layers 1 --heads 2 --embd 16 --context 16 --batch 2 --eval-batches 1"), words_of(more)));
}

// A model of Hugging Face's, as glint exports it, with a key of its config.json changed.
std::string exported(const ScratchFolder& folder, const std::string& more, const std::string& key = "",
                     const Json& value = {}) {
  fs::remove_all(folder / "run");
  fs::remove_all(folder / "hf");
  REQUIRE(run_program(train(folder, "--steps 1 --quiet " + more)).code == 0);
  REQUIRE(run_program({"export", folder / "run", "--out", folder / "hf"}).code == 0);
  Json config = Json::parse(read_file(folder / "hf/config.json"));
  if (!key.empty()) config[key] = value;
  write_file_for_test(folder / "hf/config.json", config.dump());
  return folder / "hf";
}

}  // namespace

TEST_CASE("misuse: numbers and flags that CLI11 would take for something else") {
  check_refused({"sample", "run", "--prompt=", "--json"}, "--prompt= has no value");
  check_refused({"plan", "--layers", "010"}, "'010' begins with 0");
  check_refused({"plan", "--layers", "3000000000"}, "'3000000000' is out of range");
  check_refused({"plan", "--layers", "1e3"}, "'1e3' is no whole number");
  check_refused({"plan", "--memory-gb", "much"}, "'much' is no number");
  check_refused({"mask", "--seed", "18446744073709551616"}, "is out of range");
  check_refused({"mask", "--seed", "-1"}, "is negative");
  CHECK(run_program({"mask", "--seed", "18446744073709551615", "--rows", "1"}).code == 0);
}

TEST_CASE("misuse: settings that cannot work together") {
  const ScratchFolder folder;
  check_refused(train(folder, "--decay-part 0.5"), "--decay-part goes with --schedule wsd");
  check_refused(train(folder, "--muon-momentum 0.5"), "--muon-momentum goes with --optimizer muon");
  const std::string config = folder / "a.toml";
  write_file_for_test(config, "decay-part = 0.5\nsteps = 1\n");
  check_refused(train(folder, "--config " + config), config + ": decay-part goes with --schedule wsd");
  CHECK(run_program(train(ScratchFolder(), "--schedule wsd --config " + config)).code == 0);
  write_file_for_test(config, "decay-part = 0.5\nschedule = \"wsd\"\nsteps = 1\n");
  CHECK(run_program(train(ScratchFolder(), "--schedule cosine --config " + config)).code == 0);
  const Ran ran = run_program(train(folder, "--steps 2 --warmup 5 --patience 1 --eval-every 0"));
  CHECK(ran.code == 0);
  CHECK(ran.err.find("never reaches --lr 0.001: --warmup 5 goes on longer than --steps 2") != std::string::npos);
  CHECK(ran.err.find("--eval-every 0 makes none") != std::string::npos);
  check_refused({"report", folder / "run", "--out", folder / "x", "--svg", folder / "x"}, "are the same file");
  check_refused({"report", folder / "run", "--out", folder / "run/metrics.jsonl"}, "is not what report writes");
  check_refused({"sample", folder / "run", "--json", "--logprobs", "-1"}, "'-1' is negative");
  check_refused({"plan", "--link-gbs", "-1"}, "--link-gbs -1 is negative");
  check_refused({"plan", "--dropout", "1"}, "--dropout 1 is not in");
  check_refused({"bench", "step", "--zero", "2"}, "--zero 2: give 0 or 1");
  check_refused({"bench", "step", "--batch", "0"}, "--batch 0: give 1 or more");
  check_refused({"study", "dropout", "--threads", "-1", "--out", folder / "study"}, "--threads -1: give a number");
}

TEST_CASE("misuse: a run goes on when who reads its progress has ended") {
  const ScratchFolder folder;
  std::string line = "'" + glint_program() + "'";
  for (const std::string& word : train(folder, "--steps 200 --log-every 1 --eval-every 0")) line += " '" + word + "'";
  CHECK(std::system((line + " 2>&1 | head -n 1 > '" + (folder / "first") + "'").c_str()) == 0);
  CHECK(fs::exists(folder / "run/last/state.json"));
}

TEST_CASE("misuse: defaults fit what is given") {
  const Arguments tiny = words_of("--layers 1 --heads 2 --embd 16 --vocab 10");
  CHECK(run_program(join({"bench", "sample", "--repeats", "1"}, tiny)).code == 0);
  CHECK(run_program(join(words_of("plan --batch 4 --devices 1-4"), tiny)).code == 0);
  CHECK(run_program(join(words_of("plan --device here --threads 0 --devices 1 --context 16"), tiny)).code == 0);
}

TEST_CASE("misuse: weights that are not finite are neither kept nor taken") {
  const ScratchFolder folder;
  const Ran ran = run_program(train(folder, "--steps 1 --lr 1e38 --weight-decay 0"));
  CHECK(ran.code == 1);
  CHECK(ran.err.find("no longer finite") != std::string::npos);
  CHECK_FALSE(fs::exists(folder / "run/best"));

  const std::string weights = exported(folder, "") + "/model.safetensors";
  std::string bytes = read_file(weights);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + bytes.size() - sizeof nan, &nan, sizeof nan);
  write_file_for_test(weights, bytes);
  check_refused({"import", folder / "hf", "--out", folder / "no"}, "holds NaN or infinity");
}

TEST_CASE("misuse: import of a config.json with settings that no model has") {
  const ScratchFolder folder;
  const auto refused = [&](const std::string& more, const char* key, const Json& value, const char* word) {
    check_refused({"import", exported(folder, more, key, value), "--out", folder / "no"}, word);
  };
  refused("", "n_layer", 100'000'000, "gives 100000000 layers");
  refused("", "architectures", {"\x1B[31mX"}, "describes ?[31mX");  // a terminal is not steered
  refused("--model llama", "rope_parameters", {{"rope_theta", 1e39}}, "rope_theta");
  refused("--model llama", "rope_scaling", "linear", "rope_scaling cannot be \"linear\"");

  // Rotary frequencies, which old releases of transformers stored.
  const std::string weights = exported(folder, "--model llama") + "/model.safetensors", bytes = read_file(weights);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  Json header = Json::parse(bytes.substr(8, length));
  const uint64_t end = bytes.size() - 8 - length;
  header["model.layers.0.self_attn.rotary_emb.inv_freq"] = {
      {"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {end, end + 4}}};
  const std::string longer = header.dump();
  length = longer.size();
  write_file_for_test(weights, std::string(reinterpret_cast<const char*>(&length), sizeof length) + longer +
                                   bytes.substr(bytes.size() - end) + std::string(4, '\0'));
  const Ran ran = run_program({"import", folder / "hf", "--out", folder / "old"});
  CHECK_MESSAGE(ran.code == 0, ran.err);
}

TEST_CASE("misuse: data prepare neither overwrites another's tokenizer nor leaves a split empty") {
  const ScratchFolder folder;
  exported(folder, "");
  const std::string text = folder / "text.txt";
  for (const auto& [other, file] : {std::pair("run", "tokenizer.json"),
                                    {"hf", "tokenizer.json"},
                                    {"run/data", "tokens.bin"},
                                    {"run/data/", "tokens.bin"}}) {
    const std::string kept = (fs::path(folder / other) / file).string(), before = read_file(kept);
    check_refused({"data", "prepare", text, "--tokenizer", "byte", "--out", folder / other}, "choose another folder");
    CHECK(read_file(kept) == before);
  }
  const std::string out = folder / "out";
  check_refused({"data", "prepare", text, "--field", "body", "--out", out}, "--field is of *.jsonl");
  check_refused({"data", "prepare", "-", "-", "--tokenizer", "byte", "--out", out}, "one text only");
  check_refused({"data", "prepare", "-", "--val-data", "-", "--tokenizer", "byte", "--out", out}, "one text only");
  write_file_for_test(folder / "one.jsonl", "{\"text\": \"a document of one piece\"}\n");
  check_refused({"data", "prepare", folder / "one.jsonl", "--out", out}, "no text for training");
  write_file_for_test(folder / "empty.jsonl", "");
  check_refused({"data", "prepare", text, "--val-data", folder / "empty.jsonl", "--out", out},
                "no text for validation");
}

TEST_CASE("misuse: a study that has done nothing yet is no other study") {
  const ScratchFolder folder;
  const std::string out = folder / "study";
  CHECK(run_program({"study", "cost", "--model", "llama", "--vocab", "0", "--out", out}).code == 1);
  const Json settings = Json::parse(read_file(out + "/done/study.json"))["settings"];
  CHECK(settings["model"] == "llama");  // its times are no GPT-2's
  CHECK(settings.contains("qk-norm"));
  const Ran ran = run_program({"study", "mask", "--quick", "--context", "64", "--out", out});
  CHECK_MESSAGE(ran.code == 0, ran.err);
  check_refused({"study", "mask", "--quick", "--context", "64", "--seed", "2", "--out", out}, "--seed 1 instead of 2");
}
