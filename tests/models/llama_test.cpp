#include "models/llama.h"

#include <cmath>

#include <doctest/doctest.h>

#include "tests/models/tiny_gpt.h"

using namespace glint;
using test::distance;
using test::TinyRun;

TEST_CASE("Llama: tensors have the names and shapes of Hugging Face's LlamaForCausalLM") {
  GptConfig config;
  config.kind = ModelKind::llama;
  config.vocab = 10, config.layers = 1, config.heads = 12, config.kv_heads = 4, config.embd = 768;
  config.tied = false, config.vocab_multiple = 16;
  CHECK(config.hidden() == 2048);
  const auto model = make_model(config, CpuContext{}, DType::f32, Weights::laid_out);
  const std::vector<std::pair<std::string, Shape>> expected = {
      {"model.embed_tokens.weight", {10, 768}},
      {"model.layers.0.input_layernorm.weight", {768}},
      {"model.layers.0.self_attn.q_proj.weight", {768, 768}},
      {"model.layers.0.self_attn.k_proj.weight", {256, 768}},
      {"model.layers.0.self_attn.v_proj.weight", {256, 768}},
      {"model.layers.0.self_attn.o_proj.weight", {768, 768}},
      {"model.layers.0.post_attention_layernorm.weight", {768}},
      {"model.layers.0.mlp.gate_proj.weight", {2048, 768}},
      {"model.layers.0.mlp.up_proj.weight", {2048, 768}},
      {"model.layers.0.mlp.down_proj.weight", {768, 2048}},
      {"model.norm.weight", {768}},
      {"lm_head.weight", {10, 768}}};
  size_t i = 0;
  for (const Parameter& parameter : model->parameters().all())
    for (const NamedTensor& tensor : parameter.tensors()) {
      REQUIRE(i < expected.size());
      CHECK(tensor.name == expected[i].first);
      CHECK(tensor.shape == expected[i].second);
      CHECK(tensor.offset % 16 == 0);
      ++i;
    }
  CHECK(i == expected.size());
}

TEST_CASE("[threads] Llama: gradients agree with finite differences along random directions, dropout on") {
  GptConfig config = test::with_dropout(test::tiny_llama(), 0.2f);
  for (const bool qk_norm : {false, true}) {
    config.qk_norm = qk_norm;
    TinyRun run(config, 4, 4);
    Parameters& parameters = run.model.parameters();
    test::RandomInputs inputs(23);
    INFO("seed ", inputs.seed);
    const std::vector<float> noise = inputs.normal(parameters.elements(), 0.1f);
    for (size_t i = 0; i < parameters.elements(); ++i) parameters.values()[i] += noise[i];
    run.run();
    const std::vector<float> gradient = run.gradients(),
                             start(parameters.values(), parameters.values() + parameters.elements());
    for (int direction = 0; direction < 4; ++direction) {
      const std::vector<float> d = inputs.normal(parameters.elements());
      double slope = 0, ends[2];
      for (size_t i = 0; i < d.size(); ++i) slope += static_cast<double>(gradient[i]) * d[i];
      const float h = 3e-4f;  // small: QK norm makes the loss curved
      for (int side : {0, 1}) {
        for (size_t i = 0; i < d.size(); ++i) parameters.values()[i] = start[i] + (side ? h : -h) * d[i];
        ends[side] = run.run();
      }
      std::copy(start.begin(), start.end(), parameters.values());
      CHECK((ends[1] - ends[0]) / (2 * static_cast<double>(h)) == doctest::Approx(slope).epsilon(0.01));
    }
  }
}

TEST_CASE("[threads] Llama: micro-batches, recompute and the loss by chunks change memory, not results") {
  GptConfig config = test::with_dropout(test::tiny_llama(), 0.2f);
  config.qk_norm = true;
  TinyRun whole(config, 6, 6), cut(config, 6, 2), again(config, 6, 2, true),
      chunks(config, 6, 2, true, AttentionKind::flash, 2, 7);
  const double loss = whole.run(), micro = cut.run(true);
  CHECK(micro == doctest::Approx(loss).epsilon(2e-6));
  CHECK(distance(whole.gradients(), cut.gradients()) < 2e-6);
  CHECK(again.run(true) == micro);
  CHECK(again.gradients() == cut.gradients());
  CHECK(again.arena.bytes() < cut.arena.bytes());
  CHECK(chunks.run(true) == doctest::Approx(loss).epsilon(2e-6));
  CHECK(distance(whole.gradients(), chunks.gradients()) < 2e-6);
  TinyRun reference(config, 6, 6, false, AttentionKind::reference);
  CHECK(reference.run() == doctest::Approx(loss).epsilon(1e-6));
  CHECK(distance(whole.gradients(), reference.gradients()) < 1e-5);
}

TEST_CASE("Llama: FLOPs per token, three products of 8/3 C in a layer") {
  const GptConfig config = test::tiny_llama();
  const double C = config.embd, T = 10, H = config.hidden();
  const double per_layer = C * config.qkv_width() + C * C + 3 * C * H + T * C;
  CHECK(Llama(config).flops_per_token(10) == doctest::Approx(6 * (config.layers * per_layer + C * config.vocab)));
}

TEST_CASE("Llama: options of the other kind are refused") {
  const auto refused = [](auto change, GptConfig config) {
    change(config);
    try {
      config.validate();
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refused([](GptConfig& c) { c.bias = true; }, test::tiny_llama()).find("`bias`") != std::string::npos);
  CHECK(refused([](GptConfig& c) { c.activation = Gelu::tanh; }, test::tiny_llama()).find("`activation`") !=
        std::string::npos);
  CHECK(refused([](GptConfig& c) { c.rope_theta = 5e5f; }, test::tiny_config()).find("`rope_theta`") !=
        std::string::npos);
  CHECK(refused([](GptConfig& c) { c.rope_theta = 5e5f; }, test::tiny_llama()).empty());
}
