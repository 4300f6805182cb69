// Losses and every gradient of tiny GPT-2s and Llamas against PyTorch's autograd in float64: golden_gpt.json and
// golden_llama.json, written by make_golden_gpt.py and make_golden_llama.py, which also define the parameters, tokens
// and targets made here.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/model.h"

using namespace glint;
using nlohmann::json;

namespace {

// MurmurHash3's finaliser (A. Appleby) over FNV-1a of the name and the index.
uint32_t hashed(const std::string& name, size_t i) {
  uint32_t x = 0x811C9DC5u;
  for (const char c : name) x = (x ^ static_cast<unsigned char>(c)) * 0x01000193u;
  x += static_cast<uint32_t>(i) * 0x9E3779B9u;
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

// In [-0.5, 0.5), exact in float.
float uniform(const std::string& name, size_t i) { return static_cast<float>(hashed(name, i) >> 8) * 0x1p-24f - 0.5f; }

GptConfig config_of(const json& model) {
  GptConfig config;
  config.vocab = model["vocab"];
  config.context = model["context"];
  config.layers = model["layers"];
  config.heads = model["heads"];
  config.kv_heads = model["kv_heads"];
  config.embd = model["embd"];
  if (model.contains("rope_theta")) config.kind = ModelKind::llama, config.rope_theta = model["rope_theta"];
  config.bias = model.value("bias", false);
  config.activation = model.value("activation", "erf") == "tanh" ? Gelu::tanh : Gelu::erf;
  return config;
}

// Forward and backward over the golden batch; the gradients are then in the model's parameters.
std::vector<float> losses_and_gradients(Model& gpt, const CpuContext& cpu, AttentionKind kind, int B, int T) {
  Parameters& parameters = gpt.parameters();
  parameters.allocate_training();
  for (const Parameter& parameter : parameters.all()) {
    const bool norm = parameter.name.ends_with(".weight") && !parameter.decayed();
    for (const NamedTensor& tensor : parameter.tensors())
      for (size_t i = 0; i < tensor.shape.elements(); ++i)
        parameters.values()[tensor.offset + i] = uniform(tensor.name, i) + (norm ? 1.0f : 0.0f);
  }
  Graph graph({.device = cpu, .training = true});
  const Tensor tokens = graph.input("tokens", {B, T}, DType::i32), targets = graph.input("targets", {B, T}, DType::i32);
  const Tensor losses = gpt.loss(graph, tokens, targets, kind, 1.0f / static_cast<float>(B * T));
  graph.keep(losses);
  const DeviceMemory arena(graph.plan(), "test");
  graph.bind(arena.data());
  for (size_t i = 0; i < losses.shape().elements(); ++i) {
    const uint32_t V = static_cast<uint32_t>(gpt.vocab());
    tokens.i32()[i] = static_cast<int32_t>(hashed("tokens", i) % V);
    targets.i32()[i] = static_cast<int32_t>(hashed("targets", i) % V);
  }
  graph.forward();
  const std::vector<float> result(losses.f32(), losses.f32() + losses.shape().elements());
  graph.backward();
  return result;
}

struct Largest {
  double error = 0;
  std::string place;

  void take(double other, const std::string& at) {
    if (other > error || std::isnan(other)) error = other, place = at;  // a NaN stays
  }
};

// The largest relative differences from the golden values, measured like those of PyTorch in float32.
struct Worst {
  Largest losses, values, projections;
};

void compare_gradient(Worst& worst, const NamedTensor& parameter, const float* gradient, const json& golden) {
  const size_t n = parameter.shape.elements();
  const bool all = golden.contains("values");
  const std::vector<double> values = golden[all ? "values" : "samples"];
  REQUIRE((all ? values.size() == n : values.size() == 16));
  for (size_t k = 0; k < values.size(); ++k) {
    const size_t i = all ? k : hashed(parameter.name + " samples", k) % n;
    const double error = std::abs(static_cast<double>(gradient[i]) - values[k]) / golden["largest"].get<double>();
    worst.values.take(error, parameter.name);
  }
  if (all) return;
  const std::vector<double> projections = golden["projections"];
  REQUIRE(projections.size() == 4);
  for (size_t k = 0; k < projections.size(); ++k) {
    double product = 0;
    const std::string direction = parameter.name + " projection " + std::to_string(k);
    for (size_t i = 0; i < n; ++i) product += static_cast<double>(gradient[i]) * uniform(direction, i);
    const double error = std::abs(product - projections[k]) / golden["norm"].get<double>();
    worst.projections.take(error, parameter.name);
  }
}

Worst compare(const json& model, const CpuContext& cpu, AttentionKind kind, int B, int T) {
  const auto gpt = make_model(config_of(model), cpu, DType::f32);
  const std::vector<float> losses = losses_and_gradients(*gpt, cpu, kind, B, T);
  const std::vector<double> golden = model["losses"];
  REQUIRE(losses.size() == golden.size());
  Worst worst;
  for (size_t i = 0; i < losses.size(); ++i)
    worst.losses.take(std::abs(static_cast<double>(losses[i]) - golden[i]), "token " + std::to_string(i));
  size_t compared = 0;
  for (const Parameter& parameter : gpt->parameters().all())
    for (const NamedTensor& tensor : parameter.tensors()) {
      REQUIRE_MESSAGE(model["gradients"].contains(tensor.name), tensor.name);
      compare_gradient(worst, tensor, gpt->parameters().gradients() + tensor.offset, model["gradients"][tensor.name]);
      ++compared;
    }
  REQUIRE(compared == model["gradients"].size());
  return worst;
}

void check(const std::string& path, size_t models) {
  std::ifstream file(GLINT_SOURCE_DIR "/tests/models/" + path);
  const json golden = json::parse(file);
  REQUIRE(golden["models"].size() == models);
  std::vector<MatmulEngine> engines = {MatmulEngine::eigen};
  if (default_matmul_engine() != MatmulEngine::eigen) engines.push_back(default_matmul_engine());
  for (const json& model : golden["models"]) {
    for (const MatmulEngine engine : engines) {
      for (const AttentionKind kind : {AttentionKind::flash, AttentionKind::reference}) {
        INFO(model["name"].get<std::string>(), ": engine ", static_cast<int>(engine), ", attention ",
             static_cast<int>(kind));
        const Worst worst = compare(model, {2, engine}, kind, golden["B"], golden["T"]);
        INFO("worst in ", worst.losses.place, ", ", worst.values.place, ", ", worst.projections.place);
        // As in FlashAttention-2's tests: at most twice PyTorch's error in the same precision.
        const json& yardstick = model["float32"];
        CHECK(worst.losses.error <= 2 * yardstick["losses"].get<double>());
        CHECK(worst.values.error <= 2 * yardstick["values"].get<double>());
        CHECK(worst.projections.error <= 2 * yardstick["projections"].get<double>());
      }
    }
  }
}

}  // namespace

TEST_CASE("golden: losses and gradients of tiny GPT-2s agree with PyTorch") { check("golden_gpt.json", 3); }
TEST_CASE("golden: losses and gradients of tiny Llamas agree with PyTorch") { check("golden_llama.json", 2); }
