// Text to token ids and back.
//   character  one id per code point of the training text, in code point order, then one id for every other character
//   byte       the 256 bytes
//   bpe        byte-level byte-pair encoding, as GPT-2's (data/bpe.h)
// The token that begins each of several documents is the last id of char and byte, and <|endoftext|> of bpe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

class Bpe;

enum class TokenizerKind : uint32_t { character = 0, byte = 1, bpe = 2 };
// Whether a text may name tokens such as <|endoftext|>, or these are text like other.
enum class TokenNames { are_text, are_tokens };

const char* name_of(TokenizerKind kind);                    // "char", "byte", "bpe": the names in flags and files
TokenizerKind tokenizer_kind_named(std::string_view name);  // UserError on another name

class Tokenizer {
 public:
  static Tokenizer of_bytes(bool with_separator = false);
  static Tokenizer of_characters(std::u32string code_points, bool with_separator = false);  // any order, with repeats
  static Tokenizer of_bpe(std::shared_ptr<const Bpe> bpe);
  static Tokenizer of_text(std::string_view text);  // the characters of a text; UserError if not UTF-8

  TokenizerKind kind() const { return kind_; }
  int vocabulary() const;  // V
  int unknown() const;     // id of the unknown token, or -1 (byte, bpe)
  int separator() const;   // or -1
  bool knows(char32_t c) const;
  std::u32string_view characters() const { return characters_; }  // by id; of char only
  const std::shared_ptr<const Bpe>& bpe() const { return bpe_; }  // of bpe only
  uint64_t fingerprint() const;                                   // hash of the vocabulary

  // Lists each unknown character once, in order of appearance. UserError if not UTF-8 (char, bpe).
  struct Encoded {
    std::vector<int32_t> ids;
    std::u32string unknown;
  };
  Encoded encode(std::string_view text, TokenNames names = TokenNames::are_text) const;

  // The same into out (room for text.size() ids), for valid UTF-8 that ends with a whole character.
  struct Counts {
    size_t tokens = 0, unknown = 0;
  };
  template <typename Id>  // uint16_t or uint32_t, wide enough for vocabulary()
  Counts encode_into(Id* out, std::string_view text) const;

  // The unknown token becomes U+FFFD, the separator nothing. Tokens of byte and bpe may be parts of characters: see
  // Utf8Stream. Error on an id outside the vocabulary.
  void append_decoded(std::string& out, int32_t id) const;
  std::string decode(std::span<const int32_t> ids) const;

  std::string to_json() const;                                                 // bpe: tokenizer.json of Hugging Face
  static Tokenizer from_json(std::string_view json, const std::string& name);  // name: the file, for errors
  void save(const std::filesystem::path& path) const;
  // A file or folder of a tokenizer: tokenizer.json of glint or of Hugging Face, vocab.json with merges.txt
  // (encoder.json with vocab.bpe), .tiktoken. UserError for what is none or not of these kinds.
  static Tokenizer load(const std::filesystem::path& path);

  // What --tokenizer NAME means: nothing for char, byte and bpe, else load(name).
  static std::optional<Tokenizer> given(const std::string& name);

  friend bool operator==(const Tokenizer& a, const Tokenizer& b) {
    return a.kind_ == b.kind_ && a.characters_ == b.characters_ && a.has_separator_ == b.has_separator_ &&
           same_bpe(a, b);
  }

 private:
  static bool same_bpe(const Tokenizer& a, const Tokenizer& b);

  TokenizerKind kind_ = TokenizerKind::byte;
  bool has_separator_ = false;
  std::u32string characters_;  // sorted
  std::vector<uint32_t> ids_;  // by code point, up to the largest known (at least 128); unknown() where there is none
  std::shared_ptr<const Bpe> bpe_;
};

// U+0041 'A', for messages.
std::string describe_characters(std::u32string_view characters, size_t at_most = 8);

}  // namespace glint
