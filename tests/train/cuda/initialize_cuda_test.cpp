// A new model's parameters on a GPU: emulated (kernels/simt/), or a real one in tests/gpu/.
#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include "tests/train/cuda/tiny_training.h"

using namespace glint;
using namespace glint::test;

namespace {

std::vector<float> initial_values(const GptConfig& config, const Device& device) {
  Gpt model(config, device);
  model.initialize(7);
  HostCopy values(model.parameters(), model.parameters().values());
  return {values.data(), values.data() + model.parameters().elements()};
}

}  // namespace

TEST_CASE("cuda initialisation: the CPU's bits, also of a parameter that is uploaded by pieces") {
  const Emulated emulated;
  GptConfig config = tiny(0.0f);
  config.vocab = (4 << 20) / config.embd + 100;  // more than a piece's 4 Mi elements
  const std::vector<float> cpu = initial_values(config, CpuContext{2}), gpu = initial_values(config, Device::cuda());
  REQUIRE(cpu.size() == gpu.size());
  CHECK(std::memcmp(cpu.data(), gpu.data(), cpu.size() * sizeof(float)) == 0);
}
