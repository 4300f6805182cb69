#include "data/corpus.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "data/grammar.h"
#include "kernels/philox.h"

namespace glint {
namespace {

constexpr uint32_t kCorpusDomain = 0x74616c65;  // of the Philox counter; other uses of a seed have other domains

// The choices of one tale: number k is word k % 4 of the draw at {tale, k / 4, domain}.
class TaleChoices {
 public:
  TaleChoices(uint64_t seed, uint64_t tale) : key_(philox_key(seed)), tale_(tale) {}

  // n is below 2^10 or so: no number is likelier than another by more than n / 2^32.
  uint32_t operator()(uint32_t n) {
    if (used_ == 4) {
      const PhiloxCounter draw = philox4x32<10>({low_word(tale_), high_word(tale_), block_++, kCorpusDomain}, key_);
      words_[0] = draw.x, words_[1] = draw.y, words_[2] = draw.z, words_[3] = draw.w;
      used_ = 0;
    }
    return high_word(static_cast<uint64_t>(words_[used_++]) * n);
  }

 private:
  PhiloxKey key_;
  uint64_t tale_;
  uint32_t block_ = 0;
  uint32_t words_[4] = {};
  int used_ = 4;
};

}  // namespace

void CorpusStream::read(char* out, size_t bytes) {
  while (bytes > 0) {
    if (used_ == buffer_.size()) {
      buffer_.clear();
      used_ = 0;
      TaleChoices choices(seed_, tale_++);
      corpus_grammar().append_sentence(buffer_, std::ref(choices));
    }
    const size_t here = std::min(bytes, buffer_.size() - used_);
    std::memcpy(out, buffer_.data() + used_, here);
    out += here;
    used_ += here;
    bytes -= here;
  }
}

std::string corpus_text(uint64_t bytes, uint64_t seed) {
  std::string text(bytes, '\0');
  CorpusStream(seed).read(text.data(), text.size());
  return text;
}

double corpus_entropy() { return corpus_grammar().entropy(); }

}  // namespace glint
