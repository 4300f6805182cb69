#include "kernels/sampling.h"

#include <cmath>
#include <map>

#include "tests/kernels/guarded.h"

namespace glint::test {
namespace {

// The tokens of sequences stream, stream + 1, ...: rows of logits (rows, V), all at `index`.
template <typename Scalar>
std::vector<int32_t> draw(const Context& ctx, const SamplingOptions& options, const std::vector<float>& logits,
                          int rows, uint64_t index, size_t offset = 0, std::vector<uint8_t> seen = {}) {
  const Guarded<Scalar> from(logits, offset);
  Drawing drawing{rows, static_cast<int>(logits.size()) / rows, index};
  const Buffer<uint8_t> seen_before(seen.empty() ? std::vector<uint8_t>(1) : seen);
  if (!seen.empty()) drawing.seen = seen_before.data();
  const Buffer<char> scratch(draw_tokens_scratch(ctx, drawing) + 1);
  const Buffer<int32_t> tokens(static_cast<size_t>(rows)), record(static_cast<size_t>(rows));
  draw_tokens<Scalar>(ctx, tokens.data(), record.data(), from.data(), scratch.data(), drawing, options);
  CHECK(tokens.to_host() == record.to_host());
  if (!seen.empty()) {  // each row's token is added, and nothing else
    const auto drawn = tokens.to_host();
    for (size_t b = 0; b < drawn.size(); ++b)
      seen[b * static_cast<size_t>(drawing.vocab) + static_cast<size_t>(drawn[b])] = 1;
    CHECK(seen_before.to_host() == seen);
  }
  return tokens.to_host();
}

constexpr int kDraws = kOnCpu || kOnGpu ? 20000 : 40;

// kDraws draws from the same logits, as that many sequences.
std::map<int32_t, int> counts(SamplingOptions options, const std::vector<float>& logits,
                              const std::vector<uint8_t>& seen = {}) {
  std::vector<float> all;
  std::vector<uint8_t> all_seen;
  for (int i = 0; i < kDraws; ++i) {
    all.insert(all.end(), logits.begin(), logits.end());
    all_seen.insert(all_seen.end(), seen.begin(), seen.end());
  }
  std::map<int32_t, int> result;
  for (const int32_t token : draw<float>({}, options, all, kDraws, 0, 0, all_seen)) ++result[token];
  return result;
}

}  // namespace

TEST_CASE("sampling: draws follow the softmax of logits / temperature") {
  const std::vector<float> logits = {0.0f, 1.0f, -1.0f, 2.0f};
  for (float temperature : {0.5f, 1.0f, 2.0f}) {
    auto seen = counts({.temperature = temperature}, logits);
    double total = 0;
    for (float logit : logits) total += std::exp(logit / temperature);
    for (int token = 0; token < 4; ++token) {
      const double p = std::exp(logits[static_cast<size_t>(token)] / temperature) / total;
      CHECK(std::abs(seen[token] - kDraws * p) < 5 * std::sqrt(kDraws * p * (1 - p)));
    }
  }
}

TEST_CASE("sampling: temperature 0 takes the likeliest token, the first one of ties") {
  CHECK(counts({.temperature = 0}, {1, 3, 3, 2}) == std::map<int32_t, int>{{1, kDraws}});
}

TEST_CASE("sampling: top-k keeps the k likeliest tokens") {
  const auto seen = counts({.top_k = 2}, {0.0f, 0.5f, -1.0f, 1.0f});
  CHECK(seen.size() == 2);
  CHECK(seen.contains(1));
  CHECK(seen.contains(3));
  CHECK(counts({.top_k = 100}, {0.0f, 0.5f}).size() == 2);
}

TEST_CASE("sampling: top-p keeps the smallest set of likeliest tokens with probability p") {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  CHECK(counts({.top_p = 0.45f}, logits).size() == 1);
  CHECK(counts({.top_p = 0.7f}, logits).size() == 2);
  CHECK(counts({.top_p = 0.9f}, logits).size() == 3);
  CHECK(counts({.top_p = 1.0f}, logits).size() == 4);
}

TEST_CASE("sampling: min-p keeps tokens that are at least that times as likely as the likeliest") {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  for (const int top_k : {0, 3}) {  // 3: the list of the likeliest
    CHECK(counts({.top_k = top_k, .min_p = 0.61f}, logits).size() == 1);
    CHECK(counts({.top_k = top_k, .min_p = 0.59f}, logits).size() == 2);
    CHECK(counts({.top_k = top_k, .top_p = 0.7f, .min_p = 0.2f}, logits).size() == 2);
  }
  CHECK(counts({.min_p = 0.09f}, logits).size() == 4);
  CHECK(counts({.temperature = 10, .min_p = 0.6f}, logits).size() == 4);  // of probabilities after the temperature
  CHECK(counts({.min_p = 1}, logits) == std::map<int32_t, int>{{0, kDraws}});
}

TEST_CASE("sampling: the repetition penalty divides positive logits of tokens seen, multiplies negative ones") {
  const std::vector<float> logits = {3, 2, -1, -2};
  const auto likeliest = [&](float penalty, const std::vector<uint8_t>& seen, int32_t never = -1) {
    const auto all = counts({.temperature = 0, .repetition_penalty = penalty, .never = never}, logits, seen);
    CHECK(all.size() == 1);
    return all.begin()->first;
  };
  CHECK(likeliest(1.4f, {1, 0, 0, 0}) == 0);
  CHECK(likeliest(1.6f, {1, 0, 0, 0}) == 1);
  CHECK(likeliest(1.6f, {1, 1, 0, 0}) == 0);
  CHECK(likeliest(0.5f, {0, 1, 0, 0}) == 1);  // below 1: likelier
  const auto drawn = counts({.repetition_penalty = 1e6f}, {0.5f, -1, -1, 0.0f}, {1, 1, 0, 1});
  CHECK(drawn.size() == 3);  // -1 times 1e6
  CHECK(!drawn.contains(1));
}

TEST_CASE("sampling: the repetition penalty of rows with columns of padding") {
  const Buffer<float> logits(std::vector<float>{3, 2, 1, 99, 99, 1, 3, 2, 99, 99});
  const Buffer<uint8_t> seen(std::vector<uint8_t>{1, 0, 0, 0, 0, 1});
  const Buffer<int32_t> tokens(2), record(2);
  const Drawing drawing{2, 3, 0, 5, seen.data()};
  const Buffer<char> scratch(draw_tokens_scratch(Context{}, drawing) + 1);
  draw_tokens<float>(Context{}, tokens.data(), record.data(), logits.data(), scratch.data(), drawing,
                     {.temperature = 0, .repetition_penalty = 2});
  CHECK(tokens.to_host() == std::vector<int32_t>{1, 1});
  CHECK(seen.to_host() == std::vector<uint8_t>{1, 1, 0, 0, 1, 1});
}

TEST_CASE("sampling: a token can be excluded") {
  CHECK(counts({.never = 1}, {0.0f, 50.0f, 0.0f}).size() == 2);
  CHECK(counts({.temperature = 0, .never = 1}, {0.0f, 50.0f, 1.0f}) == std::map<int32_t, int>{{2, kDraws}});
}

TEST_CASE("sampling: invalid sampling options are errors") {
  CHECK_THROWS_AS(SamplingOptions({.temperature = -1}).validate(), UserError);
  CHECK_THROWS_AS(SamplingOptions({.temperature = std::nanf("")}).validate(), UserError);
  CHECK_THROWS_AS(SamplingOptions({.top_k = -1}).validate(), UserError);
  CHECK_THROWS_AS(SamplingOptions({.top_p = 0}).validate(), UserError);
  CHECK_THROWS_AS(SamplingOptions({.top_p = 1.5f}).validate(), UserError);
  CHECK_THROWS_AS(SamplingOptions({.min_p = -0.1f}).validate(), UserError);
  CHECK_THROWS_AS(SamplingOptions({.repetition_penalty = 0}).validate(), UserError);
}

TEST_CASE("sampling: columns of padding are never drawn, and change no draw") {
  RandomInputs inputs(2712);
  INFO("seed ", inputs.seed);
  for (const auto& [V, columns] : {std::pair{5, 8}, {65, 128}, {1503, 1536}}) {
    const auto logits = inputs.normal(static_cast<size_t>(2 * V), 2.0f);
    std::vector<float> padded(static_cast<size_t>(2 * columns), 1e4f);
    for (int b = 0; b < 2; ++b) std::copy_n(logits.begin() + b * V, V, padded.begin() + b * columns);
    for (const SamplingOptions& options :
         {SamplingOptions{}, {.temperature = 0.0f}, {.top_k = 3, .never = 1}, {.top_k = 40, .top_p = 0.8f}}) {
      const Buffer<float> from(padded);
      const Drawing drawing{2, V, 3, columns};
      const Buffer<char> scratch(draw_tokens_scratch(Context{}, drawing) + 1);
      const Buffer<int32_t> tokens(2), record(2);
      draw_tokens<float>(Context{}, tokens.data(), record.data(), from.data(), scratch.data(), drawing, options);
      CHECK(tokens.to_host() == draw<float>({}, options, logits, 2, 3));
    }
  }
}

TEST_CASE("sampling: each backend draws the CPU's tokens; a row's token does not depend on other rows") {
  RandomInputs inputs(2711);
  INFO("seed ", inputs.seed);
  for (const int V : {1, 5, 65, 300, 1503, 17000}) {
    const int rows = V > 2000 ? 1 : kOnCpu || kOnGpu ? 9 : 2;
    auto logits = inputs.normal(static_cast<size_t>(rows * V), 2.0f);
    for (size_t i = 0; i + 3 < logits.size(); i += 7) logits[i] = logits[i + 3];  // ties
    const std::vector<SamplingOptions> all = {{},
                                              {.temperature = 0.0f},
                                              {.temperature = 0.7f, .top_k = 3, .never = 2},
                                              {.temperature = 1.3f, .top_k = 40, .top_p = 0.8f},
                                              {.top_k = 290, .top_p = 0.95f, .never = 4},
                                              {.top_p = 0.9f},
                                              {.top_k = 20, .top_p = 0.9f, .min_p = 0.1f},
                                              {.top_p = 0.95f, .min_p = 0.05f, .repetition_penalty = 1.3f},
                                              {.temperature = 0.5f, .min_p = 0.02f, .repetition_penalty = 0.8f},
                                              {.top_p = 1e-6f, .seed = 7, .stream = 3}};
    std::vector<uint8_t> some(logits.size());
    for (size_t i = 0; i < some.size(); ++i) some[i] = inputs.below(3) == 0;
    for (SamplingOptions options : all) {
      const std::vector<uint8_t> seen = options.repetition_penalty == 1 ? std::vector<uint8_t>() : some;
      if (V == 1) options.never = -1;
      INFO("V ", V, ", temperature ", options.temperature, ", top_k ", options.top_k, ", top_p ", options.top_p,
           ", min_p ", options.min_p, ", repetition penalty ", options.repetition_penalty);
      const uint64_t index = 3;
      const auto check = [&]<typename Scalar>(Scalar, size_t offset) {
        const auto values = rounded<Scalar>(logits);
        const auto got = draw<Scalar>({}, options, values, rows, index, offset, seen);
        std::vector<int32_t> expected(static_cast<size_t>(rows)), record = expected;
        std::vector<char> scratch(draw_tokens_scratch(CpuContext{}, {rows, V, index}));
        auto seen_by_cpu = seen;
        draw_tokens<float>(CpuContext{}, expected.data(), record.data(), values.data(), scratch.data(),
                           {rows, V, index, V, seen.empty() ? nullptr : seen_by_cpu.data()}, options);
        CHECK(got == expected);
        SamplingOptions last = options;
        last.stream += static_cast<uint64_t>(rows - 1);
        const std::vector<uint8_t> last_seen(seen.empty() ? seen.end() : seen.end() - V, seen.end());
        CHECK(draw<Scalar>({}, last, {values.end() - V, values.end()}, 1, index, 0, last_seen).back() ==
              expected.back());
      };
      check(0.0f, V % 2);  // aligned too
      check(Bf16{}, V % 2 * 3);
    }
  }
  const auto logits = inputs.normal(3 * 77);
  const SamplingOptions options{.top_k = 9, .top_p = 0.9f};
  const auto once = draw<float>({}, options, logits, 3, 5);
  in_every_order([&](const Context& ctx) { CHECK(draw<float>(ctx, options, logits, 3, 5) == once); });
}

}  // namespace glint::test
