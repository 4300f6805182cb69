// glint bench matmul: the three products of a linear layer.
#include "kernels/check.h"
#include "src/measure/kernel_times.h"
#include "src/measure/peak.h"
#include "train/commands/bench.h"

namespace glint {

namespace {

struct MatmulFlags : BenchFlags {
  int rows = 768, in = 128, out = 512;
  bool tied = false;
};

void bench_matmul(const MatmulFlags& flags) {
  GLINT_REQUIRE(flags.rows >= 1 && flags.in >= 1 && flags.out >= 1, "--rows, --in and --out are 1 or more");
  const Device device = open_device(flags);
  const LinearShape shape{flags.rows, flags.in, flags.out, flags.tied ? WeightLayout::out_in : WeightLayout::in_out};
  const LinearRates rates = measure_linear(device, dtype_of(flags.dtype), shape, flags.repeats);
  const double peak = peak_gflops(device, dtype_of(flags.dtype));
  print_results({{"forward_gflops", rates.forward},
                 {"backward_input_gflops", rates.input},
                 {"backward_weight_gflops", rates.weight},
                 {"peak_gflops", peak},
                 {"share_of_peak", 3 / (1 / rates.forward + 1 / rates.input + 1 / rates.weight) / peak},
                 {"device", device.name()}},
                flags.json);
}

}  // namespace

void register_bench_matmul(CLI::App& bench) {
  CLI::App& command =
      *bench.add_subcommand("matmul", "A linear layer's products: forward, input gradient, weight gradient");
  const auto flags = std::make_shared<MatmulFlags>();
  add_option(command, "--rows", flags->rows, "Tokens");
  add_option(command, "--in", flags->in, "Channels in");
  add_option(command, "--out", flags->out, "Channels out");
  add_option(command, "--tied", flags->tied, "Weight as (out, in), like the classifier tied to the embedding");
  add_bench_flags(command, *flags);
  add_repeats(command, *flags);
  command.callback([flags] { bench_matmul(on_this_machine(*flags)); });
}

}  // namespace glint
