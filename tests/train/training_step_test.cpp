#include "train/training_step.h"

#include <cmath>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

#include "models/gpt.h"
#include "train/evaluator.h"
#include "train/schedule.h"

using namespace glint;

namespace {

GptConfig small_config() {
  GptConfig config;
  config.vocab = 13, config.context = 8, config.layers = 2, config.heads = config.kv_heads = 2, config.embd = 32;
  return config;
}

// Fixed sequences with targets that their positions determine.
void fixed_batch(int32_t* tokens, int32_t* targets, uint64_t first, int count) {
  for (int i = 0; i < count * 8; ++i) {
    const int place = static_cast<int>(first) * 8 + i;
    tokens[i] = (place * 5 + place / 7) % 13;
    targets[i] = (place * 3 + 1) % 13;
  }
}

}  // namespace

TEST_CASE("a batch is memorised: its loss becomes nearly zero") {
  Gpt model(small_config(), CpuContext{2, default_matmul_engine()});
  model.initialize(1);
  AdamW adamw;
  adamw.weight_decay = 0;
  TrainingStep step(model, {3, 3, 8, AttentionKind::flash, false, adamw, 1.0}, {.seed = 1});
  double loss = 0;
  for (int i = 0; i < 300; ++i) {
    step.run(fixed_batch, 1e-2);
    const StepResult result = step.result();
    REQUIRE(result.finite());
    loss = result.loss;
  }
  CHECK(loss < 0.01);
  CHECK(step.rng().step == 300);
  Evaluator evaluator(model, 3, 8, AttentionKind::reference);
  CHECK(evaluator.mean_loss(fixed_batch, 1) < 0.01);
}

TEST_CASE("[threads] training is bitwise repeatable, and micro-batches agree with whole batches up to rounding") {
  GptConfig config = small_config();
  config.embd_dropout = config.attn_dropout = config.resid_dropout = 0.1f;
  const auto train = [&](int micro_batch) {
    Gpt model(config, CpuContext{2, default_matmul_engine()});
    model.initialize(1);
    TrainingStep step(model, {4, micro_batch, 8, AttentionKind::flash, false, {}, 1.0}, {.seed = 1});
    std::vector<double> losses;
    for (int i = 0; i < 10; ++i) {
      step.run(fixed_batch, 1e-3);
      losses.push_back(step.result().loss);
    }
    return losses;
  };
  const auto whole = train(4), again = train(4), cut = train(1);
  CHECK(whole == again);
  for (size_t i = 0; i < whole.size(); ++i) CHECK(cut[i] == doctest::Approx(whole[i]).epsilon(2e-5));
}

TEST_CASE("Muon: a batch is memorised; micro-batches agree with whole batches") {
  const auto train = [&](int micro_batch, int steps) {
    Gpt model(small_config(), CpuContext{2, default_matmul_engine()});
    model.initialize(1);
    StepSettings settings{4, micro_batch, 8, AttentionKind::flash, false, {}, 1.0};
    settings.partition.muon = true;
    TrainingStep step(model, settings, {.seed = 1});
    for (int i = 0; i < steps; ++i) step.run(fixed_batch, 1e-2);
    return step.result().loss;
  };
  const double first = train(4, 1);
  CHECK(train(4, 20) < 0.25 * first);
  CHECK(train(1, 8) == doctest::Approx(train(4, 8)).epsilon(1e-4));
}

TEST_CASE("[threads] one rank with a communicator trains to the same bits as one without") {
  GptConfig config = small_config();
  config.attn_dropout = 0.2f;
  const auto comm = make_single_communicator();
  const auto train = [&](Communicator* team) {
    Gpt model(config);
    model.initialize(1);
    TrainingStep step(model, {4, 2, 8, AttentionKind::flash, false, {}, 1.0, true, team}, {.seed = 1});
    for (int i = 0; i < 5; ++i) step.run(fixed_batch, 1e-3);
    CHECK((step.exchanged().bytes > 0) == (team != nullptr));
    return std::vector<float>(model.parameters().values(), model.parameters().values() + model.parameters().elements());
  };
  CHECK(train(comm.get()) == train(nullptr));
}

TEST_CASE("each step draws new masks; its offsets do not depend on micro-batches") {
  GptConfig config = small_config();
  config.attn_dropout = 0.5f;
  Gpt model(config);
  model.initialize(1);
  TrainingStep step(model, {4, 2, 8, AttentionKind::flash, false, {}, 1.0}, {.seed = 1});
  const RngState start = step.rng();
  const auto loss = [&] {
    step.run(fixed_batch, 0.0);  // a learning rate of 0: only the masks change
    return step.result().loss;
  };
  const double first = loss();
  CHECK(step.rng().offset == 2 * dropout_offsets(4, 2));
  CHECK(loss() != first);
  step.restore(start);
  CHECK(loss() == first);
}

TEST_CASE("a loss that is not finite is found, and the first such tensor named") {
  Gpt model(small_config());
  model.initialize(1);
  TrainingStep step(model, {2, 1, 8, AttentionKind::flash, false, {}, 1.0}, {});
  step.run(fixed_batch, 1e-3);
  Parameter *wpe = nullptr, *wte = nullptr;
  for (Parameter& parameter : model.parameters().all()) {
    if (parameter.name == "wpe.weight") wpe = &parameter;
    if (parameter.name == "wte.weight") wte = &parameter;
  }
  wpe->data()[0] = std::numeric_limits<float>::infinity();
  const float before = wte->data()[0];
  for (int i = 0; i < 3; ++i) step.run(fixed_batch, 1e-3);  // the host may sync later: nothing changes any more
  const StepResult result = step.result();
  CHECK_FALSE(result.finite());
  CHECK(result.step == 1);
  CHECK(wte->data()[0] == before);
  CHECK(step.find_nonfinite(fixed_batch) == "parameter wpe.weight");
  CHECK(step.rng().step == 1);
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

TEST_CASE("learning rate: linear and wsd") {
  TrainOptions options;
  options.lr = 1.0, options.min_lr = 0.2, options.warmup = 9, options.lr_decay_steps = 109;
  options.schedule = Schedule::linear;
  CHECK(learning_rate(options, 0) == doctest::Approx(0.1));
  CHECK(learning_rate(options, 9) == doctest::Approx(1.0));
  CHECK(learning_rate(options, 34) == doctest::Approx(0.8));
  CHECK(learning_rate(options, 109) == doctest::Approx(0.2));

  options.schedule = Schedule::wsd, options.lr_decay_steps = 200, options.decay_part = 0.25;
  CHECK(learning_rate(options, 8) == doctest::Approx(0.9));
  for (int64_t step : {9, 100, 150}) CHECK(learning_rate(options, step) == 1.0);
  CHECK(learning_rate(options, 175) == doctest::Approx(0.6));
  CHECK(learning_rate(options, 199) == doctest::Approx(0.216));
  for (int64_t step : {200, 100000}) CHECK(learning_rate(options, step) == 0.2);
  options.decay_part = 0.99;  // no longer than what the warm-up leaves
  CHECK(learning_rate(options, 9) == 1.0);
  CHECK(learning_rate(options, 10) < 1.0);
  options.decay_part = 0;  // none: the rate drops
  CHECK(learning_rate(options, 199) == 1.0);
  CHECK(learning_rate(options, 200) == 0.2);
}
