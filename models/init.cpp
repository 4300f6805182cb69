// GPT-2's initialisation from counter-based random numbers.
#include <cmath>
#include <numbers>

#include "models/gpt.h"

namespace glint {

namespace {

constexpr uint32_t kInitDomain = 0x494E4954;  // "INIT": separates these draws from other uses of the seed

// FNV-1a (G. Fowler, L. C. Noll, K.-P. Vo), so that a parameter's values depend on its name only.
uint64_t hash_of(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (unsigned char c : name) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

// Uniform in (0, 1), 24 bits, never 0.
double uniform(uint32_t word) { return ((word >> 8) + 0.5) / 16777216.0; }

// Four draws give two pairs of normal values (G. E. P. Box, M. E. Muller, 1958).
void fill_normal(float* values, size_t n, double deviation, uint64_t seed, uint64_t stream) {
  for (size_t i = 0; i < n; i += 4) {
    const uint64_t block = i / 4;
    const PhiloxCounter r = philox4x32<10>(
        {low_word(block), high_word(block) ^ kInitDomain, low_word(stream), high_word(stream)}, philox_key(seed));
    const double radius[] = {std::sqrt(-2 * std::log(uniform(r.x))), std::sqrt(-2 * std::log(uniform(r.z)))};
    const double angle[] = {2 * std::numbers::pi * uniform(r.y), 2 * std::numbers::pi * uniform(r.w)};
    const double z[] = {radius[0] * std::cos(angle[0]), radius[0] * std::sin(angle[0]), radius[1] * std::cos(angle[1]),
                        radius[1] * std::sin(angle[1])};
    for (size_t k = 0; k < 4 && i + k < n; ++k) values[i + k] = static_cast<float>(deviation * z[k]);
  }
}

}  // namespace

void Gpt::initialize(uint64_t seed) {
  const double residual = 0.02 / std::sqrt(2.0 * config_.layers);
  HostCopy values(parameters_, parameters_.values());
  for (const Parameter& parameter : parameters_.all()) {
    const size_t n = parameter.shape.elements();
    const bool is_bias = parameter.name.ends_with(".bias");
    if (parameter.decayed())
      fill_normal(values.of(parameter), n, parameter.name.ends_with("c_proj.weight") ? residual : 0.02, seed,
                  hash_of(parameter.name));
    else std::fill_n(values.of(parameter), n, is_bias ? 0.0f : 1.0f);
  }
  values.store();
  parameters_.refresh_rounded();
}

}  // namespace glint
