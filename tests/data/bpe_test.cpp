#include "data/bpe.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/bpe_files.h"
#include "data/bpe_trainer.h"
#include "data/file_writer.h"
#include "kernels/check.h"
#include "tests/data/temporary_folder.h"
#include "tests/random.h"

using namespace glint;
using test::message_of;
namespace fs = std::filesystem;

namespace {

using Ids = std::vector<int32_t>;
const fs::path kGolden = fs::path(GLINT_SOURCE_DIR) / "tests/data/bpe";  // made by tests/interop/bpe_golden.py

nlohmann::json golden_json() { return nlohmann::json::parse(*read_file(kGolden / "tokenizer.json")); }

std::string refusal_of_json(const nlohmann::json& json) {
  return message_of<UserError>([&] { bpe_from_json(json, "t.json"); });
}

// The definition: again and again the pair that stands first among the merges, at its leftmost place.
Ids by_definition(const Bpe& bpe, std::string_view piece) {
  const auto id_of = [&](const std::string& bytes) {
    return static_cast<int32_t>(std::find(bpe.tokens().begin(), bpe.tokens().end(), bytes) - bpe.tokens().begin());
  };
  Ids ids;
  for (const char c : piece) ids.push_back(id_of(std::string(1, c)));
  for (bool found = true; found;) {
    found = false;
    for (const auto& [left, right] : bpe.merges()) {
      for (size_t i = 0; i + 1 < ids.size() && !found; ++i) {
        if (ids[i] != left || ids[i + 1] != right) continue;
        const auto token = [&](int32_t id) { return bpe.tokens()[static_cast<size_t>(id)]; };
        ids[i] = id_of(token(left) + token(right));
        ids.erase(ids.begin() + static_cast<ptrdiff_t>(i) + 1);
        found = true;
      }
      if (found) break;
    }
  }
  return ids;
}

}  // namespace

TEST_CASE("bpe: every form of file gives the ids of Hugging Face's tokenizers and of tiktoken") {
  const auto cases = nlohmann::json::parse(*read_file(kGolden / "ids.json"));
  for (const char* name : {"tokenizer.json", "merges.txt", "small.tiktoken", "."}) {
    INFO(name);
    const Tokenizer tokenizer = Tokenizer::load(kGolden / name);
    REQUIRE(tokenizer.kind() == TokenizerKind::bpe);
    for (const auto& one : cases) {
      const auto text = one["text"].get<std::string>();
      INFO(text);
      const Ids ids = tokenizer.encode(text).ids;
      CHECK(ids == one["ids"].get<Ids>());
      CHECK(tokenizer.decode(ids) == text);
      std::vector<uint16_t> narrow(text.size());
      narrow.resize(tokenizer.encode_into(narrow.data(), text).tokens);
      CHECK(Ids(narrow.begin(), narrow.end()) == ids);
    }
  }
}

TEST_CASE("bpe: <|endoftext|> is a token where it is asked for, and the separator") {
  const Tokenizer tokenizer = Tokenizer::load(kGolden);
  CHECK(tokenizer.vocabulary() == 512);
  CHECK(tokenizer.separator() == 511);
  CHECK(tokenizer.unknown() == -1);
  const std::string text = "a<|endoftext|><|endoftext|> b";
  const Ids a = tokenizer.encode("a").ids, b = tokenizer.encode(" b").ids;
  Ids expected = a;
  expected.insert(expected.end(), {511, 511});
  expected.insert(expected.end(), b.begin(), b.end());
  CHECK(tokenizer.encode(text, TokenNames::are_tokens).ids == expected);
  CHECK(tokenizer.encode(text).ids.size() > expected.size());
  CHECK(tokenizer.decode(tokenizer.encode(text).ids) == text);
  CHECK(tokenizer.decode(expected) == "a b");
  CHECK(Tokenizer::load(kGolden / "vocab.json").separator() == -1);
  CHECK(Tokenizer::load(kGolden / "small.tiktoken").separator() == 511);
  CHECK(message_of<UserError>([&] { tokenizer.encode("a\xFF"); }) == "the text is not UTF-8: see byte 1");
}

TEST_CASE("bpe: a tokenizer is written as Hugging Face's tokenizer.json, and read back the same") {
  const test::TemporaryFolder folder;
  for (const char* name : {"tokenizer.json", "vocab.json", "small.tiktoken"}) {
    const Tokenizer tokenizer = Tokenizer::load(kGolden / name);
    tokenizer.save(folder / "t.json");
    const Tokenizer back = Tokenizer::load(folder / "t.json");
    CHECK(back == tokenizer);
    CHECK(back.fingerprint() == tokenizer.fingerprint());
    CHECK(back.to_json() == tokenizer.to_json());
  }
  const auto written = nlohmann::json::parse(Tokenizer::load(kGolden).to_json()), golden = golden_json();
  for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens"})
    CHECK(written[part] == golden[part]);
  CHECK(written["model"]["merges"] == golden["model"]["merges"]);
}

TEST_CASE("bpe: the merges made from a text are those of Hugging Face's BpeTrainer") {
  PieceCounts pieces;
  pieces.add_text(*read_file(kGolden / "text.txt"));
  CHECK(*train_bpe(pieces, 512) == *Tokenizer::load(kGolden).bpe());
  CHECK(train_bpe(pieces, 100'000)->tokens().size() < 10'000);  // no pair is left
  CHECK(train_bpe(pieces, 257)->merges().empty());
  CHECK(message_of<UserError>([&] { train_bpe(pieces, 256); }).starts_with("--vocab 256: "));
}

TEST_CASE("bpe: pieces of any length are merged as defined") {
  test::RandomInputs inputs(1);
  INFO("seed ", inputs.seed);
  const auto word = [&](int length) {
    std::string text;
    for (int i = 0; i < length; ++i) text.push_back(static_cast<char>('a' + inputs.below(3)));
    return text;
  };
  PieceCounts pieces;
  for (int i = 0; i < 200; ++i) pieces.add_text(word(1 + inputs.below(12)));
  const auto bpe = train_bpe(pieces, 300);
  std::string text;
  for (int i = 0; i < 60; ++i) {  // shorter and longer than what the cache keeps, and again
    const std::string piece = word(1 + inputs.below(i % 10 == 0 ? 200 : 40));
    CHECK(bpe->encode(piece) == by_definition(*bpe, piece));
    text += piece + "\n" + piece + "\n";
  }
  const Ids ids = bpe->encode(text);
  std::string back;
  for (const int32_t id : ids) back += bpe->tokens()[static_cast<size_t>(id)];
  CHECK(back == text);
}

TEST_CASE("bpe: tokenizers of other kinds are refused by what they are") {
  const auto with = [](const char* part, nlohmann::json value) {
    nlohmann::json json = golden_json();
    json[nlohmann::json::json_pointer(part)] = std::move(value);
    return refusal_of_json(json);
  };
  const nlohmann::json digits = {{"type", "Digits"}};
  CHECK(refusal_of_json(golden_json()).empty());
  CHECK(with("/model/type", "WordPiece") ==
        "t.json is a tokenizer of the model WordPiece: glint reads byte-level BPE, as GPT-2's");
  CHECK(with("/normalizer", {{"type", "NFC"}}).find("the normalizer NFC") != std::string::npos);
  CHECK(with("/pre_tokenizer", {{"type", "Metaspace"}}).find("the pre_tokenizer Metaspace") != std::string::npos);
  CHECK(with("/pre_tokenizer", nullptr).find("the pre_tokenizer null") != std::string::npos);
  CHECK(with("/pre_tokenizer/add_prefix_space", true).find("adds a space") != std::string::npos);
  CHECK(with("/decoder", {{"type", "WordPiece"}}).find("the decoder WordPiece") != std::string::npos);
  CHECK(with("/post_processor", {{"type", "TemplateProcessing"}}).find("TemplateProcessing") != std::string::npos);
  CHECK(with("/model/byte_fallback", true).find("byte_fallback true") != std::string::npos);
  CHECK(with("/model/dropout", 0.1).find("dropout 0.1") != std::string::npos);
  CHECK(with("/added_tokens/0/lstrip", true).find("lstrip") != std::string::npos);
  CHECK(with("/added_tokens/0/id", 5).find("the id 5 twice") != std::string::npos);
  CHECK(with("/added_tokens/0/id", (int64_t{1} << 32) + 5) == "t.json: the id of <|endoftext|> is 4294967301");
  CHECK(with("/added_tokens/0/id", -1) == "t.json: the id of <|endoftext|> is -1");
  CHECK(with("/added_tokens/0/id", 600).find("no token of id 511") != std::string::npos);
  CHECK(with("/model/vocab/!", 1).find("twice") != std::string::npos);
  CHECK(with("/model/vocab/x y", 600).find("stand for no byte") != std::string::npos);
  CHECK(with("/model/merges/0", {"\u0120", "nothing"}).find("names the token nothing") != std::string::npos);
  CHECK(with("/model/merges/0", "!  !").find("names the token") != std::string::npos);
  CHECK(with("/model/merges", 1) == "t.json is damaged, or not a tokenizer of Hugging Face");
  CHECK(with("/model", {{"type", "BPE"}}) == "t.json is damaged, or not a tokenizer of Hugging Face");
}

TEST_CASE("bpe: a word of 4 GiB is refused before it is read") {
  const std::string_view word("x", size_t{1} << 32);  // of which only the first byte is there
  PieceCounts pieces;
  CHECK(message_of<UserError>([&] { pieces.add(word); }) ==
        "the text has 4294967296 bytes without a break between words");
  CHECK(pieces.size() == 0);
}

TEST_CASE("bpe: other files that are none are refused") {
  const auto tiktoken = [](const char* lines) {
    return message_of<UserError>([&] { bpe_from_tiktoken(lines, "x.tiktoken"); });
  };
  CHECK(tiktoken("hello\n").find("the line 'hello' is not a token and a rank") != std::string::npos);
  CHECK(tiktoken("IQ== 0\nIg== 0\n") == "x.tiktoken gives the rank 0 twice");
  CHECK(tiktoken("IQ== 0\n").find("no token for the byte 0") != std::string::npos);
  const test::TemporaryFolder folder;
  const auto load = [](const fs::path& path) { return message_of<UserError>([&] { Tokenizer::load(path); }); };
  CHECK(load(folder / "").find("a folder without tokenizer.json") != std::string::npos);
  write_file(folder / "vocab.json", "{\"a\": 0}");
  CHECK(load(folder / "vocab.json").find("merges.txt does not exist") != std::string::npos);
  write_file(folder / "merges.txt", "#version: 0.2\n");
  write_file(folder / "vocab.json", "{\"a\": 0, \"<|endoftext|>\": 4294967297}");
  CHECK(load(folder / "vocab.json").find("the id of <|endoftext|> is 4294967297") != std::string::npos);
  write_file(folder / "vocab.json", "{\"a\": 0}");
  CHECK(load(folder / "vocab.json").find("no token for the byte 0") != std::string::npos);
  CHECK(message_of<UserError>([] { Tokenizer::given("word"); }).find("no tokenizer 'word'") != std::string::npos);
  CHECK(!Tokenizer::given("bpe"));
}
