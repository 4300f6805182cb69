#include "models/sampler.h"

#include <cmath>
#include <map>

#include <doctest/doctest.h>

#include "kernels/check.h"

using namespace glint;

namespace {

std::map<int32_t, int> counts(SamplingOptions options, const std::vector<float>& logits, int draws = 20000) {
  Sampler sampler(options);
  std::map<int32_t, int> result;
  for (int i = 0; i < draws; ++i) ++result[sampler.draw(logits, static_cast<uint64_t>(i))];
  return result;
}

}  // namespace

TEST_CASE("draws follow the softmax of logits / temperature") {
  const std::vector<float> logits = {0.0f, 1.0f, -1.0f, 2.0f};
  for (float temperature : {0.5f, 1.0f, 2.0f}) {
    const auto seen = counts({.temperature = temperature}, logits);
    double total = 0;
    for (float logit : logits) total += std::exp(logit / temperature);
    for (int token = 0; token < 4; ++token) {
      const double p = std::exp(logits[static_cast<size_t>(token)] / temperature) / total;
      const double expected = 20000 * p, deviation = std::sqrt(20000 * p * (1 - p));
      CHECK(std::abs((seen.contains(token) ? seen.at(token) : 0) - expected) < 5 * deviation);
    }
  }
}

TEST_CASE("temperature 0 takes the likeliest token, the first one of ties") {
  CHECK(counts({.temperature = 0}, {1, 3, 3, 2}) == std::map<int32_t, int>{{1, 20000}});
}

TEST_CASE("top-k keeps the k likeliest tokens") {
  const auto seen = counts({.top_k = 2}, {0.0f, 0.5f, -1.0f, 1.0f});
  CHECK(seen.size() == 2);
  CHECK(seen.contains(1));
  CHECK(seen.contains(3));
  CHECK(counts({.top_k = 100}, {0.0f, 0.5f}).size() == 2);
}

TEST_CASE("top-p keeps the smallest set of likeliest tokens with probability p") {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  CHECK(counts({.top_p = 0.45f}, logits).size() == 1);
  CHECK(counts({.top_p = 0.7f}, logits).size() == 2);
  CHECK(counts({.top_p = 0.9f}, logits).size() == 3);
  CHECK(counts({.top_p = 1.0f}, logits).size() == 4);
}

TEST_CASE("a token can be excluded") {
  CHECK(counts({.never = 1}, {0.0f, 50.0f, 0.0f}).size() == 2);
  CHECK(counts({.temperature = 0, .never = 1}, {0.0f, 50.0f, 1.0f}) == std::map<int32_t, int>{{2, 20000}});
}

TEST_CASE("invalid sampling options are errors") {
  CHECK_THROWS_AS(Sampler({.temperature = -1}), UserError);
  CHECK_THROWS_AS(Sampler({.temperature = std::nanf("")}), UserError);
  CHECK_THROWS_AS(Sampler({.top_k = -1}), UserError);
  CHECK_THROWS_AS(Sampler({.top_p = 0}), UserError);
  CHECK_THROWS_AS(Sampler({.top_p = 1.5f}), UserError);
}
