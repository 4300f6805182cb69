#include "data/dataset.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "data/corpus.h"
#include "kernels/check.h"
#include "tests/data/temporary_folder.h"
#include "tests/random.h"

using namespace glint;
using test::message_of;

namespace {

std::string decoded(const Dataset& dataset, Split split) {
  std::vector<int32_t> ids(dataset.tokens(split).size());
  dataset.tokens(split).copy_to(ids.data(), 0, ids.size());
  return dataset.tokenizer().decode(ids);
}

// About `count` characters of 1 to 4 bytes.
std::string mixed_text(uint64_t seed, int count) {
  const char* const characters[] = {"a", "b", " ", "\n", "\xC3\xA9", "\xE6\xBC\xA2", "\xF0\x9F\x98\x80"};
  test::RandomInputs inputs(seed);
  std::string text;
  for (int i = 0; i < count; ++i) text += characters[inputs.below(7)];
  return text;
}

}  // namespace

TEST_CASE("a prepared text is read back, split at 90% of the characters or bytes") {
  const test::TemporaryFolder folder;
  const std::string text = mixed_text(1, 1009);
  const auto file = folder.file("text", text);
  for (const TokenizerKind kind : {TokenizerKind::character, TokenizerKind::byte}) {
    const bool characters = kind == TokenizerKind::character;
    prepare_text(file, kind, folder / "a/b");
    CHECK(is_prepared(folder / "a/b"));
    const Dataset dataset = Dataset::open(folder / "a/b");
    CHECK(dataset.tokens(Split::train).size() == (characters ? 1009 : text.size()) * 9 / 10);
    CHECK(decoded(dataset, Split::train) + decoded(dataset, Split::val) == text);
    CHECK(decoded(dataset, Split::all) == text);
    CHECK(dataset.text_bytes(Split::train) == decoded(dataset, Split::train).size());
    CHECK(dataset.text_bytes(Split::val) == decoded(dataset, Split::val).size());
    CHECK(dataset.text_bytes(Split::all) == text.size());
    CHECK(dataset.tokenizer().kind() == kind);
    CHECK(dataset.info().vocabulary == (characters ? 8 : 256));
    CHECK(dataset.info().unknown_tokens == 0);
    CHECK(dataset.info().source == file.string());
    CHECK(!dataset.entropy());
  }
}

TEST_CASE("the vocabulary is that of the training split; other characters of validation are unknown") {
  const test::TemporaryFolder folder;
  const std::string text = std::string(45, 'a') + std::string(45, 'b') + "aaaabbbxyx";
  prepare_text(folder.file("text", text), TokenizerKind::character, folder / "out");
  const Dataset dataset = Dataset::open(folder / "out");
  CHECK(dataset.tokenizer().characters() == U"ab");
  CHECK(dataset.info().vocabulary == 3);
  CHECK(dataset.info().unknown_tokens == 3);
  CHECK(decoded(dataset, Split::val) == "aaaabbb\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("a text of several pieces, with characters across their boundaries") {
  const test::TemporaryFolder folder;
  const std::string text = mixed_text(2, 1'500'000);
  REQUIRE(text.size() > 2'500'000);
  const auto file = folder.file("text", text);
  prepare_text(file, TokenizerKind::character, folder / "out");
  const Dataset dataset = Dataset::open(folder / "out");
  CHECK(dataset.tokens(Split::all).size() == 1'500'000);
  CHECK((decoded(dataset, Split::all) == text));
  const Dataset memory = Dataset::encode(file, dataset.tokenizer());
  CHECK((decoded(memory, Split::all) == text));
  CHECK(memory.tokens(Split::val).size() == dataset.tokens(Split::val).size());
}

TEST_CASE("a text is encoded by an existing tokenizer") {
  const test::TemporaryFolder folder;
  Dataset dataset = Dataset::encode(folder.file("text", "abcabcabca"), Tokenizer::of_text("ab"));
  CHECK(dataset.info().unknown_tokens == 3);
  CHECK(dataset.info().train_tokens == 9);
  const Dataset moved = std::move(dataset);
  CHECK(decoded(moved, Split::all) ==
        "ab\xEF\xBF\xBD"
        "ab\xEF\xBF\xBD"
        "ab\xEF\xBF\xBD"
        "a");
  CHECK(decoded(moved, Split::val) == "a");
  std::u32string many;  // a vocabulary that needs 32 bits
  for (char32_t c = 0x10000; c < 0x10000 + 65'600; ++c) many.push_back(c);
  const auto wide_file = folder.file("wide", "\xF0\x90\x80\x80\xF0\x90\x80\x81");
  const Dataset wide = Dataset::encode(wide_file, Tokenizer::of_characters(many));
  CHECK(wide.info().bytes_per_token == 4);
  CHECK(decoded(wide, Split::all) == "\xF0\x90\x80\x80\xF0\x90\x80\x81");
}

TEST_CASE("invalid texts: the error gives the reason, and nothing is written") {
  const test::TemporaryFolder folder;
  const auto refusal = [&](const std::filesystem::path& file, TokenizerKind kind = TokenizerKind::character) {
    return message_of<UserError>([&] { prepare_text(file, kind, folder / "out"); });
  };
  const auto latin = folder.file("latin", "one\ntwo\ncaf\xE9 and more text");
  CHECK(refusal(latin).find("is not UTF-8 text: see line 3, byte 11 of the file") != std::string::npos);
  CHECK(refusal(latin, TokenizerKind::byte).empty());
  std::filesystem::remove_all(folder / "out");
  CHECK(refusal(folder.file("short", "0123456789")).find("has only 10 characters") != std::string::npos);
  CHECK(refusal(folder.file("empty", "")).find("is empty") != std::string::npos);
  CHECK(refusal(folder / "missing").find("does not exist") != std::string::npos);
  CHECK(!is_prepared(folder / "out"));
  CHECK(refusal(folder.file("eleven", "0123456789a")).empty());
  CHECK(Dataset::open(folder / "out").tokens(Split::val).size() == 2);
  const std::string message =
      message_of<UserError>([&] { prepare_text(folder / "eleven", TokenizerKind::byte, folder / "short/below"); });
  CHECK(message.find("can't make the folder") == 0);
}

TEST_CASE("folders that are not prepared, or damaged, are errors") {
  const test::TemporaryFolder folder;
  const auto refusal = [](const std::filesystem::path& path) {
    return message_of<UserError>([&] { Dataset::open(path); });
  };
  CHECK(refusal(folder / "missing").find("does not exist") != std::string::npos);
  CHECK(refusal(folder.path()).find("is not a prepared folder") != std::string::npos);
  const auto out = folder / "out";
  prepare_text(folder.file("text", "ab ab ab ab ab ab"), TokenizerKind::character, out);
  CHECK(refusal(out).empty());
  Tokenizer::of_text("abc").save(out / kTokenizerFile);  // as many tokens, other characters
  CHECK(refusal(out).find("was not made with this tokenizer.json") != std::string::npos);
  std::filesystem::remove(out / kTokenizerFile);
  CHECK(refusal(out).find("tokenizer.json does not exist") != std::string::npos);
}

TEST_CASE("a text too short for the context: the error says how much is needed") {
  const test::TemporaryFolder folder;
  prepare_text(folder.file("text", mixed_text(3, 650)), TokenizerKind::character, folder / "out");
  const Dataset dataset = Dataset::open(folder / "out");  // 65 tokens for validation
  CHECK_NOTHROW(dataset.require_context(64));
  const std::string message = message_of<UserError>([&] { dataset.require_context(65); });
  const char* const expected =
      "its validation split has 65 tokens and 66 are needed; give a text of at least 660 characters, or a `context` of "
      "at most 64";
  CHECK(message.find(expected) != std::string::npos);
}

TEST_CASE("the built-in corpus is prepared with its entropy and a description") {
  const test::TemporaryFolder folder;
  const uint64_t bytes = 1'500'000;
  for (const TokenizerKind kind : {TokenizerKind::character, TokenizerKind::byte}) {
    prepare_corpus(bytes, 5, kind, folder / "out");
    const Dataset dataset = Dataset::open(folder / "out");
    CHECK((decoded(dataset, Split::all) == corpus_text(bytes, 5)));
    CHECK(dataset.entropy() == corpus_entropy());
    CHECK(dataset.tokens(Split::val).size() == bytes / 10);
    CHECK(dataset.info().unknown_tokens == 0);
    CHECK(dataset.describe().find("built-in corpus, 1500000 bytes, seed 5") != std::string::npos);
    const auto json = nlohmann::json::parse(dataset.to_json());
    CHECK(json.at("tokenizer") == name_of(kind));
    CHECK(json.at("train_tokens") == bytes / 10 * 9);
    CHECK(json.at("entropy_nats_per_token").get<double>() == corpus_entropy());
  }
}
