#include "train/training_step.h"

#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "train/evaluator.h"
#include "train/schedule.h"

using namespace glint;

namespace {

GptConfig small_config() {
  GptConfig config;
  config.vocab = 13, config.context = 8, config.layers = 2, config.heads = config.kv_heads = 2, config.embd = 32;
  return config;
}

// Fixed sequences whose targets follow from their places.
void fixed_batch(int32_t* tokens, int32_t* targets, uint64_t first, int count) {
  for (int i = 0; i < count * 8; ++i) {
    const int place = static_cast<int>(first) * 8 + i;
    tokens[i] = (place * 5 + place / 7) % 13;
    targets[i] = (place * 3 + 1) % 13;
  }
}

}  // namespace

TEST_CASE("one batch is learnt by heart: its loss goes to nearly zero") {
  Gpt model(small_config());
  model.initialize(1);
  const CpuContext cpu{2, default_matmul_engine()};
  RngState rng{.seed = 1};
  AdamW adamw;
  adamw.weight_decay = 0;
  TrainingStep step(model, cpu, {3, 3, 8, AttentionKind::flash, false, adamw, 1.0}, rng);
  double loss = 0;
  for (int i = 0; i < 300; ++i) {
    const StepResult result = step.gradients(fixed_batch);
    REQUIRE(result.finite());
    loss = result.loss;
    step.update(result.gradient_norm, 1e-2);
  }
  CHECK(loss < 0.01);
  CHECK(rng.step == 300);
  Evaluator evaluator(model, cpu, 3, 8, AttentionKind::reference);
  CHECK(evaluator.mean_loss(fixed_batch, 1) < 0.01);
}

TEST_CASE("[threads] training is repeatable bit for bit, and whole batches equal micro-batches to rounding") {
  GptConfig config = small_config();
  config.embd_dropout = config.attn_dropout = config.resid_dropout = 0.1f;
  const auto train = [&](int micro_batch) {
    Gpt model(config);
    model.initialize(1);
    RngState rng{.seed = 1};
    TrainingStep step(model, {2, default_matmul_engine()}, {4, micro_batch, 8, AttentionKind::flash, false, {}, 1.0}, rng);
    std::vector<double> losses;
    for (int i = 0; i < 10; ++i) {
      const StepResult result = step.gradients(fixed_batch);
      losses.push_back(result.loss);
      step.update(result.gradient_norm, 1e-3);
    }
    return losses;
  };
  const auto whole = train(4), again = train(4), cut = train(1);
  CHECK(whole == again);
  for (size_t i = 0; i < whole.size(); ++i) CHECK(cut[i] == doctest::Approx(whole[i]).epsilon(2e-5));
}

TEST_CASE("each step draws new masks; a step's offsets depend on the batch, not on its cut") {
  GptConfig config = small_config();
  config.attn_dropout = 0.5f;
  Gpt model(config);
  model.initialize(1);
  RngState rng{.seed = 1};
  TrainingStep step(model, {1, default_matmul_engine()}, {4, 2, 8, AttentionKind::flash, false, {}, 1.0}, rng);
  const double first = step.gradients(fixed_batch).loss;
  CHECK(step.gradients(fixed_batch).loss == first);
  step.update(1.0, 0.0);  // a learning rate of 0: only the masks change
  CHECK(rng.offset == 2 * dropout_offsets(4, 2));
  CHECK(step.gradients(fixed_batch).loss != first);
}

TEST_CASE("a loss that is not finite is found, and its first tensor named") {
  Gpt model(small_config());
  model.initialize(1);
  RngState rng;
  TrainingStep step(model, {1, default_matmul_engine()}, {2, 1, 8, AttentionKind::flash, false, {}, 1.0}, rng);
  for (Parameter& parameter : model.parameters().all())
    if (parameter.name == "wpe.weight") parameter.data()[0] = std::numeric_limits<float>::infinity();
  CHECK_FALSE(step.gradients(fixed_batch).finite());
  CHECK(step.first_not_finite(fixed_batch) == "parameter wpe.weight");
}

TEST_CASE("learning rate: linear up, cosine down, then constant") {
  TrainOptions options;
  options.lr = 1.0, options.min_lr = 0.1, options.warmup = 9, options.lr_decay_steps = 109;
  CHECK(learning_rate(options, 0) == doctest::Approx(0.1));
  CHECK(learning_rate(options, 8) == doctest::Approx(0.9));
  CHECK(learning_rate(options, 9) == doctest::Approx(1.0));
  CHECK(learning_rate(options, 59) == doctest::Approx(0.55));
  CHECK(learning_rate(options, 109) == doctest::Approx(0.1));
  CHECK(learning_rate(options, 100000) == doctest::Approx(0.1));
}
