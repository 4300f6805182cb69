// Texts of several files, with byte order marks, unknown characters, and files that change.
#include <doctest/doctest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "data/file_writer.h"
#include "kernels/check.h"
#include "tests/data/temporary_folder.h"

using namespace glint;
using test::message_of;
namespace fs = std::filesystem;

namespace {

std::string text_of(const Dataset& dataset, Split split) {
  std::vector<int32_t> ids(dataset.tokens(split).size());
  dataset.tokens(split).copy_to(ids.data(), 0, ids.size());
  return dataset.tokenizer().decode(ids);
}

int count_separators(const Dataset& dataset) {
  const TokenSpan all = dataset.tokens(Split::all);
  int count = 0;
  for (size_t i = 0; i < all.size(); ++i) count += all[i] == dataset.tokenizer().separator();
  return count;
}

}  // namespace

TEST_CASE("a leading byte order mark is no part of a text; carriage returns are, and are noted") {
  const test::TemporaryFolder folder;
  for (const TokenizerKind kind : {TokenizerKind::character, TokenizerKind::byte}) {
    CHECK(prepare_text(folder.file("bom",
                                   "\xEF\xBB\xBF"
                                   "abababababab"),
                       kind, folder / "out")
              .empty());
    const Dataset dataset = Dataset::open(folder / "out");
    CHECK(text_of(dataset, Split::all) == "abababababab");
    CHECK(dataset.text_bytes(Split::all) == 12);
  }
  const std::string note =
      prepare_text(folder.file("dos", "ab\r\nab\r\nab\r\nab"), TokenizerKind::character, folder / "d");
  CHECK(note.find("3 carriage returns") != std::string::npos);
  CHECK(note.find('\n') == std::string::npos);
  CHECK(Dataset::open(folder / "d").tokenizer().characters() == U"\n\rab");
}

TEST_CASE("a text that another program compressed is refused with how to unpack it") {
  const test::TemporaryFolder folder;
  for (const auto& [begin, remedy] : {std::pair(std::string("\xFD"
                                                            "7zXZ\0\0\4",
                                                            8),
                                                "it is compressed: xz -d"),
                                      {std::string("BZh91AY&SY\xFA"), "it is compressed: bzip2 -d"},
                                      {std::string("\x28\xB5\x2F\xFD"), "it is compressed: zstd -d"},
                                      {std::string("PK\3\4\x14\0\xFF", 7), "it is an archive: unzip it"},
                                      {std::string("caf\xE9"), "convert it"}}) {
    for (const TokenizerKind kind : {TokenizerKind::character, TokenizerKind::bpe}) {
      const auto path = folder.file("text", begin);
      const auto message = message_of<UserError>([&] { prepare_text(path, kind, folder / "out"); });
      CHECK(message.find(remedy) != std::string::npos);
    }
  }
}

TEST_CASE("NUL characters are noted, but of a byte tokenizer") {
  const test::TemporaryFolder folder;
  std::string utf16;
  for (const char c : std::string("of a text in UTF-16")) utf16 += {c, '\0'};
  const auto path = folder.file("utf16.txt", utf16);
  CHECK(prepare_text(path, TokenizerKind::character, folder / "out").find("19 NUL characters") != std::string::npos);
  CHECK(prepare_text(path, TokenizerKind::byte, folder / "bytes").empty());
}

TEST_CASE("files and folders become one text, with a token before each document") {
  const test::TemporaryFolder folder;
  fs::create_directories(folder / "texts/deep/.git");
  folder.file("texts/b", "second file ");
  folder.file("texts/a", "first file! ");
  folder.file("texts/deep/c", "third one..");
  folder.file("texts/.hidden", "\xFF");
  folder.file("texts/deep/.git/x", "\xFF");
  folder.file("texts/empty", "");
  fs::create_directories(folder / "nothing/.git");
  const auto single = folder.file("single", "and a file by itself");
  for (const TokenizerKind kind : {TokenizerKind::character, TokenizerKind::byte}) {
    prepare_text({{folder / "texts", single}, {}}, kind, folder / "out");
    const Dataset dataset = Dataset::open(folder / "out");
    CHECK(text_of(dataset, Split::all) == "first file! second file third one..and a file by itself");
    CHECK(count_separators(dataset) == 4);
    CHECK(dataset.tokens(Split::all)[0] == dataset.tokenizer().separator());
    CHECK(dataset.text_bytes(Split::all) == 55);
    CHECK(dataset.predicted_bytes(Split::all) == 55);  // what is not predicted is a separator
    CHECK(dataset.tokenizer() == Tokenizer::from_json(dataset.tokenizer().to_json(), "json"));
    CHECK(dataset.tokenizer().fingerprint() != Tokenizer::of_bytes().fingerprint());
    const Dataset again = Dataset::encode({{folder / "texts", single}, {}}, dataset.tokenizer());
    CHECK(again.checksum() == dataset.checksum());
  }
  prepare_text({{single}, {folder / "texts/a"}}, TokenizerKind::character, folder / "out");
  const Dataset apart = Dataset::open(folder / "out");
  CHECK(text_of(apart, Split::train) == "and a file by itself");
  CHECK(text_of(apart, Split::val).size() == 16);  // "r", "!" are unknown, 3 bytes each as U+FFFD
  CHECK(apart.tokenizer().separator() == -1);
  CHECK(message_of<UserError>([&] {
          prepare_text({{folder / "nothing"}, {}}, TokenizerKind::byte, folder / "o");
        }).find("without text") != std::string::npos);
  CHECK(message_of<UserError>([&] {
          prepare_text({{folder / "out", single}, {}}, TokenizerKind::byte, folder / "o");
        }).find("prepared folder") != std::string::npos);
}

TEST_CASE("unknown characters are counted by split and named, the most frequent first") {
  const test::TemporaryFolder folder;
  const Tokenizer ab = Tokenizer::of_text("ab");
  prepare_text(folder.file("text",
                           "abababab\xC3\xA9\xC3\xA9"
                           "aba\xE4\xB8\xAD"
                           "ababaa"),
               TokenizerKind::byte, folder / "out", &ab);
  const Dataset dataset = Dataset::open(folder / "out");
  CHECK(dataset.tokenizer() == ab);
  CHECK(dataset.unknown(Split::train) == 3);
  CHECK(dataset.unknown(Split::val) == 0);
  CHECK(dataset.describe_unknown(Split::val).empty());
  CHECK(dataset.describe_unknown(Split::all) ==
        "3 of 20 tokens are unknown (15%): U+00E9 '\xC3\xA9', U+4E2D '\xE4\xB8\xAD'");
  CHECK(nlohmann::json::parse(dataset.to_json())["unknown_characters"]["\xC3\xA9"] == 2);
  const Dataset crlf = Dataset::encode(folder.file("crlf", "ab\r"), ab);
  CHECK(crlf.describe_unknown(Split::all).find("U+000D") != std::string::npos);
}

TEST_CASE("bits per byte count the bytes of what is predicted") {
  const test::TemporaryFolder folder;
  const Dataset dataset = Dataset::encode(folder.file("text",
                                                      "\xE4\xB8\xAD"
                                                      "aaaaaaaaa"),
                                          Tokenizer::of_text("a\xE4\xB8\xAD"));
  CHECK(dataset.text_bytes(Split::all) == 12);
  CHECK(dataset.predicted_bytes(Split::all) == 9);
  CHECK(dataset.predicted_bytes(Split::val) == 0);
}

TEST_CASE("tokens that another program changes are found; a copy of the same is not") {
  const test::TemporaryFolder folder;
  prepare_text(folder.file("text", std::string(500, 'a') + std::string(500, 'b')), TokenizerKind::character,
               folder / "out");
  const fs::path path = folder / "out/tokens.bin";
  const std::string whole = test::content_of(path);
  const auto overwrite = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::in) << bytes;
    fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(1));
  };
  Dataset dataset = Dataset::open(folder / "out");
  CHECK_NOTHROW(dataset.require_unchanged());
  overwrite(whole);
  CHECK_NOTHROW(dataset.require_unchanged());
  std::string other = whole;
  other[300] = static_cast<char>(other[300] ^ 1);
  overwrite(other);
  CHECK(message_of<UserError>([&] { dataset.require_unchanged(); }).find("tokens.bin") != std::string::npos);
  overwrite(whole);
  Dataset shrunk = Dataset::open(folder / "out");
  fs::resize_file(path, 600);
  CHECK(message_of<UserError>([&] { shrunk.require_unchanged(); }).find("changed by another program") !=
        std::string::npos);
}

TEST_CASE("what killed processes have left of a file is removed by the next writer of it") {
  const test::TemporaryFolder folder;
  const auto dead = folder.file("x.partial.999999999", "torn"),
             alive = folder.file("x.partial." + std::to_string(getppid()), "");
  const auto other = folder.file("y.partial.999999999", "of another file"), named = folder.file("x.partial.copy", "");
  write_file(folder / "x", "whole");
  CHECK(!fs::exists(dead));
  CHECK(fs::exists(alive));
  CHECK(fs::exists(other));
  CHECK(fs::exists(named));
}
