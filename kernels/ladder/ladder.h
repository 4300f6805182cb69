// Attention in steps, from the definition to the product's kernel: each rung is one idea away from the last. CPU, fp32,
// one thread. README.md walks the ladder.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/attention.h"

namespace glint::ladder {

// A rung's scratch, in floats. What forward keeps of each head for backward comes first, head after head; then what a
// head needs while it is computed.
struct ScratchSize {
  size_t kept = 0;  // of each head
  size_t work = 0;
  constexpr size_t all(const AttentionShape& s) const { return static_cast<size_t>(s.B) * s.NH * kept + work; }
};

// Bytes that forward and backward move to and from memory, if a cache holds a few tiles (the definition: a few rows)
// and nothing else. Arrays of one number a row are left out.
struct Traffic {
  double forward, backward;
};

struct Rung {
  const char *name, *idea;
  ScratchSize (*scratch)(const AttentionShape& shape, bool dropout);
  // The scratch of backward is that of forward, as forward left it.
  void (*forward)(const AttentionForward<float>& a);
  void (*backward)(const AttentionBackward<float>& a);
  Traffic (*traffic)(const AttentionShape& shape, bool dropout);
};

// From the definition up.
std::span<const Rung> rungs();

// The definition in double: what the rungs are measured against. The inputs are those of `a`, whose results and scratch
// are not used. Returns the size of what cancels in dS = scale * P * (dP - D), the sum of the magnitudes, for the
// largest of all elements: its rounding stays in dQ and dK.
struct ResultsInDouble {
  HeadView<double> out, dq, dk, dv;
};
// bf16_elements: P after dropout and dS are rounded to bf16, as tensor cores take them, and the output that backward
// reads; nothing else is.
double attention_in_double(const ResultsInDouble& results, const AttentionBackward<float>& a, double* scratch,
                           bool bf16_elements = false);
inline size_t attention_in_double_scratch(const AttentionShape& s) {
  return 3 * static_cast<size_t>(s.B) * static_cast<size_t>(s.NKV) * static_cast<size_t>(s.S);
}

}  // namespace glint::ladder
