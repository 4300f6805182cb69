// Random test inputs. A test prints its seed when it fails: put INFO(inputs.seed) before the checks.
// GLINT_TEST_SEED in the environment overrides the seed.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

namespace glint::test {

struct RandomInputs {
  explicit RandomInputs(uint64_t default_seed) : seed(default_seed) {
    if (const char* text = std::getenv("GLINT_TEST_SEED")) seed = std::strtoull(text, nullptr, 0);
    engine.seed(seed);
  }
  std::vector<float> normal(size_t n, float deviation = 1.0f) {
    std::normal_distribution<float> distribution(0.0f, deviation);
    std::vector<float> values(n);
    for (float& value : values) value = distribution(engine);
    return values;
  }
  int below(int bound) { return std::uniform_int_distribution<int>(0, bound - 1)(engine); }

  uint64_t seed;
  std::mt19937_64 engine;
};

}  // namespace glint::test
