// From text to a prepared folder (tokens.bin and tokenizer.json). The first 90% of the characters (byte, bpe: of the
// bytes) are for training, the last 10% for validation, unless that has a text of its own; of a text that is streamed
// (data/streamed_files.h) 90% of the tokens. A leading byte order mark is skipped. Memory use does not grow with the
// text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "data/bpe_trainer.h"
#include "data/text_source.h"
#include "data/token_file.h"
#include "data/tokenizer.h"

namespace glint {

inline constexpr const char* kTokensFile = "tokens.bin";
inline constexpr const char* kTokenizerFile = "tokenizer.json";
inline constexpr const char* kUnknownFile = "unknown.json";  // of a text with unknown characters: these, and how often
inline constexpr uint64_t kFewestCharacters = 11;            // leaves 2 for validation: an input and a target

// A tokenizer that is made from the text: char from its characters, bpe from its words.
struct NewTokenizer {
  TokenizerKind kind;
  int vocabulary = kUsualVocabulary;  // of bpe

  NewTokenizer(TokenizerKind k) : kind(k) {}  // NOLINT: a kind is enough
  NewTokenizer(TokenizerKind k, int v) : kind(k), vocabulary(v) {}
};

// bytes: of text, so far; fraction: of all that is to be read, negative: not known.
using TextProgress = std::function<void(uint64_t bytes, double fraction)>;
struct PrepareOptions {
  TextProgress progress{};                 // called after each few MB
  uint64_t shard_tokens = kTokensPerFile;  // at most, in each file
};

// Tokenises a text into folder (created if missing; files of the same names are replaced). Without a given tokenizer, a
// tokenizer is made from the training split, and each of several documents (bpe: each document) begins with a
// separator token. Returns lines for the user about the text, or nothing. UserError: a file that can't be read
// (MappedFile), is not UTF-8 (char, bpe; says where), changed meanwhile, or has fewer than kFewestCharacters; a folder
// that can't be written.
std::string prepare_text(const TextPaths& paths, NewTokenizer made, const std::filesystem::path& folder,
                         const Tokenizer* given = nullptr, const PrepareOptions& options = {});

// The same for `bytes` bytes of the built-in corpus (data/corpus.h).
void prepare_corpus(uint64_t bytes, uint64_t seed, NewTokenizer made, const std::filesystem::path& folder,
                    const Tokenizer* given = nullptr);

using CharacterCounts = std::map<char32_t, uint64_t>;
std::string to_json(const CharacterCounts& counts);  // {"character": count, ...}

// Tokenises a text with an existing tokenizer. Tokens go to the sink in pieces, as uint16 or uint32
// (bytes_per_token(vocabulary)).
using TokenSink = std::function<void(const void* tokens, size_t count)>;
struct TokenizedText {
  TokenFileInfo info;
  CharacterCounts unknown;                         // over both splits
  int64_t carriage_returns = 0, ends_of_text = 0;  // kEndOfText taken as text; one that pieces cut is not counted
};
TokenizedText tokenize_text(const TextPaths& paths, const Tokenizer& tokenizer, const TokenSink& sink);

// A tokenizer of kind bpe made from all of a text (paths.validation is not read), by all threads.
Tokenizer bpe_of_text(const TextPaths& paths, int vocabulary);

}  // namespace glint
