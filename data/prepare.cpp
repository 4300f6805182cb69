#include "data/prepare.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "data/corpus.h"
#include "data/mapped_file.h"
#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

using Visit = std::function<void(std::string_view)>;

// A text that can be read repeatedly, in pieces that end with whole characters.
struct Source {
  std::string name;
  uint64_t bytes = 0, cut = 0;  // training text is bytes 0 .. cut-1
  double entropy = 0.0;         // nats per character, 0: not known
  std::function<void(uint64_t begin, uint64_t end, const Visit& visit)> read;
};

uint64_t training_share(uint64_t n) { return n / 10 * 9 + n % 10 * 9 / 10; }

// Byte offset of the end of the training split.
uint64_t find_cut(const MappedFile& file, TokenizerKind kind) {
  const std::string_view text = file.bytes();
  if (kind == TokenizerKind::byte) return training_share(text.size());
  const size_t error = find_utf8_error(text);
  if (error != std::string_view::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(error), '\n');
    throw UserError(str_cat(file.path().string(), " is not UTF-8 text: see line ", line, ", byte ", error,
                            " of the file; convert it (iconv -t UTF-8) or use `tokenizer` byte"));
  }
  return code_point_offset(text, training_share(count_code_points(text)));
}

Source file_source(const MappedFile& file, TokenizerKind kind) {
  Source source{file.path().string(), file.size(), find_cut(file, kind), 0.0, {}};
  source.read = [&file](uint64_t begin, uint64_t end, const Visit& visit) {
    while (begin < end) {
      std::string_view piece = file.bytes().substr(begin, std::min<uint64_t>(kPieceBytes, end - begin));
      if (begin + piece.size() < end) {  // back to the start of a character; invalid bytes may be cut anywhere
        const auto cuts_character = [&] { return (static_cast<uint8_t>(piece.data()[piece.size()]) & 0xC0) == 0x80; };
        for (int i = 0; i < 3 && cuts_character(); ++i) piece.remove_suffix(1);
      }
      visit(piece);
      begin += piece.size();
    }
  };
  return source;
}

Source corpus_source(uint64_t bytes, uint64_t seed) {
  const std::string name = str_cat("built-in corpus, ", bytes, " bytes, seed ", seed);
  Source source{name, bytes, training_share(bytes), corpus_entropy(), {}};
  source.read = [seed](uint64_t begin, uint64_t end, const Visit& visit) {
    CorpusStream stream(seed);
    std::vector<char> piece(kPieceBytes);
    for (uint64_t at = 0; at < end;) {  // generates the text from the start and discards it up to `begin`
      const uint64_t stop = at < begin ? begin : end;
      const size_t count = std::min<uint64_t>(kPieceBytes, stop - at);
      stream.read(piece.data(), count);
      if (at >= begin) visit({piece.data(), count});
      at += count;
    }
  };
  return source;
}

Tokenizer tokenizer_for(const Source& source, TokenizerKind kind) {
  if (kind == TokenizerKind::byte) return Tokenizer::of_bytes();
  CharacterSet characters;
  source.read(0, source.cut, [&](std::string_view piece) { characters.add(piece); });
  return Tokenizer::of_characters(characters.sorted());
}

template <typename Id>
TokenFileInfo encode(const Source& source, const Tokenizer& tokenizer, const TokenSink& sink) {
  std::vector<Id> ids(kPieceBytes);
  const auto encode_part = [&](uint64_t begin, uint64_t end) {
    Tokenizer::Counts total;
    source.read(begin, end, [&](std::string_view piece) {
      const Tokenizer::Counts counts = tokenizer.encode_into(ids.data(), piece);
      sink(ids.data(), counts.tokens);
      total.tokens += counts.tokens;
      total.unknown += counts.unknown;
    });
    return total;
  };
  const Tokenizer::Counts train = encode_part(0, source.cut), val = encode_part(source.cut, source.bytes);
  return {.bytes_per_token = sizeof(Id),
          .tokenizer = tokenizer.kind(),
          .vocabulary = tokenizer.vocabulary(),
          .train_tokens = train.tokens,
          .val_tokens = val.tokens,
          .train_bytes = source.cut,
          .val_bytes = source.bytes - source.cut,
          .unknown_tokens = train.unknown + val.unknown,
          .tokenizer_fingerprint = tokenizer.fingerprint(),
          .checksum = 0,
          .entropy = source.entropy,
          .source = source.name};
}

TokenFileInfo encode_source(const Source& source, const Tokenizer& tokenizer, const TokenSink& sink) {
  return bytes_per_token(tokenizer.vocabulary()) == 2 ? encode<uint16_t>(source, tokenizer, sink)
                                                      : encode<uint32_t>(source, tokenizer, sink);
}

void prepare(const Source& source, TokenizerKind kind, const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  GLINT_REQUIRE(!error, "can't make the folder ", folder.string(), ": ", error.message());
  const Tokenizer tokenizer = tokenizer_for(source, kind);
  TokenFileWriter file(folder / kTokensFile, bytes_per_token(tokenizer.vocabulary()));
  const TokenFileInfo info =
      encode_source(source, tokenizer, [&](const void* tokens, size_t count) { file.append(tokens, count); });
  const uint64_t characters = info.train_tokens + info.val_tokens;
  GLINT_REQUIRE(characters >= kFewestCharacters, source.name, " has only ", characters, " characters: at least ",
                kFewestCharacters, " are needed, and many more to learn from");
  file.commit(info);
  tokenizer.save(folder / kTokenizerFile);
}

}  // namespace

void prepare_text(const std::filesystem::path& file, TokenizerKind kind, const std::filesystem::path& folder) {
  const MappedFile text(file, MappedFile::Access::sequential);
  prepare(file_source(text, kind), kind, folder);
}

void prepare_corpus(uint64_t bytes, uint64_t seed, TokenizerKind kind, const std::filesystem::path& folder) {
  prepare(corpus_source(bytes, seed), kind, folder);
}

TokenFileInfo tokenize_text(const std::filesystem::path& file, const Tokenizer& tokenizer, const TokenSink& sink) {
  const MappedFile text(file, MappedFile::Access::sequential);
  return encode_source(file_source(text, tokenizer.kind()), tokenizer, sink);
}

}  // namespace glint
