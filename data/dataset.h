// A tokenised text with its tokenizer: a folder of tokens.bin and tokenizer.json. The first 90% of the characters (of the
// bytes, with the byte tokenizer) are for training, the last 10% for validation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/token_file.h"
#include "data/tokenizer.h"

namespace glint {

enum class Split { train, val, all };

const char* name_of(Split split);
Split split_named(const std::string& name);  // UserError on another name

inline constexpr const char* kTokensFile = "tokens.bin";
inline constexpr const char* kTokenizerFile = "tokenizer.json";

// Tokenises a text file into folder (made if missing; files of the same names are replaced). Memory use does not grow with
// the text. UserError: see MappedFile; not UTF-8 (char), with the place; less than 11 characters (2 for validation).
void prepare_text(const std::filesystem::path& text, TokenizerKind kind, const std::filesystem::path& folder);

// The same for `bytes` bytes of the built-in corpus (data/corpus.h).
void prepare_corpus(uint64_t bytes, uint64_t seed, TokenizerKind kind, const std::filesystem::path& folder);

// Whether `path` is a folder that holds both files.
bool is_prepared(const std::filesystem::path& path);

class Dataset {
 public:
  // UserError: not a prepared folder, or a broken one; tokens.bin and tokenizer.json that don't belong together.
  static Dataset open(const std::filesystem::path& folder);

  // A text file encoded in memory by a tokenizer at hand, for evaluation on another text. Unknown characters are counted in
  // info(), over both splits. Split 90/10 as ever.
  static Dataset encode(const std::filesystem::path& text, const Tokenizer& tokenizer);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const TokenFileInfo& info() const { return info_; }
  TokenSpan tokens(Split split) const;
  uint64_t text_bytes(Split split) const;  // for bits per byte
  std::optional<double> entropy() const;   // of the text's source, nats per token: a floor for any loss

  // UserError, saying how much text is needed, unless both splits are longer than context tokens.
  void require_context(int context) const;

  std::string describe() const;  // several lines for a person: `glint data info`
  std::string to_json() const;   // the same for a program

 private:
  Dataset(Tokenizer tokenizer, TokenFileInfo info) : tokenizer_(std::move(tokenizer)), info_(std::move(info)) {}

  Tokenizer tokenizer_;
  TokenFileInfo info_;
  std::optional<TokenFile> file_;  // one of the two holds the tokens
  std::vector<std::byte> memory_;
};

}  // namespace glint
