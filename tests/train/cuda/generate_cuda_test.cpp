// Generation on a GPU: emulated (kernels/simt/), or a real one in tests/gpu/.
#include "models/generate.h"

#include <doctest/doctest.h>

#include "tests/random.h"
#include "tests/train/cuda/tiny_training.h"

using namespace glint;
using namespace glint::test;

namespace {

using Texts = std::vector<std::vector<int32_t>>;

std::unique_ptr<Model> tiny_model(const Device& device, DType dtype, int context, ModelKind kind = ModelKind::gpt2) {
  GptConfig config = tiny(0.0f);
  config.context = context, config.kind = kind;
  auto model = make_model(config, device, dtype);
  model->initialize(3);
  return model;
}

Texts generate(Model& model, int sequences, uint64_t stream, bool graph, int prompt, int count) {
  SamplingOptions options;
  options.temperature = 0.9f, options.seed = 4, options.stream = stream;
  std::vector<int32_t> start;
  for (int i = 0; i < prompt; ++i) start.push_back(i * 5 % kVocab);
  Texts texts(static_cast<size_t>(sequences));
  Generator generator(model, sequences, graph);
  for (int twice = 0; twice < (sequences > 1 ? 2 : 1); ++twice) {
    Texts again(texts.size());
    generator.generate(start, count, options, [&](int sequence, int32_t token) {
      again[static_cast<size_t>(sequence)].push_back(token);
      return true;
    });
    if (twice) CHECK(again == texts);
    texts = again;
  }
  return texts;
}

}  // namespace

TEST_CASE("cuda generation: logits close to the CPU's, also of a prompt that takes chunks") {
  const Emulated emulated;
  for (const auto& [dtype, kind] :
       {std::pair{DType::f32, ModelKind::gpt2}, {DType::bf16, ModelKind::gpt2}, {DType::f32, ModelKind::llama}}) {
    const auto cpu = tiny_model(CpuContext{1, default_matmul_engine()}, DType::f32, 70, kind);
    const auto gpu = tiny_model(Device::cuda(), dtype, 70, kind);
    Generator on_cpu(*cpu), on_gpu(*gpu, 2);
    for (const int length : {1, 9, 67}) {
      std::vector<int32_t> tokens;
      for (int i = 0; i < length; ++i) tokens.push_back(i * 7 % kVocab);
      const auto expected = on_cpu.logits_after(tokens), got = on_gpu.logits_after(tokens);
      for (size_t i = 0; i < expected.size(); ++i)
        CHECK(std::abs(got[i] - expected[i]) < (dtype == DType::f32 ? 1e-5f : 1e-2f));
    }
  }
}

TEST_CASE("cuda generation: a repetition penalty and min-p draw the CPU's tokens") {
  const Emulated emulated;
  SamplingOptions options{.min_p = 0.01f, .repetition_penalty = 1.4f, .seed = 5};
  const std::vector<int32_t> prompt = {1, 2, 3, 2};
  const auto draw = [&](const Device& device, bool with_logits) {
    const auto model = tiny_model(device, DType::f32, 2 * kContext);
    std::vector<int32_t> tokens;
    Generator(*model, 2).generate(
        prompt, 9, options, [&](int, int32_t token) { return tokens.push_back(token), true; }, with_logits);
    return tokens;
  };
  const auto expected = draw(CpuContext{1, default_matmul_engine()}, false);
  CHECK(draw(Device::cuda(), false) == expected);
  CHECK(draw(Device::cuda(), true) == expected);
}

TEST_CASE("cuda generation: the same texts with and without a graph, alone and among others, beyond the context") {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Texts first;
    for (const auto& [seed, graph] : {std::pair<uint64_t, bool>{1, true}, {2, false}}) {
      const Emulated emulated(seed);
      const auto model = tiny_model(Device::cuda(), dtype, kContext);
      const Texts texts = generate(*model, 3, 7, graph, 4, 11);
      if (!first.empty()) CHECK(texts == first);
      first = texts;
    }
    const Emulated emulated(3);
    const auto model = tiny_model(Device::cuda(), dtype, kContext);
    for (uint64_t b = 0; b < 3; ++b) CHECK(generate(*model, 1, 7 + b, true, 4, 11).front() == first[b]);
    CHECK(first[0] != first[1]);
  }
}
