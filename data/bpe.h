// Byte-level byte-pair encoding, as GPT-2's: text is cut into pieces (data/split.h), and in each the adjacent pair of
// tokens that stands first among the merges is joined, at its leftmost place, until none is left.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/tokenizer.h"

namespace glint {

inline constexpr const char* kEndOfText = "<|endoftext|>";  // the separator between documents

// Pairs of tokens: their place among the merges, and what they become. Open addressing, for speed.
class PairTable {
 public:
  struct Merge {
    uint32_t rank = UINT32_MAX;  // UINT32_MAX: none
    int32_t id = -1;
  };
  explicit PairTable(size_t pairs);  // room for so many
  void insert(int32_t left, int32_t right, Merge merge);
  Merge find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    for (size_t at = hash(key) & mask_;; at = (at + 1) & mask_) {
      if (slots_[at].key == key) return slots_[at].merge;
      if (slots_[at].key == kFree) return {};
    }
  }

 private:
  static constexpr uint64_t kFree = UINT64_MAX;
  struct Slot {
    uint64_t key = kFree;
    Merge merge;
  };
  static uint64_t key_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  static uint64_t hash(uint64_t key) { return (key * 0x9E3779B97F4A7C15u) >> 29; }

  size_t mask_;
  std::vector<Slot> slots_;
};

// Joins the tokens of one piece.
class PieceMerger {
 public:
  explicit PieceMerger(const PairTable& pairs) : pairs_(pairs) {}
  // Replaces the content of ids.
  void merge(std::vector<int32_t>& ids);

 private:
  struct Symbol {
    int32_t id;
    uint32_t previous, next;
  };
  struct Candidate {
    uint32_t rank, at;
    int32_t left, right, id;
    bool operator>(const Candidate& other) const { return std::pair(rank, at) > std::pair(other.rank, other.at); }
  };
  void consider(uint32_t at, bool heap);

  const PairTable& pairs_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> candidates_;
};

class Bpe {
 public:
  struct Added {  // a token that no text gives, only its name where that is asked for
    int32_t id;
    std::string content;
    bool operator==(const Added&) const = default;
  };
  using Pair = std::pair<int32_t, int32_t>;

  // tokens: their bytes by id, all 256 single bytes among them; those of an added token are its name. merges: what two
  // tokens become is the token of their bytes. whole_pieces: a piece that is a token is that token, whatever the merges
  // say (ignore_merges of Hugging Face's tokenizers). UserError, which begins with name, where these do not fit.
  Bpe(std::vector<std::string> tokens, std::vector<Pair> merges, std::vector<Added> added, bool whole_pieces,
      const std::string& name);
  Bpe(const Bpe&) = delete;
  Bpe& operator=(const Bpe&) = delete;

  const std::vector<std::string>& tokens() const { return tokens_; }
  const std::vector<Pair>& merges() const { return merges_; }
  const std::vector<Added>& added() const { return added_; }
  bool whole_pieces() const { return whole_pieces_; }
  int separator() const { return separator_; }  // the id of <|endoftext|>, or -1
  // Valid UTF-8.
  std::vector<int32_t> encode(std::string_view text, TokenNames names = TokenNames::are_text) const;
  uint64_t fingerprint() const { return fingerprint_; }
  bool operator==(const Bpe& other) const {
    return tokens_ == other.tokens_ && merges_ == other.merges_ && added_ == other.added_ &&
           whole_pieces_ == other.whole_pieces_;
  }

 private:
  friend class BpeEncoder;
  uint64_t hash() const;

  std::vector<std::string> tokens_;
  std::vector<Pair> merges_;
  std::vector<Added> added_;
  bool whole_pieces_;
  int separator_ = -1;
  uint64_t fingerprint_ = 0;
  std::array<int32_t, 256> byte_ids_{};
  PairTable pairs_;
  std::unordered_map<std::string_view, int32_t> ids_;  // of tokens that text can give, by their bytes
};

// Encodes with a cache of pieces; one for each thread.
class BpeEncoder {
 public:
  explicit BpeEncoder(const Bpe& bpe, size_t text_bytes = SIZE_MAX);  // of the text to come: a short one needs less

  // Valid UTF-8; names of added tokens are text like other. Into out, which has room for text.size() ids; the new end.
  template <typename Id>  // uint16_t, uint32_t or int32_t
  Id* encode(Id* out, std::string_view text);

 private:
  static constexpr size_t kKeyBytes = 31, kCachedIds = 7;
  struct alignas(64) Entry {
    std::array<uint64_t, 4> key{};  // the piece's bytes, zeros, and its length in the last byte; length 0: free
    uint32_t count = 0;
    std::array<int32_t, kCachedIds> ids{};
  };
  static std::array<uint64_t, 4> key_of(const char* piece, size_t length, size_t readable);
  void encode_piece(std::string_view piece);  // into ids_

  const Bpe& bpe_;
  PieceMerger merger_;
  std::vector<Entry> cache_;  // sets of two
  std::vector<int32_t> ids_;
};

}  // namespace glint
