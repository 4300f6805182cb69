// A model's gradients and the inputs of its attention, as the studies record them.
#include "train/study/studied_model.h"

#include <cmath>
#include <vector>

#include <doctest/doctest.h>

using namespace glint;

namespace {

StudiedModel trained(float dropout) {
  ShortTraining training{
      .config = {.context = 24, .layers = 2, .heads = 4, .kv_heads = 2, .embd = 32}, .batch = 4, .steps = 3};
  training.config.attn_dropout = dropout;
  int calls = 0;
  StudiedModel studied = train_shortly(training, [&](double share) { CHECK(share == ++calls / 3.0); });
  CHECK(calls == 3);
  return studied;
}

}  // namespace

TEST_CASE("recorded attention: the kernel gives the model's own gradients from it") {
  const StudiedModel studied = trained(0);
  const StudiedBatch batch{.T = 20, .sequences = 2};
  const std::vector<AttentionCase> layers = record_attention(studied, batch, 1);
  REQUIRE(layers.size() == 2);
  size_t layer = 2;
  int wrong = 0;
  gradient_of(*studied.model, studied, batch, {}, [&](const Node& node) {
    const AttentionCase& x = layers[--layer];
    CHECK(x.shape.B == 2);
    CHECK(x.shape.NKV == 2);
    const auto results = run_attention(CpuContext{}, DType::f32, AttentionKind::flash, x);
    const float *out = node.outputs[0].f32(), *dqkv = node.sinks[0].data();
    for (size_t i = 0; i < results.out.size(); ++i) wrong += results.out[i] != out[i];
    for (size_t row = 0; row < 40; ++row)
      for (size_t c = 0; c < 64; ++c)
        wrong += dqkv[row * 64 + c] != (c < 32   ? results.dq[row * 32 + c]
                                        : c < 48 ? results.dk[row * 16 + c - 32]
                                                 : results.dv[row * 16 + c - 48]);
  });
  CHECK(layer == 0);
  CHECK(wrong == 0);
}

TEST_CASE("a gradient does not depend on micro-batches and ranks, but for rounding") {
  const StudiedModel studied = trained(0.2f);
  const StudiedBatch batch{.T = 24, .sequences = 4};
  const auto whole = gradient_of(*studied.model, studied, batch, {});
  const auto distance = [&](const StudiedBatch& of, const GradientWay& way) {
    return relative_error(gradient_of(*studied.model, studied, of, way), {whole.begin(), whole.end()});
  };
  CHECK(distance(batch, {}) == 0);
  CHECK(distance(batch, {.recompute = true}) == 0);
  for (const GradientWay& way : {GradientWay{.parts = 4}, GradientWay{.ranks = 2}, GradientWay{.parts = 2, .ranks = 2},
                                 GradientWay{.attention = AttentionKind::reference}}) {
    CHECK(distance(batch, way) > 0);
    CHECK(distance(batch, way) < 1e-5);
  }
  CHECK(distance({.T = 24, .sequences = 4, .mask_seed = 2}, {}) > 0.01);
  CHECK(distance({.T = 24, .sequences = 4, .skip = 1}, {}) > 0.1);
  const auto in_bf16 = copy_in(DType::bf16, studied, 1);
  const double bf16 = relative_error(gradient_of(*in_bf16, studied, batch, {}), {whole.begin(), whole.end()});
  CHECK(bf16 > 1e-4);
  CHECK(bf16 < 0.1);
}
