#include "train/exchange/hf_tokenizer.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace glint;
using Json = nlohmann::json;

TEST_CASE("tokenizer.json of Hugging Face: what is written is read back") {
  const std::u32string plain = U" \n\"\\aé日🙂", with_unknown = plain + U"\uFFFD";
  for (const bool separated : {false, true}) {
    for (const Tokenizer& tokenizer : {Tokenizer::of_bytes(separated), Tokenizer::of_characters(plain, separated),
                                       Tokenizer::of_characters(with_unknown, separated)}) {
      const Json text = Json::parse(hf_tokenizer(tokenizer));
      CHECK(text["model"]["vocab"].size() == static_cast<size_t>(tokenizer.vocabulary()));
      const auto back = read_hf_tokenizer(text);
      REQUIRE(back);
      CHECK(*back == tokenizer);
      const Json config = Json::parse(hf_tokenizer_config(tokenizer, 48));
      CHECK(config["model_max_length"] == 48);
      CHECK(config.contains("eos_token") == separated);
    }
  }
  CHECK(Json::parse(hf_tokenizer(Tokenizer::of_characters(U"ab")))["model"]["unk_token"] == "\xEF\xBF\xBD");
  CHECK(Json::parse(hf_tokenizer(Tokenizer::of_characters(with_unknown)))["model"]["unk_token"] == "<unk>");
}

TEST_CASE("tokenizer.json of Hugging Face: one with other ids or another model is not taken for glint's") {
  Json text = Json::parse(hf_tokenizer(Tokenizer::of_characters(U"abc")));
  std::swap(text["model"]["vocab"]["a"], text["model"]["vocab"]["b"]);
  CHECK_FALSE(read_hf_tokenizer(text));
  text = Json::parse(hf_tokenizer(Tokenizer::of_bytes()));
  text["model"]["merges"].push_back("a b");
  CHECK_FALSE(read_hf_tokenizer(text));
  CHECK_FALSE(read_hf_tokenizer({{"model", {{"type", "Unigram"}}}}));
  CHECK_FALSE(read_hf_tokenizer(Json::array()));
  CHECK_FALSE(read_hf_tokenizer({{"model", {{"type", "WordLevel"}, {"vocab", {{"ab", 0}}}, {"unk_token", "x"}}}}));
}
