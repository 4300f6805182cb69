#include "src/optimizer.h"

#include <cmath>
#include <fstream>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace glint;
using nlohmann::json;

namespace {

struct Trained {
  Parameters parameters;
  StepState state{};

  // As golden_muon.json says; learning rate and gradients of its steps.
  explicit Trained(const json& golden) {
    size_t i = 0;
    for (const auto& shape : golden["shapes"])
      parameters.add("matrix." + std::to_string(i++), {shape[0], shape[1]})->hidden = true;
    parameters.add("norm", {8});
    parameters.allocate();
    const Partition partition = partition_of(parameters, 0, 1, {.muon = true});
    parameters.allocate_training(partition.kept, partition.kept - partition.muon_kept);
    set(golden["weights"], parameters.values());
    const DeviceMemory scratch(optimizer_scratch(parameters, partition), "test");
    AdamW adamw;
    adamw.weight_decay = golden["weight_decay"];
    for (const auto& gradients : golden["gradients"]) {
      set(gradients, parameters.gradients());
      state.adamw.learning_rate = golden["rate"];
      optimizer_step(parameters, partition, nullptr, adamw, Muon{golden["momentum"]}, 0, &state, scratch.data());
      state.adamw.t += 1;
    }
  }
  void set(const json& matrices, float* flat) {
    for (size_t i = 0; i < matrices.size(); ++i) {
      const auto values = matrices[i].get<std::vector<float>>();
      std::copy(values.begin(), values.end(), flat + parameters.all()[i].offset);
    }
  }
  // The distance from the golden weights, over that which they have moved.
  double distance(const json& golden, const char* which) const {
    double error = 0, moved = 0;
    for (size_t i = 0; i < golden[which].size(); ++i)
      for (size_t j = 0; j < golden[which][i].size(); ++j) {
        const double expected = golden[which][i][j], start = golden["weights"][i][j];
        error += std::pow(parameters.all()[i].data()[j] - expected, 2), moved += std::pow(expected - start, 2);
      }
    return std::sqrt(error / moved);
  }
};

json golden_muon() {
  std::ifstream file(std::string(GLINT_SOURCE_DIR) + "/tests/src/golden_muon.json");
  return json::parse(file);
}

}  // namespace

TEST_CASE("Muon: three steps are PyTorch's") {
  const json golden = golden_muon();
  const Trained trained(golden);
  CHECK(trained.distance(golden, "fp32") < 1e-5);
  CHECK(trained.distance(golden, "bf16") < 2e-2);
}

TEST_CASE("Muon: AdamW updates what is no matrix of a layer, and second moments are its alone") {
  json golden = golden_muon();
  Trained trained(golden);
  const Partition partition = partition_of(trained.parameters, 0, 1, {.muon = true});
  CHECK(partition.muon == 32 + 64 + 128);
  CHECK(trained.parameters.bytes() == sizeof(float) * (3 * trained.parameters.elements() + 16));
  CHECK(training_bytes(trained.parameters, partition) == trained.parameters.bytes());
  const Parameter& norm = trained.parameters.all().back();
  CHECK(norm.offset == partition.muon);
  trained.parameters.gradients()[norm.offset] = 1;
  const DeviceMemory scratch(optimizer_scratch(trained.parameters, partition), "test");
  trained.state.adamw.learning_rate = 0.5f, trained.state.adamw.t = 1;
  optimizer_step(trained.parameters, partition, nullptr, AdamW{}, Muon{}, 0, &trained.state, scratch.data());
  CHECK(norm.data()[0] == doctest::Approx(-0.5));
  CHECK(norm.data()[1] == 0);
}
