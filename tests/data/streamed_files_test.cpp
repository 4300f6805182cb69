// Texts that are streamed: compressed files and JSON lines.
#include "data/streamed_files.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "data/file_writer.h"
#include "kernels/check.h"
#include "tests/data/temporary_folder.h"

using namespace glint;
using test::message_of;
namespace fs = std::filesystem;

namespace {

constexpr TokenizerKind kKinds[] = {TokenizerKind::character, TokenizerKind::byte, TokenizerKind::bpe};

std::string some_text(size_t words) {
  std::string text;
  for (size_t i = 0; i < words; ++i) text += "word" + std::to_string(i * i % 97) + (i % 9 == 0 ? "\xC3\xA9\n" : " ");
  return text;
}

void write_gz(const fs::path& path, const std::string& text) {
  const gzFile file = ::gzopen(path.c_str(), "wb");
  REQUIRE(::gzwrite(file, text.data(), static_cast<unsigned>(text.size())) == static_cast<int>(text.size()));
  ::gzclose(file);
}

std::vector<int32_t> ids_of(const Dataset& dataset, Split split = Split::all) {
  std::vector<int32_t> ids(dataset.tokens(split).size());
  dataset.tokens(split).copy_to(ids.data(), 0, ids.size());
  return ids;
}

std::string text_back(const Dataset& dataset, Split split) {
  return dataset.tokenizer().decode(ids_of(dataset, split));
}

}  // namespace

TEST_CASE("a compressed text is the text") {
  const test::TemporaryFolder folder;
  const std::string text = some_text(3000);
  write_gz(folder / "text.gz", "\xEF\xBB\xBF" + text);
  for (const TokenizerKind kind : kKinds) {
    INFO(name_of(kind));
    prepare_text(folder.file("text", text), {kind, 300}, folder / "plain");
    const Dataset plain = Dataset::open(folder / "plain");
    prepare_text(folder / "text.gz", kind, folder / "out", &plain.tokenizer());
    const Dataset dataset = Dataset::open(folder / "out");
    if (kind != TokenizerKind::bpe) CHECK(ids_of(dataset) == ids_of(plain));
    CHECK(text_back(dataset, Split::all) == text);
    CHECK(dataset.text_bytes(Split::all) == text.size());
    for (const Split split : {Split::train, Split::val})
      CHECK(dataset.text_bytes(split) == text_back(dataset, split).size());
    const double share = static_cast<double>(dataset.info().val_tokens) / static_cast<double>(ids_of(dataset).size());
    CHECK(share > 0.1);
    CHECK(share < 0.12);
  }
}

TEST_CASE("in *.jsonl each line is a document") {
  const test::TemporaryFolder folder;
  std::string lines, all;
  for (size_t i = 0; i < 200; ++i) {
    const std::string document = some_text(i % 7) + "\n\"end\" " + std::to_string(i);
    lines += nlohmann::json{{"id", i}, {"text", document}}.dump() + (i % 3 == 0 ? "\r\n" : "\n");
    if (i % 50 == 0) lines += "\n";
    all += document;
  }
  lines += R"({"text": "the last line has no end"})";
  all += "the last line has no end";
  folder.file("a.jsonl", lines);
  write_gz(folder / "B.JSONL.gz", lines);
  for (const TokenizerKind kind : kKinds)
    for (const char* name : {"a.jsonl", "B.JSONL.gz"}) {
      INFO(name_of(kind), " ", name);
      prepare_text(folder / name, {kind, 300}, folder / "out");
      const Dataset dataset = Dataset::open(folder / "out");
      CHECK(dataset.documents() == 201);
      CHECK(text_back(dataset, Split::all) == all);
      CHECK(ids_of(dataset)[0] == dataset.tokenizer().separator());
      CHECK(nlohmann::json::parse(dataset.to_json())["documents"] == 201);
    }
  TextPaths other = folder.file("c.jsonl", R"({"content": "another field, long enough"}
{"content": "another field, long enough"})");
  CHECK(message_of<UserError>([&] { prepare_text(other, TokenizerKind::byte, folder / "out"); }) ==
        (folder / "c.jsonl").string() +
            ", line 1: there is no string 'text'; its fields are content: name one by --field");
  other.field = "content";
  prepare_text(other, TokenizerKind::byte, folder / "out");
  CHECK(Dataset::open(folder / "out").text_bytes(Split::all) == 52);
}

TEST_CASE("what is not what its name says is refused, with its line") {
  const test::TemporaryFolder folder;
  const auto refusal = [&](const fs::path& file, TokenizerKind kind = TokenizerKind::byte) {
    const std::string message = message_of<UserError>([&] { prepare_text(file, kind, folder / "out"); });
    CHECK(!fs::exists(folder / "out/tokens.bin"));
    return message;
  };
  const std::string good = "{\"text\": \"abcdefghijkl\"}\n";
  CHECK(refusal(folder.file("a.jsonl", good + good + "{\"text\": \n"))
            .ends_with("a.jsonl, line 3: this is not a JSON object in UTF-8"));
  CHECK(refusal(folder.file("b.jsonl", good + "[1]")).find("line 2: ") != std::string::npos);
  CHECK(refusal(folder.file("c.jsonl", good + "{\"text\": 1}")).find("line 2: 'text' is not a string but number") !=
        std::string::npos);
  CHECK(refusal(folder.file("d.jsonl", good + "{\"text\": \"\xFF\"}")).find("line 2: ") != std::string::npos);
  CHECK(refusal(folder / "none.gz").ends_with("none.gz does not exist"));
  CHECK(refusal(folder.file("empty.gz", "")).find("only 0 characters") != std::string::npos);
  write_gz(folder / "e.gz", "line\nline\xFF");
  CHECK(refusal(folder / "e.gz", TokenizerKind::bpe).find("is not UTF-8 text: see line 2, byte 9") !=
        std::string::npos);
  write_gz(folder / "f.gz", some_text(20000));
  const std::string whole = *read_file(folder / "f.gz");
  CHECK(refusal(folder.file("g.gz", whole.substr(0, whole.size() / 2))).ends_with("the gzip file is cut short"));
  std::string damaged = whole;
  damaged[damaged.size() / 2] ^= 0x55;
  CHECK(refusal(folder.file("h.gz", damaged)).find("can't read ") == 0);
  damaged = whole;
  damaged[0] ^= 0x55;  // of a second member: what comes behind the first is not dropped
  CHECK(refusal(folder.file("i.gz", whole + damaged)).ends_with("i.gz: incorrect header check"));
  prepare_text(folder.file("j.gz", whole + whole + std::string(1000, '\0')), TokenizerKind::byte, folder / "two");
  CHECK(Dataset::open(folder / "two").text_bytes(Split::all) == 2 * some_text(20000).size());
}

TEST_CASE("documents of a stream are cut into pieces that give the same tokens") {
  const std::string text =
      some_text(4000) + std::string(3000, '\n') + std::string(3000, 'a') + " " + std::string(3000, ' ') + "end";
  const Tokenizer bpe = Tokenizer::load(fs::path(GLINT_SOURCE_DIR) / "tests/data/bpe");
  for (const TokenizerKind kind : kKinds) {
    size_t at = 0;
    const auto fill = [&](char* out, size_t size) {
      const size_t count = std::min(size, text.size() - at);
      text.copy(out, count, at);
      at += count;
      return count;
    };
    std::string back;
    size_t pieces = 0, opening = 0;
    std::vector<int32_t> ids;
    Cutter cutter(kind);
    read_document(fill, cutter, [&](std::span<const TextPiece> some) {
      for (const TextPiece& piece : some) {
        back += piece.text, ++pieces, opening += piece.opens;
        if (kind != TokenizerKind::bpe) continue;
        const auto encoded = bpe.encode(piece.text).ids;
        ids.insert(ids.end(), encoded.begin(), encoded.end());
      }
    });
    CHECK(back == text);
    CHECK(pieces > 100);
    if (kind == TokenizerKind::bpe) CHECK(ids == bpe.encode(text).ids);
    CHECK(opening == 1);
  }
}

TEST_CASE("validation may have a stream of its own, and a text of no words is one piece") {
  const test::TemporaryFolder folder;
  write_gz(folder / "train.gz", some_text(300));
  folder.file("val", std::string(30000, 'x'));
  prepare_text({{folder / "train.gz"}, {folder / "val"}}, {TokenizerKind::bpe, 300}, folder / "out");
  const Dataset dataset = Dataset::open(folder / "out");
  CHECK(dataset.text_bytes(Split::train) == some_text(300).size());
  CHECK(dataset.text_bytes(Split::val) == 30000);
  CHECK(dataset.documents() == 2);
}

TEST_CASE("a separator ends documents as a file's end does, also where it lies across buffers") {
  const test::TemporaryFolder folder;
  const std::string end = "<|endoftext|>";
  std::vector<std::string> documents = {some_text(70), "\xC3\xA9", "", "last one"};
  while (documents[2].size() < kBatchBytes) documents[2] += "a word, ";
  documents[2].resize(kBatchBytes - 5 - documents[0].size() - 2 - 2 * end.size());  // its end lies across two buffers
  std::vector<fs::path> files;
  std::string joined, json = "{\"text\": \"" + documents[1] + end + documents[3] + "\"}";
  for (const std::string& document : documents) {
    files.push_back(folder.file("d" + std::to_string(files.size()), document));
    joined += document + end;  // the last is empty, and no document
  }
  write_gz(folder / "joined.gz", joined);
  for (const TokenizerKind kind : kKinds) {
    INFO(name_of(kind));
    prepare_text({files, {}}, {kind, 300}, folder / "apart");
    const Dataset apart = Dataset::open(folder / "apart");
    for (const fs::path& path : {folder.file("joined", joined), folder / "joined.gz"}) {
      TextPaths text(path);
      text.separator = end;
      CHECK(prepare_text(text, kind, folder / "out", &apart.tokenizer()).empty());
      const Dataset dataset = Dataset::open(folder / "out");
      CHECK(dataset.documents() == documents.size());
      CHECK(text_back(dataset, Split::all) == text_back(apart, Split::all));
      if (kind != TokenizerKind::bpe) CHECK(ids_of(dataset) == ids_of(apart));
    }
    TextPaths lines(folder.file("l.jsonl", json + "\n" + json));
    const std::string note = prepare_text(lines, kind, folder / "out", &apart.tokenizer());
    CHECK(note.find(" has 2 <|endoftext|>,") != std::string::npos);
    CHECK(Dataset::open(folder / "out").documents() == 2);
    lines.separator = end;
    prepare_text(lines, kind, folder / "out", &apart.tokenizer());
    CHECK(Dataset::open(folder / "out").documents() == 4);
  }
}
