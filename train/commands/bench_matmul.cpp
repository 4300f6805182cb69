// glint bench matmul: the three products of a linear layer.
#include "kernels/matmul.h"

#include "kernels/check.h"
#include "src/memory.h"
#include "train/commands/bench.h"
#include "train/peak.h"

namespace glint {

namespace {

struct MatmulFlags : BenchFlags {
  int rows = 768, in = 128, out = 512;
  bool tied = false;
};

void bench_matmul(const MatmulFlags& flags) {
  GLINT_REQUIRE(flags.rows >= 1 && flags.in >= 1 && flags.out >= 1, "--rows, --in and --out are 1 or more");
  const CpuContext cpu = cpu_context(flags.threads, flags.matmul);
  const LinearShape shape{flags.rows, flags.in, flags.out, flags.tied ? WeightLayout::out_in : WeightLayout::in_out};
  const size_t rows = static_cast<size_t>(flags.rows), in = static_cast<size_t>(flags.in), out = static_cast<size_t>(flags.out);
  const DeviceMemory memory((2 * rows * in + 2 * rows * out + 2 * in * out) * sizeof(float), "the benchmark");
  float *x = memory.f32(), *dx = x + rows * in, *y = dx + rows * in, *dy = y + rows * out, *w = dy + rows * out, *dw = w + in * out;
  for (size_t i = 0; i < memory.bytes() / sizeof(float); ++i) x[i] = static_cast<float>(i % 17) / 17.0f - 0.5f;
  const double gflop = 2e-9 * flags.rows * flags.in * static_cast<double>(flags.out);
  const int calls = static_cast<int>(std::clamp(0.5 / gflop, 1.0, 1000.0));  // enough work to time
  const auto gflops = [&](auto product) {
    return calls * gflop * 1000 / median_ms(cpu, flags.repeats, [&] {
             for (int i = 0; i < calls; ++i) product();
           });
  };
  const double forward = gflops([&] { linear_forward(cpu, y, x, w, nullptr, shape); });
  const double input = gflops([&] { linear_backward_input(cpu, dx, dy, w, shape, Write::set); });
  const double weight = gflops([&] { linear_backward_weight(cpu, dw, nullptr, x, dy, shape, Write::set); });
  const double peak = measure_peak_gflops(cpu.threads);
  print_results({{"forward_gflops", forward},
                 {"backward_input_gflops", input},
                 {"backward_weight_gflops", weight},
                 {"peak_gflops", peak},
                 {"share_of_peak", 3 / (1 / forward + 1 / input + 1 / weight) / peak},
                 {"threads", cpu.threads}},
                flags.json);
}

}  // namespace

void register_bench_matmul(Command bench) {
  Command command = bench.add_command("matmul", "A linear layer's products: forward, input gradient, weight gradient");
  const auto flags = std::make_shared<MatmulFlags>();
  command.add("--rows", flags->rows, "Tokens");
  command.add("--in", flags->in, "Channels in");
  command.add("--out", flags->out, "Channels out");
  command.add_switch("--tied", flags->tied, "Weight as (out, in), like the classifier tied to the embedding");
  add_bench_flags(command, *flags);
  command.run([flags] { bench_matmul(*flags); });
}

}  // namespace glint
