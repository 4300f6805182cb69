#include "train/exchange/hf_tokenizer.h"

#include <set>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace glint;
using nlohmann::json;

TEST_CASE("byte_level: 256 characters, GPT-2's") {
  std::set<std::string> seen;
  for (int byte = 0; byte < 256; ++byte) seen.insert(byte_level(std::string(1, static_cast<char>(byte))));
  CHECK(seen.size() == 256);
  CHECK(byte_level("Az!~") == "Az!~");
  CHECK(byte_level(" \n") == "\xC4\xA0\xC4\x8A");       // U+0120, U+010A: as they stand in GPT-2's vocab.json
  CHECK(byte_level("\xC3\xA9") == "\xC3\x83\xC2\xA9");  // e with an acute accent, in UTF-8
  CHECK(byte_level("\xAD\xFF") == "\xC5\x83\xC3\xBF");  // U+0143, the last of them; U+00FF
}

TEST_CASE("tokenizer.json of Hugging Face: what is written is read back") {
  const std::u32string plain = U" \n\"\\aé日🙂", with_unknown = plain + U"\uFFFD";
  for (const bool separated : {false, true}) {
    for (const Tokenizer& tokenizer : {Tokenizer::of_bytes(separated), Tokenizer::of_characters(plain, separated),
                                       Tokenizer::of_characters(with_unknown, separated)}) {
      const json text = json::parse(hf_tokenizer(tokenizer));
      CHECK(text["model"]["vocab"].size() == static_cast<size_t>(tokenizer.vocabulary()));
      const auto back = read_hf_tokenizer(text);
      REQUIRE(back);
      CHECK(*back == tokenizer);
      const json config = json::parse(hf_tokenizer_config(tokenizer, 48));
      CHECK(config["model_max_length"] == 48);
      CHECK(config.contains("eos_token") == separated);
    }
  }
  CHECK(json::parse(hf_tokenizer(Tokenizer::of_characters(U"ab")))["model"]["unk_token"] == "\xEF\xBF\xBD");
  CHECK(json::parse(hf_tokenizer(Tokenizer::of_characters(with_unknown)))["model"]["unk_token"] == "<unk>");
}

TEST_CASE("tokenizer.json of Hugging Face: one with other ids or another model is not taken for glint's") {
  json text = json::parse(hf_tokenizer(Tokenizer::of_characters(U"abc")));
  std::swap(text["model"]["vocab"]["a"], text["model"]["vocab"]["b"]);
  CHECK_FALSE(read_hf_tokenizer(text));
  text = json::parse(hf_tokenizer(Tokenizer::of_bytes()));
  text["model"]["merges"].push_back("a b");
  CHECK_FALSE(read_hf_tokenizer(text));
  CHECK_FALSE(read_hf_tokenizer({{"model", {{"type", "Unigram"}}}}));
  CHECK_FALSE(read_hf_tokenizer(json::array()));
  CHECK_FALSE(read_hf_tokenizer({{"model", {{"type", "WordLevel"}, {"vocab", {{"ab", 0}}}, {"unk_token", "x"}}}}));
}
