// From a text to a prepared folder (tokens.bin and tokenizer.json). The first 90% of the characters (of the bytes, with
// the byte tokenizer) are for training, the last 10% for validation. Memory use does not grow with the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>

#include "data/token_file.h"
#include "data/tokenizer.h"

namespace glint {

inline constexpr const char* kTokensFile = "tokens.bin";
inline constexpr const char* kTokenizerFile = "tokenizer.json";
inline constexpr uint64_t kFewestCharacters = 11;  // leaves 2 for validation: an input and a target

// Tokenises a text file into folder (created if missing; files of the same names are replaced). The characters of a
// char tokenizer are those of the training split. UserError: a file that can't be read (MappedFile), is not UTF-8
// (char; says where), or has fewer than kFewestCharacters; a folder that can't be written.
void prepare_text(const std::filesystem::path& file, TokenizerKind kind, const std::filesystem::path& folder);

// The same for `bytes` bytes of the built-in corpus (data/corpus.h).
void prepare_corpus(uint64_t bytes, uint64_t seed, TokenizerKind kind, const std::filesystem::path& folder);

// Tokenises a text file with an existing tokenizer. Tokens go to the sink in pieces, as uint16 or uint32
// (bytes_per_token(vocabulary)). Unknown characters are counted over both splits.
using TokenSink = std::function<void(const void* tokens, size_t count)>;
TokenFileInfo tokenize_text(const std::filesystem::path& file, const Tokenizer& tokenizer, const TokenSink& sink);

}  // namespace glint
