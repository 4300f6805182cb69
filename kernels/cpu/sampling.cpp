#include "kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/check.h"
#include "kernels/cpu/parallel.h"

namespace glint {

void SamplingOptions::validate() const {
  GLINT_REQUIRE(temperature >= 0.0f && std::isfinite(temperature), "`temperature` ", temperature, " is not 0 or more");
  GLINT_REQUIRE(top_k >= 0, "`top_k` ", top_k, " is not 0 (all) or more");
  GLINT_REQUIRE(top_p > 0.0f && top_p <= 1.0f, "`top_p` ", top_p, " is not in (0, 1]");
  GLINT_REQUIRE(min_p >= 0.0f && min_p <= 1.0f, "`min_p` ", min_p, " is not in [0, 1]");
  GLINT_REQUIRE(repetition_penalty > 0.0f && std::isfinite(repetition_penalty), "`repetition_penalty` ",
                repetition_penalty, " is not above 0 (1: none)");
}

namespace {

struct Candidate {
  float weight;  // the logit, then exp(logit / temperature) relative to the largest
  int32_t token;
};

// Most likely first; ties by token, so that the order is deterministic.
bool more_likely(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

// candidates: all that may be drawn, with their logits; overwritten. point: in [0, 1).
int32_t draw(std::span<Candidate> candidates, double point, const SamplingOptions& options) {
  if (options.temperature == 0.0f) return std::min_element(candidates.begin(), candidates.end(), more_likely)->token;

  const auto most = static_cast<size_t>(options.top_k);
  const bool narrowed = most > 0 && most < candidates.size();
  if (narrowed) {
    std::nth_element(candidates.begin(), candidates.begin() + options.top_k, candidates.end(), more_likely);
    candidates = candidates.first(most);
  }
  if (narrowed || options.top_p < 1.0f) std::sort(candidates.begin(), candidates.end(), more_likely);

  float peak = candidates.front().weight;
  for (const Candidate& candidate : candidates) peak = std::max(peak, candidate.weight);
  double total = 0;
  for (Candidate& candidate : candidates) {
    candidate.weight = std::exp((candidate.weight - peak) / options.temperature);
    total += candidate.weight;
  }
  if (options.top_p < 1.0f) {  // the smallest set of the most likely tokens with a total probability of top_p
    double kept = 0;
    size_t n = 0;
    while (n < candidates.size() && kept < options.top_p * total) kept += candidates[n++].weight;
    candidates = candidates.first(n);
    total = kept;
  }
  if (options.min_p > 0.0f) {
    total = 0;
    for (Candidate& candidate : candidates) {
      if (candidate.weight < options.min_p) candidate.weight = 0;
      total += candidate.weight;
    }
  }
  point *= total;
  int32_t last = candidates.front().token;  // where rounding leaves `point` at the end
  for (const Candidate& candidate : candidates) {
    if (candidate.weight == 0) continue;
    last = candidate.token;
    point -= candidate.weight;
    if (point < 0) break;
  }
  return last;
}

}  // namespace

size_t draw_tokens_scratch(const CpuContext&, const Drawing& drawing) {
  return static_cast<size_t>(drawing.sequences) * static_cast<size_t>(drawing.vocab) * sizeof(Candidate);
}

template <typename Scalar>
void draw_tokens(const CpuContext& ctx, int32_t* tokens, int32_t* record, const Scalar* logits, void* scratch,
                 const Drawing& drawing, const SamplingOptions& options) {
  const auto V = static_cast<size_t>(drawing.vocab), B = static_cast<size_t>(drawing.sequences);
  parallel_ranges(ctx, B, 1, 4 * B * V, [&](Range range) {
    for (size_t b = range.begin; b < range.end; ++b) {
      Candidate* candidates = static_cast<Candidate*>(scratch) + b * V;
      const Scalar* row = logits + b * static_cast<size_t>(drawing.columns);
      size_t n = 0;
      for (size_t token = 0; token < V; ++token) {
        const auto number = static_cast<int32_t>(token);
        if (number == options.never) continue;
        const float logit = to_float(row[token]);
        const bool repeats = drawing.seen && drawing.seen[b * V + token];
        candidates[n++] = {repeats ? penalised(logit, options.repetition_penalty) : logit, number};
      }
      tokens[b] = record[b] =
          draw({candidates, n}, sampling_point(options.seed, options.stream + b, drawing.index), options);
      if (drawing.seen) drawing.seen[b * V + static_cast<size_t>(tokens[b])] = 1;
    }
  });
}

template void draw_tokens(const CpuContext&, int32_t*, int32_t*, const float*, void*, const Drawing&,
                          const SamplingOptions&);
template void draw_tokens(const CpuContext&, int32_t*, int32_t*, const Bf16*, void*, const Drawing&,
                          const SamplingOptions&);

}  // namespace glint
