// glint bench matmul: the three products of a linear layer.
#include "kernels/matmul.h"

#include "kernels/check.h"
#include "src/memory.h"
#include "src/peak.h"
#include "train/commands/bench.h"

namespace glint {

namespace {

struct MatmulFlags : BenchFlags {
  int rows = 768, in = 128, out = 512;
  bool tied = false;
};

struct Rates {  // GFLOP/s
  double forward, input, weight;
};

template <typename Scalar, typename Context>
Rates measure(const Device& device, const Context& ctx, const MatmulFlags& flags) {
  const LinearShape shape{flags.rows, flags.in, flags.out, flags.tied ? WeightLayout::out_in : WeightLayout::in_out};
  const size_t rows = static_cast<size_t>(flags.rows), in = static_cast<size_t>(flags.in),
               out = static_cast<size_t>(flags.out);
  const size_t scalars = 2 * (rows * in + rows * out) + in * out;
  const DeviceMemory memory(scalars * sizeof(Scalar) + in * out * sizeof(float) + 16, "the benchmark", device);
  auto* x = static_cast<Scalar*>(memory.data());
  Scalar *dx = x + rows * in, *y = dx + rows * in, *dy = y + rows * out, *w = dy + rows * out;
  auto* dw = reinterpret_cast<float*>(static_cast<char*>(memory.data()) + (scalars * sizeof(Scalar) + 15) / 16 * 16);
  std::vector<Scalar> values(scalars);
  for (size_t i = 0; i < scalars; ++i) {
    const float value = static_cast<float>(i % 17) / 17.0f - 0.5f;
    if constexpr (std::is_same_v<Scalar, Bf16>) values[i] = to_bf16(value);
    else values[i] = value;
  }
  copy_to_device(ctx, x, values.data(), scalars * sizeof(Scalar));
  const double gflop = 1e-9 * flops_of(shape);
  const double enough = device.is_cpu() ? 0.5 : 500.0;  // GFLOP, enough work to time
  const int calls = static_cast<int>(std::clamp(enough / gflop, 1.0, 1000.0));
  const auto gflops = [&](auto product) {
    return calls * gflop * 1000 / median_ms(ctx, flags.repeats, [&] {
             for (int i = 0; i < calls; ++i) product();
           });
  };
  const Scalar* none = nullptr;
  return {gflops([&] { linear_forward(ctx, y, x, w, none, shape); }),
          gflops([&] { linear_backward_input(ctx, dx, dy, w, shape, Write::set); }),
          gflops([&] { linear_backward_weight(ctx, dw, nullptr, x, dy, nullptr, shape, Write::set); })};
}

void bench_matmul(const MatmulFlags& flags) {
  GLINT_REQUIRE(flags.rows >= 1 && flags.in >= 1 && flags.out >= 1, "--rows, --in and --out are 1 or more");
  const Device device = open_device(flags);
  const Rates rates = device.visit([&](const auto& ctx) {
    return flags.dtype == DtypeChoice::bf16 ? measure<Bf16>(device, ctx, flags) : measure<float>(device, ctx, flags);
  });
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
  command.callback([flags] { bench_matmul(on_this_machine(*flags)); });
}

}  // namespace glint
