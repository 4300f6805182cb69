// glint import and export, as a user runs them. (tests/interop/ has transformers and llama.cpp as judges.)
#include <filesystem>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "data/durable.h"
#include "tests/train/run_program.h"
#include "train/checkpoint/safetensors.h"
#include "train/exchange/half.h"

using namespace glint;
using Json = nlohmann::json;
using test::Arguments;
using test::join;
using test::run_program;
using test::ScratchFolder;
namespace fs = std::filesystem;

namespace {

// A run of a few steps.
void make_run(const ScratchFolder& folder, const std::string& name, const Arguments& more = {}) {
  test::write_file_for_test(folder / "text.txt", corpus_text(6000, 3));
  const auto run = run_program(
      join(join({"train", "--data", folder / "text.txt", "--out", folder / name},
                test::words_of("--layers 2 --heads 2 --embd 32 --context 16 --batch 4 --steps 6 --eval-every 3 "
                               "--eval-batches 1 --quiet")),
           more));
  REQUIRE_MESSAGE(run.code == 0, run.err);
}

test::Ran import_as(const ScratchFolder& folder, const std::string& from, const std::string& to,
                    const Arguments& more = {}) {
  return run_program(join({"import", folder / from, "--out", folder / to}, more));
}
test::Ran export_as(const ScratchFolder& folder, const std::string& run, const std::string& to,
                    const Arguments& more = {}) {
  return run_program(join({"export", folder / run, "--out", folder / to}, more));
}

void check_refused(const test::Ran& ran, const std::string& word) {
  CHECK(ran.code == 1);
  CHECK_MESSAGE(ran.err.find(word) != std::string::npos, ran.err);
}

std::string weights(const ScratchFolder& folder, const std::string& checkpoint) {
  return test::read_file(folder / checkpoint + "/model.safetensors");
}

// The file's tensors, changed, in the place of it.
template <typename Change>  // change(vector<TensorView>&)
void rewrite(const std::string& place, const Change& change) {
  const SafetensorsFile file(place + "/model.safetensors");
  std::vector<TensorView> tensors(file.tensors().begin(), file.tensors().end());
  change(tensors);
  DurableFolder out(place + "-new");
  write_safetensors(out, "model.safetensors", tensors);
  out.commit();
  fs::copy_file(place + "-new/model.safetensors", place + "/model.safetensors", fs::copy_options::overwrite_existing);
}

}  // namespace

TEST_CASE("export and import: the same weights, tokenizer and text, and the same files once more") {
  ScratchFolder folder;
  for (const std::string& flags : {std::string(), std::string("--bias true --vocab-multiple 64 --tokenizer byte"),
                                   std::string("--tie-embeddings false --activation tanh --norm-epsilon 1e-4")}) {
    INFO(flags);
    fs::remove_all(folder / "run"), fs::remove_all(folder / "hf");
    fs::remove_all(folder / "again"), fs::remove_all(folder / "twice");
    make_run(folder, "run", test::words_of(flags));
    REQUIRE(export_as(folder, "run", "hf").code == 0);
    REQUIRE(import_as(folder, "hf", "again").code == 0);
    CHECK(weights(folder, "again/last") == weights(folder, "run/best"));
    CHECK(test::read_file(folder / "again/tokenizer.json") == test::read_file(folder / "run/tokenizer.json"));
    REQUIRE(export_as(folder, "again", "twice").code == 0);
    for (const auto& entry : fs::directory_iterator(folder / "hf"))
      CHECK(test::read_file(entry.path()) ==
            test::read_file(folder / "twice" + "/" + entry.path().filename().string()));
    const auto sample = [&](const char* name) {
      return run_program({"sample", folder / name, "--tokens", "30", "--seed", "3"}).out;
    };
    CHECK(sample("run") == sample("again"));
    // The checkpoint is the same model to transformers.
    Json config = Json::parse(test::read_file(folder / "run/best/config.json")),
         exported = Json::parse(test::read_file(folder / "hf/config.json"));
    CHECK(config["vocab_size"] == exported["vocab_size"]);
    CHECK(config == exported);
  }
  check_refused(import_as(folder, "hf", "again"), "exists already");
  check_refused(export_as(folder, "run", "hf"), "exists already");
  check_refused(export_as(folder, "run", "other", {"--dtype", "q8_0"}), "--format gguf");
  CHECK_FALSE(fs::exists(folder / "other"));
}

TEST_CASE("an imported run: evaluated, fine-tuned, and trained where it is") {
  ScratchFolder folder;
  make_run(folder, "run");
  REQUIRE(export_as(folder, "run", "hf").code == 0);
  REQUIRE(import_as(folder, "hf", "mine").code == 0);
  const std::string text = folder / "text.txt", mine = folder / "mine";
  const auto loss = [&](const std::string& run) {
    const auto ran = run_program({"eval", run, "--data", text, "--split", "all", "--json"});
    REQUIRE_MESSAGE(ran.code == 0, ran.err);
    return Json::parse(ran.out)["loss"].get<double>();
  };
  CHECK(loss(mine) == loss(folder / "run"));
  check_refused(run_program({"eval", mine}), "was imported and has no data");
  check_refused(run_program({"train", "--resume", mine}), "say by --data what to train it on");
  check_refused(run_program({"train", "--resume", mine, "--data", text, "--layers", "3"}), "--layers differs");
  check_refused(run_program({"train", "--resume", mine, "--data", folder / "none"}), "none");

  const Arguments settings = test::words_of("--steps 8 --lr 1e-3 --batch 4 --eval-every 4 --eval-batches 1 --quiet");
  REQUIRE(run_program(join({"train", "--init-from", mine, "--data", text, "--out", folder / "tuned"}, settings)).code ==
          0);
  const auto begun = run_program(join({"train", "--resume", mine, "--data", text}, settings));
  REQUIRE_MESSAGE(begun.code == 0, begun.err);
  CHECK(weights(folder, "mine/last") == weights(folder, "tuned/last"));  // moments of 0, as a new run has
  CHECK(loss(mine) < loss(folder / "run"));
  REQUIRE(run_program({"train", "--resume", mine, "--steps", "10"}).code == 0);  // a run like any other from now on
}

TEST_CASE("import: fp16 and bf16, shards, names without a prefix; tokens that no row belongs to") {
  ScratchFolder folder;
  make_run(folder, "run", {"--bias", "true"});
  REQUIRE(export_as(folder, "run", "hf", {"--dtype", "bf16"}).code == 0);
  REQUIRE(import_as(folder, "hf", "from-bf16").code == 0);
  const auto rounded = [](float value) { return to_float(to_bf16(value)); };
  const SafetensorsFile before(folder / "run/best/model.safetensors"),
      after(folder / "from-bf16/last/model.safetensors");
  for (size_t i = 0; i < before.tensors().size(); ++i) {
    const auto *a = static_cast<const float*>(before.tensors()[i].data),
               *b = static_cast<const float*>(after.tensors()[i].data);
    for (size_t k = 0; k < before.tensors()[i].elements(); ++k) REQUIRE(rounded(a[k]) == b[k]);
  }

  // Two shards, one with names that have no prefix, and a mask.
  REQUIRE(export_as(folder, "run", "shards").code == 0);
  const std::string place = folder / "shards";
  Json index;
  {
    const SafetensorsFile whole(place + "/model.safetensors");
    std::vector<TensorView> first, second;
    float mask[4] = {};
    for (const StoredTensor& tensor : whole.tensors()) {
      auto& part = tensor.name < "transformer.h.1" ? first : second;
      part.push_back(tensor);
      if (&part == &second) part.back().name = tensor.name.substr(12);
      index["weight_map"][part.back().name] = &part == &first ? "a.safetensors" : "b.safetensors";
    }
    second.push_back({"h.0.attn.bias", {1, 1, 2, 2}, mask});
    for (const auto& [name, part] : {std::pair{"a", &first}, {"b", &second}}) {
      DurableFolder out(place + "-" + name);
      write_safetensors(out, "model.safetensors", *part);
      out.commit();
      fs::copy_file(place + "-" + name + "/model.safetensors", place + "/" + name + ".safetensors");
    }
  }
  fs::remove(place + "/model.safetensors");
  const std::string index_path = place + "/model.safetensors.index.json";
  test::write_file_for_test(index_path, index.dump());
  REQUIRE(import_as(folder, "shards", "from-shards").code == 0);
  CHECK(weights(folder, "from-shards/last") == weights(folder, "run/best"));
  index["weight_map"]["x"] = "../elsewhere";
  test::write_file_for_test(index_path, index.dump());
  check_refused(import_as(folder, "shards", "no"), "no file's name");
  test::write_file_for_test(index_path, "{\"weight_map\": {\"wte.weight\": \"a.safetensors\"}}");
  check_refused(import_as(folder, "shards", "no"), "does not have");

  // Twice as many rows as tokens: those without a token are left out.
  REQUIRE(export_as(folder, "run", "wide").code == 0);
  std::vector<float> rows;
  rewrite(folder / "wide", [&](std::vector<TensorView>& tensors) {
    for (TensorView& tensor : tensors) {
      if (!tensor.name.ends_with("wte.weight")) continue;
      rows.assign(static_cast<float*>(tensor.data), static_cast<float*>(tensor.data) + tensor.elements());
      rows.resize(2 * rows.size(), 9.0f);
      tensor.data = rows.data(), tensor.shape[0] *= 2;
    }
  });
  Json config = Json::parse(test::read_file(folder / "wide/config.json"));
  config["vocab_size"] = 2 * config["vocab_size"].get<int>();
  test::write_file_for_test(folder / "wide/config.json", config.dump());
  const auto wide = import_as(folder, "wide", "from-wide");
  REQUIRE_MESSAGE(wide.code == 0, wide.err);
  CHECK(wide.out.find("are left out") != std::string::npos);
  CHECK(weights(folder, "from-wide/last") == weights(folder, "run/best"));
}

TEST_CASE("import: what is not a GPT-2, or not whole, is refused by name, and leaves nothing") {
  ScratchFolder folder;
  make_run(folder, "run");
  const auto with = [&](const auto& change) {
    fs::remove_all(folder / "hf");
    REQUIRE(export_as(folder, "run", "hf").code == 0);
    change(folder / "hf");
    const auto ran = import_as(folder, "hf", "no");
    CHECK_FALSE(fs::exists(folder / "no"));
    CHECK_FALSE(fs::exists(folder / "no.partial"));
    return ran;
  };
  const auto edited = [&](const char* key, const Json& value) {
    return with([&](const std::string& place) {
      Json config = Json::parse(test::read_file(place + "/config.json"));
      config[key] = value;
      test::write_file_for_test(place + "/config.json", config.dump());
    });
  };
  check_refused(edited("architectures", Json::array({"LlamaForCausalLM"})), "describes LlamaForCausalLM");
  check_refused(edited("n_layer", 1), "which is not part of this model");
  check_refused(edited("n_layer", 3), "does not have h.2.ln_1.weight");
  check_refused(edited("n_positions", 8), "is of shape [16, 32] and should be [8, 32]");
  check_refused(edited("vocab_size", 5), "they don't belong together");
  check_refused(edited("tie_word_embeddings", false), "does not have lm_head.weight");
  check_refused(with([](const std::string& place) { fs::remove(place + "/config.json"); }),
                "config.json does not exist");
  check_refused(with([](const std::string& place) { fs::remove(place + "/tokenizer.json"); }), "--tokenizer");
  check_refused(with([](const std::string& place) { test::write_file_for_test(place + "/tokenizer.json", "{}"); }),
                "is not a tokenizer");
  check_refused(with([](const std::string& place) { fs::remove(place + "/model.safetensors"); }),
                "has no model.safetensors");
  check_refused(with([](const std::string& place) {
                  rewrite(place, [](auto& tensors) {
                    static float bias[32] = {1};
                    for (TensorView& tensor : tensors)
                      if (tensor.name == "transformer.ln_f.bias") tensor.data = bias;
                  });
                }),
                "but some are not 0");
  for (const char* pickle : {"pytorch_model.bin", "ckpt.pt"}) {
    const auto ran =
        with([&](const std::string& place) { fs::rename(place + "/model.safetensors", place + "/" + pickle); });
    check_refused(ran, "is a pickle, which can run any code");
    CHECK(ran.err.find("save_file(") != std::string::npos);
  }
  check_refused(import_as(folder, "nowhere", "no"), "there is no");
  make_run(folder, "grouped", {"--kv-heads", "1"});
  CHECK_FALSE(fs::exists(folder / "grouped/last/config.json"));
  check_refused(export_as(folder, "grouped", "no"), "grouped-query attention");
  check_refused(export_as(folder, "grouped", "no", {"--format", "gguf"}), "grouped-query attention");
  CHECK_FALSE(fs::exists(folder / "no"));
}

TEST_CASE("export --format gguf: a header, tokens, and a word about another GELU") {
  ScratchFolder folder;
  make_run(folder, "run");
  const auto ran = export_as(folder, "run", "m.gguf", {"--format", "gguf", "--dtype", "fp16"});
  REQUIRE_MESSAGE(ran.code == 0, ran.err);
  CHECK(ran.err.find("tanh GELU") != std::string::npos);
  const std::string bytes = test::read_file(folder / "m.gguf");
  CHECK(bytes.starts_with("GGUF\x03"));
  for (const char* name : {"blk.1.ffn_down.bias", "blk.0.attn_qkv.weight", "output_norm.bias", "token_embd.weight"})
    CHECK(bytes.find(name) != std::string::npos);
  check_refused(export_as(folder, "run", "m.gguf", {"--format", "gguf"}), "there is already");
}
