// A training step does not allocate: the tape is recorded and its arena planned before. Counts calls of operator new,
// but not malloc() in libraries. (Uses Eigen, because oneDNN allocates in every call.)
#include <atomic>
#include <cstdlib>
#include <new>

#include <doctest/doctest.h>

#include "models/gpt.h"
#include "train/training_step.h"

namespace {

std::atomic<long> allocations{0};

void* allocate(size_t bytes, size_t alignment) {
  ++allocations;
  void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!memory && bytes > 0) throw std::bad_alloc();
  return memory;
}

}  // namespace

[[gnu::noinline]] void* operator new(size_t bytes) {
  return allocate(bytes == 0 ? 1 : bytes, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(bytes == 0 ? 1 : bytes);
}
[[gnu::noinline]] void* operator new(size_t bytes, std::align_val_t alignment) {
  return allocate(bytes == 0 ? 1 : bytes, static_cast<size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

TEST_CASE("a step does not allocate, also with micro-batches, dropout, recompute and the loss by chunks") {
  using namespace glint;
  GptConfig config;
  config.vocab = 13, config.context = 70, config.layers = 2, config.heads = 4, config.kv_heads = 2, config.embd = 64;
  config.embd_dropout = config.attn_dropout = config.resid_dropout = 0.1f;
  const FillBatch fill = [](int32_t* tokens, int32_t* targets, uint64_t first, int count) {
    for (int i = 0; i < count * 70; ++i) tokens[i] = targets[i] = (i + static_cast<int>(first)) % 13;
  };
#pragma omp parallel num_threads(2)
  {}  // starts OpenMP, which allocates once
  for (const AttentionKind kind : {AttentionKind::flash, AttentionKind::reference}) {
    for (const bool recompute : {false, true}) {
      const long at_start = allocations;
      // Llama and Muon with recompute.
      config.kind = recompute ? ModelKind::llama : ModelKind::gpt2;
      const auto owner = make_model(config, CpuContext{2, MatmulEngine::eigen}, DType::f32);
      Model& model = *owner;
      model.initialize(1);
      StepSettings settings{4, 2, 70, kind, recompute, {}, 1.0};
      settings.loss_chunk = recompute ? 33 : 0, settings.partition.muon = recompute;
      TrainingStep step(model, settings, {.seed = 1});
      CHECK(allocations > at_start);  // the counter works
      const long before = allocations;
      for (int i = 0; i < 2; ++i) step.run(fill, 1e-3);
      CHECK(allocations - before == 0);
    }
  }
}
