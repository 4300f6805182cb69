#include "src/measure/peak.h"

#include <omp.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "kernels/convert.h"
#include "kernels/matmul.h"
#include "src/clock.h"
#include "src/memory.h"

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#endif

namespace glint {

namespace {

// The widest fused multiply-add this build was compiled for.
#if defined(__AVX512F__)
using Vector = __m512;
inline Vector broadcast(float x) { return _mm512_set1_ps(x); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline float first_of(Vector x) { return _mm512_cvtss_f32(x); }
#elif defined(__AVX2__) && defined(__FMA__)
using Vector = __m256;
inline Vector broadcast(float x) { return _mm256_set1_ps(x); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline float first_of(Vector x) { return _mm256_cvtss_f32(x); }
#else
typedef float Vector __attribute__((vector_size(16)));
inline Vector broadcast(float x) { return Vector{x, x, x, x}; }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
inline float first_of(Vector x) { return x[0]; }
#endif

constexpr int kChains = 12;  // independent ones, to hide the latency: 2 units x 4 to 5 cycles, within 16 registers

// rounds * kChains multiply-adds; the values stay near 1.
float run_chains(int rounds) {
  const Vector factor = broadcast(0.999f), term = broadcast(0.001f);
  Vector chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = broadcast(1.0f + static_cast<float>(i));
  for (int round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) chain[i] = multiply_add(chain[i], factor, term);
  }
  float sum = 0;
  for (const Vector& value : chain) sum += first_of(value);
  return sum;
}

}  // namespace

double measure_peak_gflops(int threads) {
  constexpr int kRounds = 200'000, kRepeats = 25;  // about 2 ms each
  const double flops = 2.0 * kChains * kRounds * static_cast<double>(sizeof(Vector) / sizeof(float));
  double total = 0;
  float sink = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total, sink)
  {
    // Takes the best result of each thread: other programs run on this machine too, but rarely on all cores at once.
    double best = std::numeric_limits<double>::infinity();
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
#pragma omp barrier
      const auto start = Clock::now();
      sink += run_chains(kRounds);
      best = std::min(best, seconds_since(start));
    }
    total += flops / best / 1e9;
  }
  const volatile float used = sink;  // so that the work is not optimised away
  static_cast<void>(used);
  return total;
}

namespace {

constexpr GpuSheet kGpuSheets[] = {{"H200", 989, 141, 4800, 450, 50},
                                   {"H100 PCIE", 756.5},
                                   {"H100 NVL", 835.5},
                                   {"H100", 989, 80, 3350, 450, 50},
                                   {"A100", 312, 80, 2039, 300, 25},
                                   {"A40", 149.7},
                                   {"A10", 125.0},
                                   {"L40S", 362.1},
                                   {"L40", 181.1},
                                   {"L4", 121.0},
                                   {"RTX 4090", 165.2},
                                   {"RTX 3090", 71.2},
                                   {"RTX A6000", 154.8},
                                   {"B200", 2250.0}};

// Memory to measure with, if enough is free. (Unused without CUDA.)
[[maybe_unused]] std::optional<DeviceMemory> free_memory(size_t bytes, const Device& device) {
  try {
    return std::optional<DeviceMemory>(std::in_place, bytes, "a measurement", device);
  } catch (const UserError&) {
    return std::nullopt;
  }
}

// The rate of square products of growing size, until one takes long enough to time.
template <typename Scalar, typename Context>
double measure_products(const Device& device, const Context& ctx) {
  double best = 0;
  for (int n = 256; n <= 8192; n *= 2) {
    const size_t bytes = static_cast<size_t>(n) * static_cast<size_t>(n) * sizeof(Scalar);
    const auto memory = free_memory(3 * bytes, device);
    if (!memory) break;
    char* base = static_cast<char*>(memory->data());
    const auto at = [&](size_t i) { return reinterpret_cast<Scalar*>(base + i * bytes); };
    const Scalar* none = nullptr;
    const auto product = [&] {
      linear_forward(ctx, at(0), static_cast<const Scalar*>(at(1)), static_cast<const Scalar*>(at(2)), none, {n, n, n});
    };
    product();
    double seconds = measure_seconds(ctx, product);
    for (int repeat = 0; repeat < 4; ++repeat) seconds = std::min(seconds, measure_seconds(ctx, product));
    best = std::max(best, 2e-9 * n * static_cast<double>(n) * n / seconds);
    if (seconds > 1e-3) break;
  }
  return best;
}

// The bandwidth of conversions to bf16, which read four bytes and write two, of growing arrays.
template <typename Context>
double measure_conversions(const Device& device, const Context& ctx) {
  double best = 0;
  for (size_t n = 1 << 12; n <= size_t{1} << 28; n *= 4) {
    const auto memory = free_memory(6 * n, device);
    if (!memory) break;
    const auto* from = static_cast<const float*>(memory->data());
    auto* to = reinterpret_cast<Bf16*>(static_cast<char*>(memory->data()) + 4 * n);
    const auto convert_all = [&] { convert(ctx, to, from, n); };
    convert_all();
    double seconds = measure_seconds(ctx, convert_all);
    for (int repeat = 0; repeat < 4; ++repeat) seconds = std::min(seconds, measure_seconds(ctx, convert_all));
    best = std::max(best, 6e-9 * static_cast<double>(n) / seconds);
    if (seconds > 2e-4) break;
  }
  return best;
}

}  // namespace

const GpuSheet* gpu_sheet(const std::string& name) {
  std::string upper = name;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const auto sheet = std::find_if(std::begin(kGpuSheets), std::end(kGpuSheets),
                                  [&](const GpuSheet& gpu) { return upper.find(gpu.name) != std::string::npos; });
  return sheet == std::end(kGpuSheets) ? nullptr : sheet;
}

double peak_gflops(const Device& device, DType dtype) {
  const GpuSheet* sheet = gpu_sheet(device.name());
  if (sheet && dtype == DType::bf16) return 1000 * sheet->bf16_tflops;
  return device.visit([&]<typename Context>(const Context& ctx) {
    if constexpr (std::is_same_v<Context, CpuContext>) return measure_peak_gflops(ctx.threads);
    else return dtype == DType::bf16 ? measure_products<Bf16>(device, ctx) : measure_products<float>(device, ctx);
  });
}

double measure_bandwidth(int threads) {
  constexpr size_t kElements = size_t{1} << 24;  // 64 MB per array
  constexpr int kRepeats = 5;
  const DeviceMemory memory(3 * kElements * sizeof(float), "a measurement");
  float *pa = memory.f32(), *pb = pa + kElements, *pc = pb + kElements;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (size_t i = 0; i < kElements; ++i) pa[i] = 1.0f, pb[i] = 2.0f, pc[i] = 3.0f;
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const float scale = 1.0f + static_cast<float>(repeat);
    const auto start = Clock::now();
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < kElements; ++i) pa[i] = pb[i] + scale * pc[i];
    best = std::max(best, 3.0 * sizeof(float) * kElements / seconds_since(start) / 1e9);
    std::swap(pa, pc);
  }
  return best;
}

double measure_bandwidth(const Device& device) {
  return device.visit([&]<typename Context>(const Context& ctx) {
    if constexpr (std::is_same_v<Context, CpuContext>) return measure_bandwidth(ctx.threads);
    else return measure_conversions(device, ctx);
  });
}

}  // namespace glint
