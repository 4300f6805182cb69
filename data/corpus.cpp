#include "data/corpus.h"

#include <algorithm>
#include <cstring>

#include "data/grammar.h"
#include "kernels/philox.h"

namespace glint {

void CorpusStream::read(char* out, size_t bytes) {
  constexpr uint32_t kCorpusDomain = 0x74616c65;  // of the Philox counter; other uses of a seed have other domains
  while (bytes > 0) {
    if (used_ == buffer_.size()) {
      buffer_.clear();
      used_ = 0;
      PhiloxCounter draw{};
      uint32_t k = 0;
      // Choice k is word k % 4 of the draw at {tale, k / 4, domain}. n is about 2^10 or less, so probabilities
      // differ by at most n / 2^32.
      corpus_grammar().append_sentence(buffer_, [&](uint32_t n) {
        if (k % 4 == 0)
          draw = philox4x32<10>({low_word(tale_), high_word(tale_), k / 4, kCorpusDomain}, philox_key(seed_));
        const uint32_t words[] = {draw.x, draw.y, draw.z, draw.w};
        return high_word(static_cast<uint64_t>(words[k++ % 4]) * n);
      });
      ++tale_;
    }
    const size_t size = std::min(bytes, buffer_.size() - used_);
    std::memcpy(out, buffer_.data() + used_, size);
    out += size;
    used_ += size;
    bytes -= size;
  }
}

std::string corpus_text(uint64_t bytes, uint64_t seed) {
  std::string text(bytes, '\0');
  CorpusStream(seed).read(text.data(), text.size());
  return text;
}

double corpus_entropy() { return corpus_grammar().entropy(); }

}  // namespace glint
