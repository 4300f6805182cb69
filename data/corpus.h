// The built-in corpus: very short tales drawn from a small grammar whose entropy is known exactly, so that a training
// loss can be read against its entropy, which no model can beat. ASCII, fewer than 40 different characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace glint {

class Grammar;

inline constexpr uint64_t kCorpusBytes = 2'000'000;  // what training without --data uses

// The text of a seed, from its beginning, as much as is asked for. Tale number n depends on (seed, n) alone.
class CorpusStream {
 public:
  explicit CorpusStream(uint64_t seed) : seed_(seed) {}
  void read(char* out, size_t bytes);  // the next bytes

 private:
  uint64_t seed_;
  uint64_t tale_ = 0;
  std::string buffer_;  // the tale at hand
  size_t used_ = 0;     // of buffer_
};

// The first `bytes` bytes of a seed's text (the last tale may be cut).
std::string corpus_text(uint64_t bytes, uint64_t seed);

// Entropy rate of the corpus in nats per character, which is per byte: expected information of a tale over its expected
// length (tales are independent, and the grammar is unambiguous: data/grammar.h says why that is enough).
// The information of one text of n characters scatters about it by some 1.3 / sqrt(n) nats per character, so a loss
// measured on a short text may come out that much below.
double corpus_entropy();

// The grammar itself, for whoever wants to check the above.
const Grammar& corpus_grammar();

}  // namespace glint
