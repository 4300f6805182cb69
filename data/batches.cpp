#include "data/batches.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace glint {
namespace {

__extension__ using Wide = unsigned __int128;

// Maps a 64-bit draw to 0 .. range-1 by its high part; probabilities differ by at most range / 2^64.
uint64_t scale_to(uint64_t draw, uint64_t range) {
  return static_cast<uint64_t>(static_cast<Wide>(draw) * range >> 64);
}

}  // namespace

RandomWindows::RandomWindows(TokenSpan tokens, int T, uint64_t seed, Sampling sampling)
    : tokens_(tokens), T_(T), seed_(seed), sampling_(sampling) {
  GLINT_CHECK(T >= 1, "T is ", T);
  GLINT_REQUIRE(tokens.size() > static_cast<size_t>(T), "a split of ", tokens.size(), " tokens has no window of ", T,
                " tokens plus one: give more text or a smaller `context`");
}

uint64_t RandomWindows::offset(uint64_t step, uint64_t sequence) const {
  GLINT_CHECK(high_word(sequence) == 0, "sequence ", sequence, " of one batch");
  const PhiloxCounter counter{low_word(step), high_word(step), low_word(sequence), static_cast<uint32_t>(sampling_)};
  const PhiloxCounter draw = philox4x32<10>(counter, philox_key(seed_));
  return scale_to(draw.x | static_cast<uint64_t>(draw.y) << 32, tokens_.size() - static_cast<size_t>(T_));
}

void RandomWindows::fill(int32_t* inputs, int32_t* targets, uint64_t step, uint64_t first_sequence, int count) const {
  const auto T = static_cast<size_t>(T_);
  for (uint64_t row = 0; row < static_cast<uint64_t>(count); ++row) {
    const uint64_t begin = offset(step, first_sequence + row);
    tokens_.copy_to(inputs + row * T, begin, T);
    tokens_.copy_to(targets + row * T, begin + 1, T);
  }
}

SequentialWindows::SequentialWindows(TokenSpan tokens, int T) : tokens_(tokens), T_(T) {
  GLINT_CHECK(T >= 1, "T is ", T);
  GLINT_REQUIRE(tokens.size() >= 2, "a split of ", tokens.size(), " tokens has nothing to predict: give more text");
}

uint64_t SequentialWindows::windows() const {
  const auto T = static_cast<uint64_t>(T_);
  return (predictions() + T - 1) / T;
}

uint64_t SequentialWindows::fill(int32_t* inputs, int32_t* targets, uint64_t first_window, int count) const {
  GLINT_CHECK(first_window < windows(), "window ", first_window, " of ", windows());
  const size_t room = static_cast<size_t>(count) * static_cast<size_t>(T_);
  const size_t begin = first_window * static_cast<size_t>(T_);
  const size_t real = std::min<size_t>(room, predictions() - begin);  // the windows are adjacent
  tokens_.copy_to(inputs, begin, real);
  tokens_.copy_to(targets, begin + 1, real);
  std::fill(inputs + real, inputs + room, 0);
  std::fill(targets + real, targets + room, 0);
  return real;
}

}  // namespace glint
