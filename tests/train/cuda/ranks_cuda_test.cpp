// glint train with several ranks, one GPU each: emulated with a stand-in for NCCL, or on real GPUs in tests/gpu/. Also
// the gradient exchange of a single rank inside the CUDA graph, which needs only one GPU.
#include <doctest/doctest.h>

#include "src/comm/collective_queue.h"
#include "tests/train/cuda/cuda_program.h"
#include "tests/train/cuda/tiny_training.h"
#include "tests/train/metrics.h"

using namespace glint;
using namespace glint::test;

namespace {

size_t gpus() {
  std::string fault;
  return gpus_here(fault).size();
}
bool emulated() {  // has any number of devices
  std::string fault;
  return gpus() > 0 && gpus_here(fault)[0].name == "emulated GPU";
}

bool can_share() { return !nccl_version().empty(); }

}  // namespace

TEST_CASE(
    "train --device cuda --ranks 2: the losses of one process, in both dtypes, with and without --zero 1 and --graph" *
    doctest::skip(!can_share())) {
  if (gpus() < 2 && !emulated()) return;
  const EmulatedDevice device("late guarded devices=2");
  ScratchFolder folder;
  write_text(folder);
  for (const char* dtype : {"fp32", "bf16"}) {
    const Arguments on_gpu = {"--device", "cuda", "--dtype", dtype};
    const auto train = [&](const std::string& name, const Arguments& more, const std::string& steps = "12") {
      const auto ran = run_program(join(tiny_run(folder, name + dtype, steps, on_gpu), more));
      INFO(name, " ", dtype, ": ", ran.err);
      REQUIRE(ran.code == 0);
      return losses_of(folder / (name + dtype));
    };
    const auto one = train("one", {});
    const double tolerance = dtype == std::string("bf16") ? 1e-2 : 1e-4;
    const auto check = [&](const std::vector<double>& losses) {
      REQUIRE(losses.size() == one.size());
      for (size_t i = 0; i < one.size(); ++i) CHECK(losses[i] == doctest::Approx(one[i]).epsilon(tolerance));
    };
    if (dtype == std::string("fp32")) check(train("two", {"--ranks", "2"}));
    check(train("zero", {"--ranks", "2", "--zero", "1", "--bucket-mb", "0.01"}));
    check(train("plain", {"--ranks", "2", "--zero", "1", "--bucket-mb", "0.01", "--graph", "false"}));
    // The same bits with and without a graph; on real GPUs NCCL does not guarantee the same order of additions.
    if (emulated())
      CHECK(losses_of(folder / (std::string("zero") + dtype)) == losses_of(folder / (std::string("plain") + dtype)));
    // From two GPUs with shards to one, and back to two without.
    const std::string cut = std::string("cut") + dtype;
    train("cut", {"--ranks", "2", "--zero", "1"}, "4");
    for (const Arguments& leg :
         {Arguments{"--ranks", "1", "--zero", "0", "--steps", "8"}, Arguments{"--ranks", "2", "--steps", "12"}}) {
      const auto ran = run_program(join({"train", "--resume", folder / cut}, leg));
      INFO(ran.err);
      REQUIRE(ran.code == 0);
    }
    CHECK(losses_of(folder / cut).back() == doctest::Approx(one.back()).epsilon(tolerance));
  }
}

TEST_CASE("train --device cuda --ranks 3 on two GPUs: the error names the rank without a GPU" *
          doctest::skip(!can_share())) {
  const EmulatedDevice device("devices=2");
  const size_t there = emulated() ? 2 : gpus();
  ScratchFolder folder;
  write_text(folder);
  const std::string ranks = std::to_string(there + 1), batch = std::to_string(2 * (there + 1));
  const auto ran = run_program({"train", "--device", "cuda", "--ranks", ranks, "--batch", batch, "--out",
                                folder / "run", "--data", folder / "text.txt"});
  INFO(ran.err);
  CHECK(ran.code == 1);
  CHECK(ran.err.find(str_cat("rank ", there, ": --device cuda: there is no GPU ", there)) != std::string::npos);
}

TEST_CASE("cuda training: a single rank with gradient exchange inside the graph trains to the same bits" *
          doctest::skip(nccl_version().empty())) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Emulated emulated(3);
    const auto comm = make_single_communicator();
    const auto train = [&](Communicator* team, bool graph) {
      Gpt model(tiny(0.2f), Device::cuda(), dtype);
      model.initialize(1);
      StepSettings s = settings(2, false, graph);
      s.comm = team;
      TrainingStep step(model, s, {.seed = 5});
      for (int i = 0; i < 5; ++i)
        step.run([&](int32_t* tokens, int32_t* targets, uint64_t first,
                     int count) { batch_of(step.rng().step, tokens, targets, first, count); },
                 3e-3);
      CHECK(step.timed_steps() == (graph ? 1 : 5));
      const CollectiveQueue::Times before = step.exchanged();
      CHECK(step.result().step == 5);
      CHECK(step.timed_steps() == (graph ? 2 : 5));
      CHECK((step.exchanged().bytes > before.bytes) == (team && graph));
      HostCopy values(model.parameters(), model.parameters().values());
      return std::vector<float>(values.data(), values.data() + model.parameters().elements());
    };
    const auto expected = train(nullptr, true);
    CHECK(train(comm.get(), true) == expected);
    CHECK(train(comm.get(), false) == expected);
  }
}
