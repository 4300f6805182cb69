// Batches of tokens, copied into the caller's buffers.
#pragma once

#include <cstdint>

#include "data/token_file.h"

namespace glint {

// The use of a random offset; each use has its own random numbers.
enum class Sampling : uint32_t { training = 0x7261696e, evaluation = 0x6576616c };

// Windows of T tokens at random offsets. Window (step, sequence) is a pure function of (seed, sampling, step,
// sequence), so a batch does not depend on micro-batches, ranks or restarts.
class RandomWindows {
 public:
  // UserError unless there are more than T tokens.
  RandomWindows(TokenSpan tokens, int T, uint64_t seed, Sampling sampling);

  // inputs, targets (count, T): sequences first_sequence .. first_sequence + count - 1 of the global batch of `step`
  // (evaluation: of batch number `step`). targets is inputs shifted by one token.
  void fill(int32_t* inputs, int32_t* targets, uint64_t step, uint64_t first_sequence, int count) const;

  // fill() of one step, as training_step.h's FillBatch.
  auto batch(uint64_t step) const {
    return [this, step](int32_t* inputs, int32_t* targets, uint64_t first_sequence, int count) {
      fill(inputs, targets, step, first_sequence, count);
    };
  }

  // Index of a window's first token: uniform over 0 .. tokens.size() - T - 1.
  uint64_t offset(uint64_t step, uint64_t sequence) const;

 private:
  TokenSpan tokens_;
  int T_;
  uint64_t seed_;
  Sampling sampling_;
};

// Adjacent windows over a whole split: every token but the first is predicted exactly once.
class SequentialWindows {
 public:
  SequentialWindows(TokenSpan tokens, int T);  // UserError unless there are 2 tokens or more

  uint64_t predictions() const { return tokens_.size() - 1; }
  uint64_t windows() const;  // the last may be shorter than T

  // inputs, targets (count, T): windows first_window .. first_window + count - 1. Returns n, the number of real
  // predictions: the first n of the count*T. The rest is filled with token 0 and must not be counted (a causal model's
  // losses before it do not depend on it).
  uint64_t fill(int32_t* inputs, int32_t* targets, uint64_t first_window, int count) const;

 private:
  TokenSpan tokens_;
  int T_;
};

}  // namespace glint
