// Makes the merges of a byte-level BPE from text. They are those of Hugging Face's BpeTrainer with initial_alphabet =
// ByteLevel.alphabet() and min_frequency = 0: the pair that occurs most often comes next; of pairs that occur equally
// often the one whose left token has the lower id, then whose right token has. The 256 bytes have the lowest ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/bpe.h"

namespace glint {

// How often each piece (data/split.h) occurs.
class PieceCounts {
 public:
  PieceCounts() { grow(); }
  void add_text(std::string_view text);  // valid UTF-8 that may be cut at its ends (last_cut)
  void add(std::string_view piece, uint64_t count = 1);
  template <typename Visit>  // visit(piece, count)
  void for_each(Visit&& visit) const {
    for (const Slot& slot : slots_)
      if (slot.count > 0) visit(std::string_view(bytes_).substr(slot.begin, slot.length), slot.count);
  }
  size_t size() const { return used_; }

 private:
  struct Slot {
    uint64_t begin = 0;  // in bytes_
    uint32_t length = 0, hash = 0;
    uint64_t count = 0;  // 0: free
  };
  void grow();

  std::string bytes_;
  std::vector<Slot> slots_;
  size_t used_ = 0;
};

inline constexpr int kUsualVocabulary = 8192;
inline constexpr int kSmallestVocabulary = 257;  // the bytes and <|endoftext|>

// vocabulary tokens, <|endoftext|> the last of them; fewer where no pair is left. UserError for fewer than 257.
std::shared_ptr<const Bpe> train_bpe(PieceCounts pieces, int vocabulary);

}  // namespace glint
