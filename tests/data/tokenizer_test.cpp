#include "data/tokenizer.h"

#include <doctest/doctest.h>

#include "kernels/check.h"
#include "tests/data/temporary_folder.h"

using namespace glint;
using test::message_of;

TEST_CASE("a char tokenizer numbers characters in code point order, the unknown last") {
  const Tokenizer tokenizer = Tokenizer::of_text("b\xC3\xA9 a\nb");
  CHECK(tokenizer.kind() == TokenizerKind::character);
  CHECK(tokenizer.characters() == U"\n ab\u00E9");
  CHECK(tokenizer.vocabulary() == 6);
  CHECK(tokenizer.unknown() == 5);
  const auto encoded = tokenizer.encode("a\xC3\xA9 b\n");
  CHECK(encoded.ids == std::vector<int32_t>{2, 4, 1, 3, 0});
  CHECK(encoded.unknown.empty());
  CHECK(tokenizer.decode(encoded.ids) == "a\xC3\xA9 b\n");
}

TEST_CASE("unknown characters are counted, listed once and decoded as U+FFFD") {
  const Tokenizer tokenizer = Tokenizer::of_text("ab");
  const auto encoded = tokenizer.encode("axb\xF0\x9F\x98\x80xz");
  CHECK(encoded.ids == std::vector<int32_t>{0, 2, 1, 2, 2, 2});
  CHECK(encoded.unknown == U"x\U0001F600z");
  CHECK(tokenizer.decode(encoded.ids) ==
        "a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(describe_characters(encoded.unknown) == "U+0078 'x', U+1F600 '\xF0\x9F\x98\x80', U+007A 'z'");
  CHECK(describe_characters(U"\n\u00E9z", 2) == "U+000A, U+00E9 '\xC3\xA9' and 1 more");
  std::vector<uint16_t> ids(16);
  const auto counts = tokenizer.encode_into(ids.data(), "axb\xF0\x9F\x98\x80xz");
  CHECK(counts.tokens == 6);
  CHECK(counts.unknown == 4);
}

TEST_CASE("a char tokenizer rejects bytes that are not UTF-8, a byte tokenizer accepts all") {
  const std::string bytes("a\xFF\0\x80", 4);
  const Tokenizer characters = Tokenizer::of_text("ab");
  CHECK(message_of<UserError>([&] { characters.encode(bytes); }) == "the text is not UTF-8: see byte 1");
  CHECK(message_of<UserError>([&] { Tokenizer::of_text(bytes); }) == "the text is not UTF-8: see byte 1");
  const Tokenizer byte = Tokenizer::of_bytes();
  const auto encoded = byte.encode(bytes);
  CHECK(encoded.ids == std::vector<int32_t>{'a', 255, 0, 128});
  CHECK(byte.decode(encoded.ids) == bytes);
  CHECK(byte.vocabulary() == 256);
  CHECK(byte.unknown() == -1);
}

TEST_CASE("an id outside the vocabulary is a bug") {
  std::string out;
  CHECK_THROWS_AS(Tokenizer::of_text("ab").append_decoded(out, 3), Error);
  CHECK_THROWS_AS(Tokenizer::of_bytes().append_decoded(out, -1), Error);
  CHECK_THROWS_AS(Tokenizer::of_bytes().append_decoded(out, 256), Error);
}

TEST_CASE("tokenizers are saved and loaded, and differ by fingerprint") {
  const test::TemporaryFolder folder;
  const std::string odd("\0\t\"\\\x7F\xC2\x80\xF4\x8F\xBF\xBF", 11);
  const Tokenizer tokenizers[] = {Tokenizer::of_bytes(), Tokenizer::of_text("ab"), Tokenizer::of_text("abc"),
                                  Tokenizer::of_text(odd), Tokenizer::of_characters(U"")};
  for (const Tokenizer& tokenizer : tokenizers) {
    tokenizer.save(folder / "tokenizer.json");
    const Tokenizer loaded = Tokenizer::load(folder / "tokenizer.json");
    CHECK(loaded == tokenizer);
    CHECK(loaded.fingerprint() == tokenizer.fingerprint());
    CHECK(loaded.encode("abc").ids == tokenizer.encode("abc").ids);
    for (const Tokenizer& other : tokenizers) {
      CHECK((loaded == other) == (&other == &tokenizer));
      CHECK((loaded.fingerprint() == other.fingerprint()) == (&other == &tokenizer));
    }
  }
}

TEST_CASE("a damaged or foreign tokenizer file is an error") {
  const auto refusal = [](std::string json) {
    return message_of<UserError>([&] { Tokenizer::from_json(json, "t.json"); });
  };
  const std::string good = Tokenizer::of_text("abc").to_json();
  REQUIRE(refusal(good).empty());
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string json = good;
    REQUIRE(json.find(from) != std::string::npos);
    return json.replace(json.find(from), from.size(), to);
  };
  CHECK(refusal("") == "t.json is not a tokenizer of glint, or damaged: prepare the data again");
  CHECK(refusal("{}") == "t.json is not a tokenizer of glint");
  CHECK(refusal("[1]") == "t.json is not a tokenizer of glint");
  CHECK(refusal(good.substr(0, good.size() / 2)).find("damaged") != std::string::npos);
  CHECK(refusal(changed("\"version\": 1", "\"version\": 2")).find("of version 2; this glint reads version 1") !=
        std::string::npos);
  CHECK(refusal(changed("\"char\"", "\"word\"")) ==
        "there is no tokenizer 'word'; choose char, byte or bpe, or name a tokenizer's file");
  CHECK(refusal(changed("\"b\"", "\"a\"")).find("not in order") != std::string::npos);
  CHECK(refusal(changed("\"b\"", "\"bb\"")).find("not one character") != std::string::npos);
  CHECK(refusal(changed("\"vocabulary_size\": 4", "\"vocabulary_size\": 5")).find("damaged") != std::string::npos);
  CHECK(refusal(changed("\"vocabulary_size\": 4", "\"vocabulary_size\": []")).find("damaged") != std::string::npos);
}
