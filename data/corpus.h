// The built-in corpus: very short tales drawn from a small grammar with a known entropy, the loss that no model can
// beat. ASCII, fewer than 40 different characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace glint {

class Grammar;

inline constexpr uint64_t kCorpusBytes = 2'000'000;  // the size that training uses by default

// The text of a seed, read from its beginning. Tale number n depends on (seed, n) only.
class CorpusStream {
 public:
  explicit CorpusStream(uint64_t seed) : seed_(seed) {}
  void read(char* out, size_t bytes);  // the next bytes

 private:
  uint64_t seed_, tale_ = 0;  // tale_: the next one
  std::string buffer_;        // the current tale
  size_t used_ = 0;           // of buffer_
};

// The first `bytes` bytes of a seed's text (the last tale may be cut).
std::string corpus_text(uint64_t bytes, uint64_t seed);

// Entropy rate in nats per character, that is per byte; data/grammar.h says how it is computed. The information of one
// text of n characters varies by about 1.3 / sqrt(n) nats per character, so the loss on a short text may be that much
// lower.
double corpus_entropy();

const Grammar& corpus_grammar();

}  // namespace glint
