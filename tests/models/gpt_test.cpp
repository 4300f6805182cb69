#include "models/gpt.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <set>

#include <doctest/doctest.h>

#include "tests/models/tiny_gpt.h"

using namespace glint;
using test::distance;
using test::TinyRun;

TEST_CASE("parameters have the names and shapes of Hugging Face's GPT-2") {
  GptConfig config;
  config.vocab = 50257, config.context = 1024, config.layers = 12, config.heads = config.kv_heads = 12,
  config.embd = 768;
  config.bias = true;
  const auto laid_out = make_model(config, CpuContext{}, DType::f32, Weights::laid_out);
  CHECK(laid_out->parameters().count() == 124439808);  // GPT-2 "124M", as its model card counts it
  CHECK(laid_out->parameters().bytes() == 0);
  config.layers = 1, config.vocab = 10, config.vocab_multiple = 1, config.context = 20;
  const Gpt model(config);
  const std::vector<std::pair<std::string, Shape>> expected = {{"wte.weight", {10, 768}},
                                                               {"wpe.weight", {20, 768}},
                                                               {"h.0.ln_1.weight", {768}},
                                                               {"h.0.ln_1.bias", {768}},
                                                               {"h.0.attn.c_attn.weight", {768, 2304}},
                                                               {"h.0.attn.c_attn.bias", {2304}},
                                                               {"h.0.attn.c_proj.weight", {768, 768}},
                                                               {"h.0.attn.c_proj.bias", {768}},
                                                               {"h.0.ln_2.weight", {768}},
                                                               {"h.0.ln_2.bias", {768}},
                                                               {"h.0.mlp.c_fc.weight", {768, 3072}},
                                                               {"h.0.mlp.c_fc.bias", {3072}},
                                                               {"h.0.mlp.c_proj.weight", {3072, 768}},
                                                               {"h.0.mlp.c_proj.bias", {768}},
                                                               {"ln_f.weight", {768}},
                                                               {"ln_f.bias", {768}}};
  REQUIRE(model.parameters().all().size() == expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(model.parameters().all()[i].name == expected[i].first);
    CHECK(model.parameters().all()[i].shape == expected[i].second);
  }
}

TEST_CASE("FLOPs per token: 6 per weight of a product, and causal attention") {
  const GptConfig config = test::tiny_config();
  const double C = config.embd, T = 10, per_layer = C * config.qkv_width() + C * C + 8 * C * C + T * C;
  CHECK(Gpt(config).flops_per_token(10) == doctest::Approx(6 * (config.layers * per_layer + C * config.vocab)));
}

TEST_CASE("initialisation: GPT-2's standard deviations, values by parameter name") {
  GptConfig config = test::tiny_config();
  config.embd = 64, config.heads = 8, config.layers = 2;
  Gpt model(config);
  model.initialize(1);
  for (const Parameter& parameter : model.parameters().all()) {
    const size_t n = parameter.shape.elements();
    if (parameter.shape.sizes.size() == 1) {
      for (size_t i = 0; i < n; ++i) CHECK(parameter.data()[i] == (parameter.name.ends_with(".bias") ? 0.0f : 1.0f));
      continue;
    }
    double mean = 0, square = 0;
    for (size_t i = 0; i < n; ++i)
      mean += parameter.data()[i], square += std::pow(static_cast<double>(parameter.data()[i]), 2);
    const double expected = parameter.name.ends_with("c_proj.weight") ? 0.02 / std::sqrt(4.0) : 0.02;
    const double spread = 1 / std::sqrt(static_cast<double>(n));
    CHECK(std::abs(mean / static_cast<double>(n)) < 5 * expected * spread);
    CHECK(std::sqrt(square / static_cast<double>(n)) == doctest::Approx(expected).epsilon(5 * spread));
  }
  config.layers = 3;
  config.vocab += 1;
  Gpt larger(config);
  larger.initialize(1);
  const Parameter &a = model.parameters().all()[4], &b = larger.parameters().all()[4];  // c_attn
  REQUIRE(a.name == b.name);
  CHECK(a.data()[5] == b.data()[5]);
  larger.initialize(2);
  CHECK(a.data()[5] != b.data()[5]);
}

// Written by glint 0.1.0, which drew them by another loop: a seed keeps its model.
TEST_CASE("[threads] initialisation: the values of earlier versions, on any number of threads") {
  const float wte[] = {-0x1.25da4ep-8f, 0x1.3411b6p-8f,  -0x1.92d07p-7f, -0x1.26d536p-7f,
                       -0x1.d1d612p-7f, -0x1.06da38p-5f, 0x1.863e46p-5f};
  const float c_proj[] = {0x1.d1eadcp-7f,  -0x1.bca844p-10f, 0x1.29cc6cp-7f, 0x1.bfc2b4p-8f,
                          -0x1.82718cp-7f, 0x1.31dfbcp-6f,   0x1.0d2fcp-7f};
  GptConfig config = test::tiny_config();
  config.embd = 64, config.heads = 8, config.layers = 2;
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    INFO("threads ", threads);
    Gpt model(config, CpuContext{threads});
    model.initialize(1337);
    for (const Parameter& parameter : model.parameters().all()) {
      const float* values = parameter.data();
      if (parameter.name == "wte.weight") CHECK(std::equal(std::begin(wte), std::end(wte), values));
      if (parameter.name == "h.0.mlp.c_proj.weight") CHECK(std::equal(std::begin(c_proj), std::end(c_proj), values));
    }
    const std::vector<float> all(model.parameters().values(),
                                 model.parameters().values() + model.parameters().elements());
    if (first.empty()) first = all;
    CHECK(all == first);
  }
}

TEST_CASE("a new model's loss is about ln V") {
  TinyRun run(test::tiny_config(), 4, 4);
  CHECK(run.run() == doctest::Approx(std::log(23.0)).epsilon(0.02));
}

TEST_CASE("[threads] gradients agree with finite differences along random directions, dropout on") {
  for (Gelu kind : {Gelu::erf, Gelu::tanh}) {
    GptConfig config = test::with_dropout(test::tiny_config(), 0.2f);
    config.activation = kind;
    TinyRun run(config, 4, 4);
    Parameters& parameters = run.model.parameters();
    test::RandomInputs inputs(3);
    INFO("seed ", inputs.seed);
    // Larger weights than in a new model, so that every part matters.
    const std::vector<float> noise = inputs.normal(parameters.elements(), 0.1f);
    for (size_t i = 0; i < parameters.elements(); ++i) parameters.values()[i] += noise[i];
    run.run();
    const std::vector<float> gradient = run.gradients(),
                             start(parameters.values(), parameters.values() + parameters.elements());
    for (int direction = 0; direction < 4; ++direction) {
      const std::vector<float> d = inputs.normal(parameters.elements());
      double slope = 0;
      for (size_t i = 0; i < d.size(); ++i) slope += static_cast<double>(gradient[i]) * d[i];
      const float h = 1e-3f;
      double ends[2];
      for (int side : {0, 1}) {
        for (size_t i = 0; i < d.size(); ++i) parameters.values()[i] = start[i] + (side ? h : -h) * d[i];
        ends[side] = run.run();
      }
      std::copy(start.begin(), start.end(), parameters.values());
      CHECK((ends[1] - ends[0]) / (2 * static_cast<double>(h)) == doctest::Approx(slope).epsilon(0.01));
    }
  }
}

TEST_CASE("[threads] a replay does not depend on arena contents of the one before") {
  TinyRun run(test::with_dropout(test::tiny_config(), 0.3f), 4, 2);
  const double loss = run.run();
  const auto gradients = run.gradients();
  CHECK(run.run(true) == loss);
  CHECK(run.gradients() == gradients);
}

TEST_CASE("[threads] micro-batches: the same masks, loss and gradients as the whole batch, to fp32 rounding") {
  const GptConfig config = test::with_dropout(test::tiny_config(), 0.2f);
  TinyRun whole(config, 6, 6);
  const double loss = whole.run();
  for (int micro : {1, 2, 3}) {
    TinyRun cut(config, 6, micro);
    CHECK(cut.graph.dropout_offsets_used() == whole.graph.dropout_offsets_used());
    CHECK(cut.run() == doctest::Approx(loss).epsilon(2e-6));
    CHECK(distance(whole.gradients(), cut.gradients()) < 2e-6);
  }
  // With other masks the loss differs: the comparison above can fail.
  whole.rng.offset += 1;
  CHECK(std::abs(whole.run() - loss) > 1e-4);
}

TEST_CASE("[threads] recompute: the same bits with less memory") {
  const GptConfig config = test::with_dropout(test::tiny_config(), 0.2f);
  for (AttentionKind kind : {AttentionKind::flash, AttentionKind::reference}) {
    TinyRun kept(config, 4, 2, false, kind), again(config, 4, 2, true, kind);
    CHECK(kept.run() == again.run(true));
    CHECK(kept.gradients() == again.gradients());
    CHECK(again.arena.bytes() < kept.arena.bytes());
  }
}

TEST_CASE("[threads] the loss by chunks of rows: the same up to rounding, over micro-batches and with recompute") {
  const GptConfig config = test::with_dropout(test::tiny_config(), 0.2f);
  TinyRun whole(config, 4, 4);
  const double loss = whole.run();
  for (const bool recompute : {false, true}) {
    TinyRun cut(config, 4, 2, recompute, AttentionKind::flash, 2, 7);
    CHECK(cut.run(true) == doctest::Approx(loss).epsilon(2e-6));
    const auto gradients = cut.gradients();
    CHECK(distance(whole.gradients(), gradients) < 2e-6);
    CHECK(cut.run() == doctest::Approx(loss).epsilon(2e-6));
    CHECK(cut.gradients() == gradients);
  }
}

TEST_CASE("flash and reference attention agree in training: the same masks, values up to rounding") {
  const GptConfig config = test::with_dropout(test::tiny_config(), 0.2f);
  TinyRun flash(config, 4, 4), reference(config, 4, 4, false, AttentionKind::reference);
  CHECK(flash.run() == doctest::Approx(reference.run()).epsilon(1e-6));
  CHECK(distance(flash.gradients(), reference.gradients()) < 1e-5);
}

TEST_CASE("evaluation has no dropout") {
  const GptConfig config = test::tiny_config();
  Gpt plain(config), dropping(test::with_dropout(config, 0.5f));
  std::vector<float> results[2];
  for (Gpt* model : {&plain, &dropping}) {
    model->initialize(4);
    Graph g({.device = CpuContext{1, default_matmul_engine()}});
    const Tensor tokens = g.input("tokens", {1, 12}, DType::i32);
    const Tensor logits = model->head(g, model->hidden(g, tokens, AttentionKind::flash));
    g.keep(logits);
    const DeviceMemory arena(g.plan(), "test");
    g.bind(arena.data());
    for (int t = 0; t < 12; ++t) tokens.i32()[t] = t;
    g.forward();
    CHECK(g.dropout_offsets_used() == 0);
    results[model == &dropping].assign(logits.f32(), logits.f32() + logits.shape().elements());
  }
  CHECK(results[0] == results[1]);
}

TEST_CASE("a vocabulary is padded to a multiple: the one given, or 8, from 1024 tokens on 64") {
  const auto padding = [](int vocab, int multiple) {
    return GptConfig{.vocab = vocab, .vocab_multiple = multiple}.vocab_padding();
  };
  CHECK(padding(65, 0) == 7);
  CHECK(padding(1016, 0) == 0);
  CHECK(padding(1024, 0) == 0);
  CHECK(padding(50257, 0) == 47);
  CHECK(padding(50257, 1) == 0);
  CHECK(padding(65, 64) == 63);
}

TEST_CASE("a padded vocabulary: the same parameters, losses and gradients; the padding stays 0 and is not counted") {
  GptConfig config = test::tiny_config(), wide = config;
  wide.vocab_multiple = 64;
  for (const bool tied : {true, false}) {
    config.tied = wide.tied = tied;
    TinyRun plain(config, 4, 2), padded(wide, 4, 2);
    CHECK(padded.model.parameters().count() == plain.model.parameters().count());
    CHECK(padded.run() == doctest::Approx(plain.run()).epsilon(1e-6));
    for (size_t i = 0; i < plain.model.parameters().all().size(); ++i) {
      const Parameter &a = plain.model.parameters().all()[i], &b = padded.model.parameters().all()[i];
      INFO(a.name);
      REQUIRE(a.name == b.name);
      const size_t n = a.shape.elements(), all = b.shape.elements();
      CHECK(all == (a.name == "wte.weight" || a.name == "lm_head.weight" ? size_t{64} * 32 : n));
      CHECK(std::equal(a.data(), a.data() + n, b.data()));
      const float *da = static_cast<float*>(a.gradient.data), *db = static_cast<float*>(b.gradient.data);
      CHECK(distance({da, da + n}, {db, db + n}) < 1e-5);
      CHECK(static_cast<size_t>(std::count(b.data() + n, b.data() + all, 0.0f)) == all - n);
      CHECK(static_cast<size_t>(std::count(db + n, db + all, 0.0f)) == all - n);
    }
  }
}

TEST_CASE("a head of its own, and another epsilon, change the losses; the tied model has the bits it had") {
  const double tied = TinyRun(test::tiny_config(), 2, 2).run();
  GptConfig config = test::tiny_config();
  config.tied = false;
  TinyRun untied(config, 2, 2);
  CHECK(std::abs(untied.run() - tied) > 1e-4);
  const Parameter& head = untied.model.parameters().all().back();
  CHECK(head.name == "lm_head.weight");
  CHECK(head.stored == Shape{23, 32});
  const float* gradient = static_cast<float*>(head.gradient.data);
  CHECK(std::count(gradient, gradient + 23 * 32, 0.0f) == 0);
  config = test::tiny_config();
  config.norm_epsilon = 0.1f;
  CHECK(std::abs(TinyRun(config, 2, 2).run() - tied) > 1e-5);
}

TEST_CASE("the first tensor with a NaN is named") {
  TinyRun run(test::tiny_config(), 2, 2);
  run.run();
  CHECK_FALSE(run.graph.find_nonfinite().has_value());
  Parameter* broken = nullptr;
  for (Parameter& parameter : run.model.parameters().all())
    if (parameter.name == "h.1.mlp.c_fc.weight") broken = &parameter;
  REQUIRE(broken);
  broken->data()[3] = std::nanf("");
  CHECK(run.graph.find_nonfinite() == "parameter h.1.mlp.c_fc.weight");
  // Finite weights whose product overflows: the first value that overflows is named.
  for (size_t i = 0; i < broken->shape.elements(); ++i) broken->data()[i] = 3e38f;
  const auto name = run.graph.find_nonfinite();
  REQUIRE(name.has_value());
  CHECK(name->starts_with("h.1."));
}

TEST_CASE("errors about impossible shapes name the field") {
  const auto message = [](auto change) -> std::string {
    GptConfig config = test::tiny_config();
    change(config);
    try {
      Gpt model(config);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  CHECK(message([](GptConfig& c) { c.heads = 5; }).find("`embd` 32 is not a multiple of `heads` 5") !=
        std::string::npos);
  CHECK(message([](GptConfig& c) { c.kv_heads = 3; }).find("`kv_heads` 3") != std::string::npos);
  CHECK(message([](GptConfig& c) { c.embd = 4; }).find("at least 8 channels") != std::string::npos);
  CHECK(message([](GptConfig& c) { c.embd = 16; }).find("channels per head") != std::string::npos);
  CHECK(message([](GptConfig& c) { c.attn_dropout = 1.0f; }).find("`attn_dropout` 1 ") != std::string::npos);
  CHECK(message([](GptConfig& c) { c.resid_dropout = std::nanf(""); }).find("`resid_dropout`") != std::string::npos);
  CHECK(message([](GptConfig& c) { c.layers = 0; }).find("`layers` 0") != std::string::npos);
  CHECK(message([](GptConfig&) {}).empty());
}
