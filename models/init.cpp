#include "models/init.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/normal.h"

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

// Fills a tensor by fill(values, first, n), which sets values first .. first + n - 1: in place on a CPU, for a GPU by
// pieces, so that the host needs little memory.
template <typename Fill>
void fill_by_pieces(const Device& device, float* data, size_t n, std::vector<float>& staging, const Fill& fill) {
  if (device.is_cpu()) return fill(data, 0, n);
  constexpr size_t kPiece = size_t{4} << 20;
  for (size_t first = 0; first < n; first += kPiece) {
    const size_t piece = std::min(kPiece, n - first);
    if (staging.size() < piece) staging.resize(piece);
    fill(staging.data(), first, piece);
    device.visit([&](const auto& ctx) { copy_to_device(ctx, data + first, staging.data(), piece * sizeof(float)); });
  }
}

bool ends_residual_branch(const std::string& name) {
  for (const char* end : {"c_proj.weight", "o_proj.weight", "down_proj.weight"})
    if (name.ends_with(end)) return true;
  return false;
}

}  // namespace

void initialize_parameters(Parameters& parameters, uint64_t seed, int layers) {
  const double residual = 0.02 / std::sqrt(2.0 * layers);
  const Device& device = parameters.device();
  const CpuContext host = host_of(device);
  std::vector<float> staging;
  for (const Parameter& parameter : parameters.all()) {
    for (const NamedTensor& tensor : parameter.tensors()) {
      const double deviation = ends_residual_branch(tensor.name) ? residual : 0.02;
      const NormalStream stream = {seed, kInitDomain, hash_of(tensor.name), deviation};
      const float constant = tensor.name.ends_with(".bias") ? 0.0f : 1.0f;
      const auto fill = [&](float* values, size_t first, size_t n) {
        if (parameter.decayed()) draw_normals(host, values, first, n, stream);
        else std::fill_n(values, n, constant);
      };
      fill_by_pieces(device, parameters.value_at(tensor.offset), tensor.shape.elements(), staging, fill);
    }
  }
  parameters.refresh_rounded();
}

}  // namespace glint
