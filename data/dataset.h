// A tokenised text with its tokenizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/prepare.h"
#include "data/token_file.h"
#include "data/tokenizer.h"

namespace glint {

enum class Split { train, val, all };

const char* name_of(Split split);
Split split_named(std::string_view name);  // UserError on another name

// Whether `path` is a folder that looks prepared: it holds tokens.bin.
bool is_prepared(const std::filesystem::path& path);

class Dataset {
 public:
  // A prepared folder (data/prepare.h), or a run folder, which holds the same files. UserError if it is not one, is
  // damaged, or has a tokens.bin that was not made with its tokenizer.json.
  static Dataset open(const std::filesystem::path& folder);

  // A text encoded in memory by an existing tokenizer, to evaluate a model on another text. Split 90/10 as usual.
  static Dataset encode(const TextPaths& text, const Tokenizer& tokenizer);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const TokenFileInfo& info() const { return info_; }
  TokenSpan tokens(Split split) const;  // valid while this Dataset exists, even if moved
  uint64_t text_bytes(Split split) const;
  uint64_t predicted_bytes(Split split) const;  // without those of its first token: for bits per byte
  uint64_t unknown(Split split) const;          // tokens
  // "12 of 200 tokens are unknown (6%): U+4E2D ..."; nothing if none is.
  std::string describe_unknown(Split split) const;
  const CharacterCounts& unknown_characters() const { return unknown_; }  // of the whole text
  uint64_t checksum() const;                                              // of the tokens
  void require_unchanged();  // cheap, after each batch read: UserError if another program has changed the tokens
  std::optional<double> entropy() const;  // of the source, in nats per token: the lowest possible loss

  // UserError, saying how much text is needed, unless both splits have more than context tokens.
  void require_context(int context) const;

  uint64_t documents() const;  // where no separator is, the text counts as one
  double bytes_per_token_of_text() const;
  std::string sample() const;  // how the text begins, as a JSON string

  std::string describe() const;  // several lines of text: `glint data info`
  std::string to_json() const;   // the same as JSON

 private:
  uint64_t count(int32_t token) const;

  Dataset(Tokenizer tokenizer, TokenFileInfo info) : tokenizer_(std::move(tokenizer)), info_(std::move(info)) {}

  Tokenizer tokenizer_;
  TokenFileInfo info_;
  std::optional<TokenFile> file_;  // one of these two holds the tokens
  std::vector<std::byte> memory_;
  CharacterCounts unknown_;
};

}  // namespace glint
