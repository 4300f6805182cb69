// Texts to be tokenised, read in pieces that may be encoded side by side. Memory use does not grow with the text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/tokenizer.h"

namespace glint {

// Files, each a document; a folder stands for all files in it that are not hidden, in the order of their names. In a
// file *.jsonl each line is a document, the string of a field of its JSON object. Files *.gz are decompressed. "-" is
// standard input.
struct TextPaths {
  std::vector<std::filesystem::path> text, validation{};  // validation empty: the end of `text`
  std::string field{};                                    // of JSON lines; empty: "text". Given, "-" is JSON lines
  std::string separator{};                                // a text at which documents end too; no part of them

  TextPaths(std::filesystem::path file) : text{std::move(file)} {}  // NOLINT: one file is a text
  TextPaths(std::vector<std::filesystem::path> all, std::vector<std::filesystem::path> val)
      : text(std::move(all)), validation(std::move(val)) {}
};

// Valid while it is visited. It ends with a whole character and, for bpe, where it may be cut (data/split.h).
struct TextPiece {
  std::string_view text;
  bool opens;  // it begins a document
};
using VisitText = std::function<void(std::span<const TextPiece> pieces)>;
using ReadText = std::function<void(const VisitText& visit)>;  // may be called repeatedly, but for standard input

struct TextSource {
  std::string name;
  ReadText train, val;
  bool several = false;     // documents
  bool cut_at_end = false;  // val is empty: the last tenth of the tokens of train is for validation
  double entropy = 0.0;     // nats per character, 0: not known
  std::function<void()> require_unchanged = [] {};
  std::function<void()> require_utf8 = [] {};              // UserError that says where it is not
  uint64_t bytes = 0;                                      // of both splits; 0: not known
  std::function<double()> fraction = [] { return -1.0; };  // of what bytes would say; negative: not known
};

TextSource text_source(const TextPaths& paths, TokenizerKind kind);
TextSource corpus_source(uint64_t bytes, uint64_t seed, TokenizerKind kind);

uint64_t training_share(uint64_t n);  // nine tenths

}  // namespace glint
