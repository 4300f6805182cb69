// GPT-2's initialisation.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/normal.h"
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

// Where parameters are drawn: all threads of a CPU device, or of the host of a GPU.
CpuContext host_of(const Device& device) {
  if (device.is_cpu()) return std::get<CpuContext>(device.context());
  return {omp_get_max_threads()};
}

// Fills a parameter by fill(values, first, n), which sets values first .. first + n - 1: in place on a CPU, for a GPU
// by pieces, so that the host needs little memory.
template <typename Fill>
void fill_by_pieces(const Device& device, const Parameter& parameter, std::vector<float>& staging, const Fill& fill) {
  const size_t n = parameter.stored.elements();
  if (device.is_cpu()) return fill(parameter.data(), 0, n);
  constexpr size_t kPiece = size_t{4} << 20;
  for (size_t first = 0; first < n; first += kPiece) {
    const size_t piece = std::min(kPiece, n - first);
    if (staging.size() < piece) staging.resize(piece);
    fill(staging.data(), first, piece);
    std::visit(
        [&](const auto& ctx) { copy_to_device(ctx, parameter.data() + first, staging.data(), piece * sizeof(float)); },
        device.context());
  }
}

}  // namespace

void Gpt::initialize(uint64_t seed) {
  const double residual = 0.02 / std::sqrt(2.0 * config_.layers);
  const Device& device = parameters_.device();
  const CpuContext host = host_of(device);
  std::vector<float> staging;
  for (const Parameter& parameter : parameters_.all()) {
    const double deviation = parameter.name.ends_with("c_proj.weight") ? residual : 0.02;
    const NormalStream stream = {seed, kInitDomain, hash_of(parameter.name), deviation};
    const float constant = parameter.name.ends_with(".bias") ? 0.0f : 1.0f;
    fill_by_pieces(device, parameter, staging, [&](float* values, size_t first, size_t n) {
      if (parameter.decayed()) draw_normals(host, values, first, n, stream);
      else std::fill_n(values, n, constant);
    });
  }
  parameters_.refresh_rounded();
}

}  // namespace glint
