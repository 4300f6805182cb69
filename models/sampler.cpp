#include "models/sampler.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/philox.h"

namespace glint {

void SamplingOptions::validate() const {
  GLINT_REQUIRE(temperature >= 0.0f && std::isfinite(temperature), "`temperature` ", temperature, " is not 0 or more");
  GLINT_REQUIRE(top_k >= 0, "`top_k` ", top_k, " is not 0 (all) or more");
  GLINT_REQUIRE(top_p > 0.0f && top_p <= 1.0f, "`top_p` ", top_p, " is not in (0, 1]");
}

Sampler::Sampler(const SamplingOptions& options) : options_(options) { options.validate(); }

namespace {

constexpr uint32_t kSampleDomain = 0x53414D50;  // "SAMP": separates these draws from other uses of the seed

// Uniform in [0, 1), 53 bits.
double uniform(const SamplingOptions& options, uint64_t index) {
  const PhiloxCounter r = philox4x32<10>(
      {low_word(index), high_word(index) ^ kSampleDomain, low_word(options.stream), high_word(options.stream)},
      philox_key(options.seed));
  return static_cast<double>((static_cast<uint64_t>(r.x) << 32 | r.y) >> 11) * 0x1p-53;
}

}  // namespace

int32_t Sampler::draw(std::span<const float> logits, uint64_t index) {
  candidates_.clear();
  for (int32_t token = 0; token < static_cast<int32_t>(logits.size()); ++token)
    if (token != options_.never) candidates_.emplace_back(logits[static_cast<size_t>(token)], token);
  // Most likely first; ties by token, so that the order is deterministic.
  const auto more_likely = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  if (options_.temperature == 0.0f)
    return std::min_element(candidates_.begin(), candidates_.end(), more_likely)->second;

  const bool narrowed = options_.top_k > 0 && static_cast<size_t>(options_.top_k) < candidates_.size();
  if (narrowed) {
    std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end(), more_likely);
    candidates_.resize(static_cast<size_t>(options_.top_k));
  }
  if (narrowed || options_.top_p < 1.0f) std::sort(candidates_.begin(), candidates_.end(), more_likely);

  float peak = candidates_.front().first;
  for (const auto& candidate : candidates_) peak = std::max(peak, candidate.first);
  double total = 0;
  for (auto& [weight, token] : candidates_) {
    weight = std::exp((weight - peak) / options_.temperature);
    total += weight;
  }
  if (options_.top_p < 1.0f) {  // the smallest set of the most likely tokens with a total probability of top_p
    double kept = 0;
    size_t n = 0;
    while (n < candidates_.size() && kept < options_.top_p * total) kept += candidates_[n++].first;
    candidates_.resize(n);
    total = kept;
  }
  double point = uniform(options_, index) * total;
  for (const auto& [weight, token] : candidates_) {
    point -= weight;
    if (point < 0) return token;
  }
  return candidates_.back().second;
}

}  // namespace glint
