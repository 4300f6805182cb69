#include "data/bpe_trainer.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <unordered_map>
#include <utility>

#include "data/bpe_files.h"
#include "data/split.h"
#include "kernels/check.h"

namespace glint {
namespace {

using WordIndices = std::vector<uint32_t>;

// A pair that waits to be merged, with the words that had it when it was put here.
struct Waiting {
  int64_t count;
  Bpe::Pair pair;
  WordIndices words;
};
bool comes_later(const Waiting& a, const Waiting& b) {
  return a.count != b.count ? a.count < b.count : a.pair > b.pair;
}

// How a merge has changed the count of a pair, and the words where it stands now.
struct Changed {
  int64_t count = 0;
  WordIndices words;

  void add(int64_t by, uint32_t word) {
    count += by;
    if (by > 0 && (words.empty() || words.back() != word)) words.push_back(word);
  }
};

struct PairHash {
  size_t operator()(const Bpe::Pair& pair) const {
    return (uint64_t{static_cast<uint32_t>(pair.first)} << 32 | static_cast<uint32_t>(pair.second)) *
               0x9E3779B97F4A7C15u >>
           20;
  }
};

class Trainer {
 public:
  Trainer(const PieceCounts& pieces, std::vector<std::string> bytes) : tokens_(std::move(bytes)) {
    std::array<int32_t, 256> byte_ids{};
    for (size_t id = 0; id < tokens_.size(); ++id) {
      byte_ids[static_cast<uint8_t>(tokens_[id][0])] = static_cast<int32_t>(id);
      ids_[tokens_[id]] = static_cast<int32_t>(id);
    }
    pieces.for_each([&](std::string_view piece, uint64_t count) {
      if (piece.size() < 2) return;
      words_.push_back({symbols_.size(), static_cast<uint32_t>(piece.size()), static_cast<int64_t>(count)});
      for (const char c : piece) symbols_.push_back(byte_ids[static_cast<uint8_t>(c)]);
    });
    GLINT_REQUIRE(words_.size() < std::numeric_limits<uint32_t>::max(), "the text has too many different words");
  }

  void run(size_t vocabulary) {
    recount();
    if (!queue_.empty()) least_ = std::max<int64_t>(1, queue_.front().count / 64);
    while (tokens_.size() < vocabulary) {
      if (queue_.empty() || queue_.front().count < least_) {
        if (least_ == 1) break;
        least_ = std::max<int64_t>(1, least_ / 8);
        recount();
        continue;
      }
      std::pop_heap(queue_.begin(), queue_.end(), comes_later);
      Waiting next = std::move(queue_.back());
      queue_.pop_back();
      if (const int64_t count = counts_.at(next.pair); count != next.count) {  // some were merged with others
        next.count = count;
        if (count >= least_) put(std::move(next));
        continue;
      }
      const auto [left, right] = next.pair;
      const std::string bytes = tokens_[static_cast<size_t>(left)] + tokens_[static_cast<size_t>(right)];
      const auto [known, is_new] = ids_.emplace(bytes, static_cast<int32_t>(tokens_.size()));
      if (is_new) tokens_.push_back(bytes);
      merges_.push_back(next.pair);
      for (const uint32_t word : next.words) merge_in(word, next.pair, known->second);
      put_changed();
    }
  }

  std::vector<std::string> take_tokens() { return std::move(tokens_); }
  std::vector<Bpe::Pair> take_merges() { return std::move(merges_); }

 private:
  struct Word {
    size_t begin;  // in symbols_
    uint32_t length;
    int64_t count;
  };

  void put(Waiting waiting) {
    queue_.push_back(std::move(waiting));
    std::push_heap(queue_.begin(), queue_.end(), comes_later);
  }

  // Puts the pairs that occur at least least_ times into the queue. The others need not be known until none of these is
  // left, since no pair of old tokens becomes more frequent: they would take most of the memory.
  void recount() {
    counts_.clear();
    queue_.clear();
    // By hash: pairs that share one are counted together.
    std::vector<int64_t> at_most(std::min(size_t{1} << 20, std::bit_ceil(symbols_.size())));
    const auto for_each_pair = [&](const auto& visit) {
      for (uint32_t w = 0; w < words_.size(); ++w) {
        const int32_t* const symbols = symbols_.data() + words_[w].begin;
        for (uint32_t i = 0; i + 1 < words_[w].length; ++i) {
          const Bpe::Pair pair(symbols[i], symbols[i + 1]);
          visit(pair, w, at_most[PairHash()(pair) & (at_most.size() - 1)]);
        }
      }
    };
    for_each_pair([&](const Bpe::Pair&, uint32_t w, int64_t& sum) { sum += words_[w].count; });
    for_each_pair([&](const Bpe::Pair& pair, uint32_t w, const int64_t& sum) {
      if (sum >= least_) changed_[pair].add(words_[w].count, w);
    });
    put_changed();
  }

  // A pair's count: `merged` is the token that has just been made.
  void change(const Bpe::Pair& pair, int32_t merged, uint32_t word, int64_t by) {
    const int64_t count = by * words_[word].count;
    if (pair.first == merged || pair.second == merged) return changed_[pair].add(count, word);
    if (const auto known = counts_.find(pair); known != counts_.end()) known->second += count;
  }
  void put_changed() {
    for (auto& [pair, changed] : changed_) {
      const auto known = counts_.find(pair);
      const int64_t count = changed.count + (known == counts_.end() ? 0 : known->second);
      if (count < least_ && known == counts_.end()) continue;
      counts_[pair] = count;
      if (count >= least_ && !changed.words.empty()) put({count, pair, std::move(changed.words)});
    }
    changed_.clear();
  }

  void merge_in(uint32_t index, const Bpe::Pair& pair, int32_t merged) {
    Word& word = words_[index];
    int32_t* const symbols = symbols_.data() + word.begin;
    uint32_t to = 0;
    for (uint32_t from = 0; from < word.length; ++from, ++to) {
      symbols[to] = symbols[from];
      if (from + 1 == word.length || Bpe::Pair(symbols[from], symbols[from + 1]) != pair) continue;
      if (to > 0) {
        change({symbols[to - 1], pair.first}, merged, index, -1);
        change({symbols[to - 1], merged}, merged, index, 1);
      }
      symbols[to] = merged;
      if (++from + 1 < word.length) {
        change({pair.second, symbols[from + 1]}, merged, index, -1);
        change({merged, symbols[from + 1]}, merged, index, 1);
      }
    }
    word.length = to;
  }

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<Bpe::Pair> merges_;
  std::vector<int32_t> symbols_;
  std::vector<Word> words_;
  int64_t least_ = 1;
  std::unordered_map<Bpe::Pair, int64_t, PairHash> counts_;   // that of a merged pair stays as it was
  std::unordered_map<Bpe::Pair, Changed, PairHash> changed_;  // pairs with the token of the last merge
  std::vector<Waiting> queue_;                                // a heap
};

}  // namespace

void PieceCounts::add_text(std::string_view text) {
  for (const char *at = text.data(), *end = at + text.size(); at != end;) {
    const char* const next = piece_end(at, end);
    add({at, static_cast<size_t>(next - at)});
    at = next;
  }
}

void PieceCounts::add(std::string_view piece, uint64_t count) {
  GLINT_REQUIRE(piece.size() <= std::numeric_limits<uint32_t>::max(), "the text has ", piece.size(),
                " bytes without a break between words");
  if (2 * used_ >= slots_.size()) grow();
  const auto hash = static_cast<uint32_t>(XXH3_64bits(piece.data(), piece.size()));
  for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
    Slot& slot = slots_[at];
    if (slot.count == 0) {
      slot = {bytes_.size(), static_cast<uint32_t>(piece.size()), hash, count};
      bytes_ += piece;
      ++used_;
      return;
    }
    if (slot.hash == hash && std::string_view(bytes_).substr(slot.begin, slot.length) == piece) {
      slot.count += count;
      return;
    }
  }
}

void PieceCounts::grow() {
  std::vector<Slot> larger(std::max<size_t>(1 << 12, 2 * slots_.size()));
  for (const Slot& slot : slots_) {
    if (slot.count == 0) continue;
    size_t at = slot.hash & (larger.size() - 1);
    while (larger[at].count > 0) at = (at + 1) & (larger.size() - 1);
    larger[at] = slot;
  }
  slots_ = std::move(larger);
}

std::shared_ptr<const Bpe> train_bpe(PieceCounts pieces, int vocabulary) {
  GLINT_REQUIRE(vocabulary >= kSmallestVocabulary, "--vocab ", vocabulary, ": the 256 bytes and ", kEndOfText, " are ",
                kSmallestVocabulary, " tokens; give at least so many");
  Trainer trainer(pieces, byte_tokens());
  pieces = {};
  trainer.run(static_cast<size_t>(vocabulary) - 1);
  std::vector<std::string> tokens = trainer.take_tokens();
  const auto end = static_cast<int32_t>(tokens.size());
  tokens.emplace_back(kEndOfText);
  return std::make_shared<const Bpe>(std::move(tokens), trainer.take_merges(),
                                     std::vector<Bpe::Added>{{end, kEndOfText}}, false, "the new tokenizer");
}

}  // namespace glint
