// glint info: describes this build and this machine.
#include <cstdio>
#include <memory>

#include "kernels/attention.h"
#include "src/comm/collective_queue.h"
#include "src/machine.h"
#include "src/measure/peak.h"
#include "src/memory.h"
#include "train/commands/commands.h"
#include "train/options.h"
#include "train/text.h"

namespace glint {

const char* version() { return GLINT_VERSION; }

namespace {

void line(const char* name, const std::string& value) { std::printf("%-10s %s\n", name, value.c_str()); }

std::string rounded(double value) { return formatted(value < 100 ? "%.1f" : "%.0f", value); }

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

// How ranks can communicate; one line, which tests/gpu/steps.sh reads.
std::string between_ranks() {
  std::string nccl;
  if constexpr (Device::kHasCuda) nccl = nccl_version();
  const std::string cpus = kHasGloo ? "Gloo between CPUs" : "one process on CPUs (this build has no Gloo)";
  if (!Device::kHasCuda) return cpus;
  return cpus + (nccl.empty() ? ", one GPU (this build has no NCCL)" : ", NCCL " + nccl + " between GPUs");
}

// Of the first GPU, or why it can't be used.
std::string gpu_peak() try {
  const Device device = Device::cuda();
  return str_cat(static_cast<int>(peak_gflops(device, DType::bf16) / 1000), " TFLOP/s in bf16, ",
                 static_cast<int>(peak_gflops(device, DType::f32) / 1000), " in fp32; ",
                 static_cast<int>(measure_bandwidth(device)), " GB/s");
} catch (const UserError& error) {
  return error.what();
}

void print_info(int threads_asked) {
  const CpuContext context = cpu_context(threads_asked, MatmulChoice::automatic);
  const bool with_onednn = default_matmul_engine() == MatmulEngine::onednn;
  line("glint", version());
  line("compiler", compiler());
  line("CPU", cpu_name());
  line("vectors", compiled_vectors() + " compiled in; the CPU has " + cpu_vectors());
  line("threads", std::to_string(context.threads));
  line("memory", human_bytes(static_cast<double>(machine_memory())));
  line("matmul", with_onednn ? "oneDNN (default), Eigen" : "Eigen (this build has no oneDNN)");
  std::string fault;
  const std::vector<GpuInfo> gpus = gpus_here(fault);
  line("devices", gpus.empty() ? "cpu (no GPU: " + fault + ")" : "cpu, cuda");
  for (const GpuInfo& gpu : gpus) {
    line("GPU", str_cat(gpu.name, ", compute capability ", gpu.capability / 10, ".", gpu.capability % 10, ", ",
                        gpu.multiprocessors, " multiprocessors, ", human_bytes(static_cast<double>(gpu.memory))));
    if constexpr (Device::kHasCuda) line("attention", cuda_attention_kernels(gpu.capability));
  }
  if (!gpus.empty()) line("GPU peak", gpu_peak());
  line("ranks", between_ranks());
  line("dtypes", "fp32, bf16");
  std::fflush(stdout);
  line("peak", rounded(measure_peak_gflops(context.threads)) + " GFLOP/s fp32 multiply-adds, measured");
  line("bandwidth", rounded(measure_bandwidth(context.threads)) + " GB/s, measured (triad)");
}

}  // namespace

void register_info(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("info", "Describe this build and this machine, and measure its peak");
  const auto threads = std::make_shared<int>(0);
  add_option(command, "--threads", *threads, "CPU threads to measure with; 0: all");
  command.callback([threads] { print_info(*threads); });
}

}  // namespace glint
