#include "models/generate.h"

#include <cmath>
#include <set>

#include <doctest/doctest.h>

#include "tests/models/tiny_gpt.h"

using namespace glint;

namespace {

// Logits after `tokens` by a full forward pass without a cache.
std::vector<float> plain_logits(Model& model, const std::vector<int32_t>& tokens) {
  Graph g({.device = CpuContext{1, default_matmul_engine()}});
  const int T = static_cast<int>(tokens.size());
  const Tensor input = g.input("tokens", {1, T}, DType::i32);
  const Tensor logits = model.head(g, model.hidden(g, input, AttentionKind::reference));
  g.keep(logits);
  const DeviceMemory arena(g.plan(), "test");
  g.bind(arena.data());
  std::copy(tokens.begin(), tokens.end(), input.i32());
  g.forward();
  const float* last = logits.f32() + (T - 1) * model.vocab();
  return {last, last + model.vocab()};
}

std::unique_ptr<Model> large_weight_model(int context, GptConfig config = test::tiny_config()) {
  config.context = context;
  auto made = make_model(config, CpuContext{}, DType::f32);
  Model& model = *made;
  model.initialize(8);
  test::RandomInputs inputs(21);
  const auto noise = inputs.normal(model.parameters().elements(), 0.2f);
  for (size_t i = 0; i < noise.size(); ++i) model.parameters().values()[i] += noise[i];
  return made;
}

std::vector<int32_t> some_tokens(int count) {
  test::RandomInputs inputs(33);
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(inputs.below(23));
  return tokens;
}

}  // namespace

TEST_CASE("logits with a cache are those of a full forward pass") {
  for (const GptConfig& config : {test::tiny_config(), test::tiny_llama()}) {
    const auto model = large_weight_model(150, config);  // longer than two chunks
    Generator generator(*model);
    for (int length : {1, 2, 63, 64, 65, 129, 150}) {
      INFO("Llama ", config.kind == ModelKind::llama, ", length ", length);
      const auto tokens = some_tokens(length);
      const auto cached = generator.logits_after(tokens);
      const auto plain = plain_logits(*model, tokens);
      float largest = 0;
      for (float logit : plain) largest = std::max(largest, std::abs(logit));
      for (size_t i = 0; i < plain.size(); ++i) CHECK(std::abs(cached[i] - plain[i]) < 1e-5f * largest);
    }
  }
}

TEST_CASE("each greedy token is the likeliest one after all tokens before it, also beyond the context") {
  const auto owner = large_weight_model(12);
  Model& model = *owner;
  Generator generator(model);
  SamplingOptions greedy;
  greedy.temperature = 0;
  std::vector<int32_t> text = some_tokens(5);
  const size_t start = text.size();
  std::vector<int32_t> drawn;
  generator.generate(text, 40, greedy, [&](int, int32_t token) {
    drawn.push_back(token);
    return true;
  });
  REQUIRE(drawn.size() == 40);
  // The window of the cache: it grows to 12, then is cut to the last 6 and the new token.
  std::vector<int32_t> window = text;
  for (size_t i = 0; i < drawn.size(); ++i) {
    const auto logits = plain_logits(model, window);
    const float likeliest = *std::max_element(logits.begin(), logits.end());
    INFO("token ", i, " after a prompt of ", start);
    CHECK(logits[static_cast<size_t>(drawn[i])] >= likeliest - 1e-4f);
    window.push_back(drawn[i]);
    if (window.size() > 12) window.erase(window.begin(), window.end() - 6);
  }
}

TEST_CASE("generation: the repetition penalty is of the whole prompt and of the text so far; logits are the model's") {
  Gpt model = large_weight_model(12);
  Generator generator(model, 2), other(model);
  SamplingOptions greedy;
  greedy.temperature = 0, greedy.repetition_penalty = 1.5f;
  const std::vector<int32_t> prompt = some_tokens(20);  // longer than the context
  std::vector<int32_t> text = prompt, window(prompt.end() - 12, prompt.end());
  for (int turn = 0; turn < 2; ++turn, text = prompt, window.assign(prompt.end() - 12, prompt.end())) {
    generator.generate(
        prompt, 7, greedy,
        [&](int sequence, int32_t token) {
          const auto own = generator.logits(sequence);
          const auto expected = other.logits_after(window);
          CHECK(std::vector(own.begin(), own.end()) == std::vector(expected.begin(), expected.end()));
          std::vector<float> penalised(own.begin(), own.end());
          for (const int32_t seen : std::set(text.begin(), text.end())) {
            float& logit = penalised[static_cast<size_t>(seen)];
            logit = logit < 0 ? logit * 1.5f : logit / 1.5f;
          }
          CHECK(token == std::max_element(penalised.begin(), penalised.end()) - penalised.begin());
          if (sequence == 0) return true;
          text.push_back(token);
          if (window.size() == 12) window.erase(window.begin(), window.end() - 6);
          window.push_back(token);
          return true;
        },
        true);
  }
}

TEST_CASE("generation: the text depends on seed and stream; of a long prompt only the end is used") {
  const auto owner = large_weight_model(12);
  Model& model = *owner;
  Generator generator(model);
  const auto draw = [&](uint64_t seed, uint64_t stream, const std::vector<int32_t>& prompt) {
    SamplingOptions options;
    options.seed = seed, options.stream = stream;
    std::vector<int32_t> drawn;
    generator.generate(prompt, 30, options, [&](int, int32_t token) {
      drawn.push_back(token);
      return drawn.size() < 25;
    });
    return drawn;
  };
  const auto prompt = some_tokens(4);
  const auto first = draw(1, 0, prompt);
  CHECK(first.size() == 25);
  CHECK(draw(1, 0, prompt) == first);
  CHECK(draw(2, 0, prompt) != first);
  CHECK(draw(1, 1, prompt) != first);
  const auto longer = some_tokens(40);
  CHECK(draw(1, 0, longer) == draw(1, 0, {longer.end() - 12, longer.end()}));
}

TEST_CASE("[threads] generation: a text has the same bits alone and among others, beyond chunks and the context too") {
  for (const int context : {12, 80}) {  // 80: the end of the prompt, and what is kept of a full cache, take chunks
    const auto owner = large_weight_model(context);
    Model& model = *owner;
    const auto prompt = some_tokens(context - 3);
    const auto draw = [&](int sequences, uint64_t stream) {
      SamplingOptions options;
      options.seed = 5, options.stream = stream, options.top_k = 11;
      std::vector<std::vector<int32_t>> texts(static_cast<size_t>(sequences));
      Generator(model, sequences).generate(prompt, 90, options, [&](int sequence, int32_t token) {
        texts[static_cast<size_t>(sequence)].push_back(token);
        return true;
      });
      return texts;
    };
    const auto together = draw(5, 2);
    for (uint64_t b = 0; b < together.size(); ++b) CHECK(draw(1, 2 + b).front() == together[b]);
    CHECK(together[0] != together[1]);
  }
}

TEST_CASE("generation: a padded vocabulary gives the same texts, and its padding is never drawn") {
  GptConfig config = test::tiny_config();
  std::vector<int32_t> texts[2];
  for (const bool padded : {false, true}) {
    config.vocab_multiple = padded ? 64 : 1;
    Gpt model(config);
    model.initialize(8);
    Generator generator(model, 2);
    for (const SamplingOptions& options : {SamplingOptions{.temperature = 2.0f}, {.temperature = 0.0f}}) {
      generator.generate(some_tokens(5), 20, options, [&](int, int32_t token) {
        texts[padded].push_back(token);
        return true;
      });
    }
    CHECK(generator.logits_after(some_tokens(4)).size() == 23);
  }
  CHECK(texts[0].size() == 80);
  CHECK(texts[0] == texts[1]);
}
