// Text to token ids and back.
//   character  one id per code point of the training text, in code point order, then one id for every other character
//   byte       the 256 bytes
// The tokenizer of several documents has one more id, of the token that begins each.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

enum class TokenizerKind : uint32_t { character = 0, byte = 1 };

const char* name_of(TokenizerKind kind);                    // "char", "byte": the names in flags and files
TokenizerKind tokenizer_kind_named(std::string_view name);  // UserError on another name

class Tokenizer {
 public:
  static Tokenizer of_bytes(bool with_separator = false);
  static Tokenizer of_characters(std::u32string code_points, bool with_separator = false);  // any order, with repeats
  static Tokenizer of_text(std::string_view text);  // the characters of a text; UserError if not UTF-8

  TokenizerKind kind() const { return kind_; }
  int vocabulary() const;  // V
  int unknown() const;     // id of the unknown token, or -1 (byte)
  int separator() const { return has_separator_ ? vocabulary() - 1 : -1; }
  bool knows(char32_t c) const;
  std::u32string_view characters() const { return characters_; }  // by id; empty for byte
  uint64_t fingerprint() const;                                   // hash of the vocabulary

  // Lists each unknown character once, in order of appearance. UserError if not UTF-8 (character).
  struct Encoded {
    std::vector<int32_t> ids;
    std::u32string unknown;
  };
  Encoded encode(std::string_view text) const;

  // The same into out (room for text.size() ids), for valid UTF-8 that ends with a whole character.
  struct Counts {
    size_t tokens = 0, unknown = 0;
  };
  template <typename Id>  // uint16_t or uint32_t, wide enough for vocabulary()
  Counts encode_into(Id* out, std::string_view text) const;

  // The unknown token becomes U+FFFD, the separator nothing. Byte tokens may be parts of characters: see Utf8Stream.
  // Error on an id outside the vocabulary.
  void append_decoded(std::string& out, int32_t id) const;
  std::string decode(std::span<const int32_t> ids) const;

  std::string to_json() const;
  static Tokenizer from_json(std::string_view json, const std::string& name);  // name: the file, for errors
  void save(const std::filesystem::path& path) const;
  static Tokenizer load(const std::filesystem::path& path);

  friend bool operator==(const Tokenizer& a, const Tokenizer& b) {
    return a.kind_ == b.kind_ && a.characters_ == b.characters_ && a.has_separator_ == b.has_separator_;
  }

 private:
  TokenizerKind kind_ = TokenizerKind::byte;
  bool has_separator_ = false;
  std::u32string characters_;  // sorted
  std::vector<uint32_t> ids_;  // by code point, up to the largest known (at least 128); unknown() where there is none
};

// U+0041 'A', for messages.
std::string describe_characters(std::u32string_view characters, size_t at_most = 8);

}  // namespace glint
