// Counts launches and synchronisations of a training step on the emulated GPU (kernels/simt/).
#include <doctest/doctest.h>

#include "tests/train/cuda/tiny_training.h"
#include "train/checkpoint/team_checkpoint.h"

using namespace glint;
using namespace glint::test;

TEST_CASE("cuda training: a pass whose results are thrown away changes nothing") {
  const Emulated emulated;
  const auto trained = [](bool warmed_up) {
    Gpt model(tiny(0.1f), Device::cuda(), DType::bf16);
    model.initialize(1);
    TrainingStep step(model, settings(2), {.seed = 5});
    const FillBatch fill = [&](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
      batch_of(step.rng().step, tokens, targets, first, count);
    };
    if (warmed_up) step.warm_up(fill);
    for (int i = 0; i < 3; ++i) step.run(fill, 1e-3);
    CHECK(step.result().step == 3);
    return std::pair(checksum_of(model.parameters()), step.rng().offset);
  };
  CHECK(trained(true) == trained(false));
}

TEST_CASE("cuda training: a step is one launch of a graph, and the host waits only where it syncs") {
  const Emulated emulated;
  Gpt model(tiny(0.1f), Device::cuda(), DType::bf16);
  model.initialize(1);
  TrainingStep step(model, settings(2), {.seed = 5});
  const FillBatch fill = [&](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
    batch_of(0, tokens, targets, first, count);
  };
  for (int i = 0; i < 3; ++i) step.run(fill, 0.0);
  const simt::DeviceCounts before = simt::counts;
  for (int i = 0; i < 10; ++i) step.run(fill, 0.0);
  CHECK(simt::counts.graph_launches - before.graph_launches == 10);
  CHECK(simt::counts.synchronisations - before.synchronisations == 10);  // waits for a free slot of the double buffer
  CHECK(simt::counts.launches - before.launches == 20);                  // the upload of tokens, and the graph
  CHECK(simt::counts.allocated == before.allocated);
  // Each replay draws new masks: with a learning rate of 0 only they can change the loss.
  const double one = step.result().loss;
  step.run(fill, 0.0);
  CHECK(step.result().loss != one);
}
