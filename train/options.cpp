#include "train/options.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "kernels/check.h"
#include "src/comm/ranks.h"
#include "src/machine.h"
#include "src/memory.h"
#include "train/options_table.h"
#include "train/plan.h"

namespace glint {

namespace {

constexpr int kMaxThreads = 4096;

// Throws UserError unless the value is in the option's range. A NaN is in none but `any`.
template <typename Value>
void require_range(const Value& value, const OptionInfo& option) {
  if constexpr (std::is_arithmetic_v<Value> && !std::is_same_v<Value, bool>) {
    const auto require = [&](bool holds, const char* hint) {
      GLINT_REQUIRE(holds, "--", option.name, " ", value, hint);
    };
    const bool whole = std::is_integral_v<Value>;
    if (option.range == Range::positive) require(value > 0, whole ? ": give 1 or more" : ": give a number above 0");
    if (option.range == Range::not_negative) require(value >= 0, ": give 0 or more");
    if (option.range == Range::fraction) require(value >= 0 && value < 1, " is not in [0, 1)");
  }
}

// "4 or 6": the divisors of n next to a number that does not divide it.
std::string nearest_divisors(int n, int wrong) {
  int below = std::min(wrong, n), above = wrong;
  while (n % below != 0) --below;
  while (above < n && n % above != 0) ++above;
  return above <= n && above != below ? str_cat(below, " or ", above) : str_cat(below);
}

void require_fits(const TrainOptions& options) {
  const double needed = memory_of(plan_run(on_this_machine(options))),
               available = static_cast<double>(machine_memory());
  if (needed <= available) return;
  throw UserError(str_cat("a model of --layers ", options.model.layers, " and --embd ", options.model.embd,
                          " with --context ", options.model.context, " and --micro-batch ", options.micro_batch,
                          " would need at least ", human_bytes(needed), " of memory and this machine has ",
                          human_bytes(available),
                          ": lower --layers, --embd, --context or --micro-batch, or use --recompute true",
                          options.optimizer_dtype == DtypeChoice::fp32 && options.optimizer == Optimizer::adamw
                              ? " or --optimizer-dtype bf16"
                              : ""));
}

void require_batch(const TrainOptions& options) {
  const int less = options.batch / options.ranks * options.ranks;
  GLINT_REQUIRE(less == options.batch, "--batch ", options.batch, " does not divide over ", options.ranks,
                " ranks: give ", less > 0 ? str_cat(less, " or ") : "", less + options.ranks);
  const int share = options.batch / options.ranks;
  GLINT_REQUIRE(share % options.micro_batch == 0, "--micro-batch ", options.micro_batch, " does not divide --batch ",
                options.batch, options.ranks > 1 ? str_cat(" / ", options.ranks, " ranks") : "", ": give ",
                nearest_divisors(share, options.micro_batch));
}

}  // namespace

void TrainOptions::complete() {
  constexpr int64_t kUsualWarmup = 100;
  if (model.kv_heads == 0) model.kv_heads = model.heads;
  if (ranks == 0) ranks = ranks_from_environment().size;
  if (micro_batch == 0) micro_batch = ranks > 0 ? std::max(1, batch / ranks) : batch;
  if (std::isnan(min_lr)) min_lr = lr / 10;
  if (lr_decay_steps == 0) lr_decay_steps = steps;
  if (optimizer_dtype == DtypeChoice::automatic) optimizer_dtype = DtypeChoice::fp32;
  if (warmup == kUnsetSteps) warmup = std::min(kUsualWarmup, lr_decay_steps / 10);
}

void TrainOptions::fit_to(int new_ranks) {
  ranks = new_ranks;
  threads = 0;
  const int share = batch / std::max(1, ranks);
  while (micro_batch > 1 && share % micro_batch != 0) --micro_batch;  // the largest divisor up to the saved one
}

void TrainOptions::validate() const {
  GLINT_REQUIRE(device != DeviceChoice::cuda || Device::kHasCuda,
                "--device cuda: this build of glint has no CUDA; use --device cpu");
  matmul_engine(matmul);  // throws if this build lacks it
  GLINT_REQUIRE(!out.empty(), "--out is empty: name the run folder to make");
  for_each_option(*this, [](const auto& value, const OptionInfo& option) { require_range(value, option); });
  GLINT_REQUIRE(min_lr <= lr, "--min-lr ", min_lr, " is above --lr ", lr);
  GLINT_REQUIRE(threads <= kMaxThreads, "--threads ", threads, ": at most ", kMaxThreads, " are supported");
  GLINT_REQUIRE(zero == 0 || zero == 1, "--zero ", zero, ": give 0 or 1");
  GLINT_REQUIRE(comm_timeout < 1e6, "--comm-timeout ", comm_timeout, ": give a number below 1e6");
  require_batch(*this);
  require_fits(*this);
  GptConfig config = model;
  config.vocab = std::max(config.vocab, 1);  // unknown until the data are read
  config.validate();
}

int default_threads() { return std::max(1, std::min(omp_get_max_threads(), omp_get_num_procs())); }

MatmulEngine matmul_engine(MatmulChoice choice) {
  if (choice == MatmulChoice::automatic) return default_matmul_engine();
  if (choice == MatmulChoice::eigen) return MatmulEngine::eigen;
  GLINT_REQUIRE(
      default_matmul_engine() == MatmulEngine::onednn,
      "--matmul onednn: this build of glint has no oneDNN; use --matmul eigen, or install libdnnl-dev and build again");
  return MatmulEngine::onednn;
}

CpuContext cpu_context(int threads, MatmulChoice matmul) {
  GLINT_REQUIRE(threads >= 0 && threads <= kMaxThreads, "--threads ", threads, ": give a number from 0 (all) to ",
                kMaxThreads);
  return {threads == 0 ? default_threads() : threads, matmul_engine(matmul)};
}

void resolve(DeviceChoice& device, DtypeChoice& dtype, int ranks) {
  if (device != DeviceChoice::automatic) {
    if (dtype == DtypeChoice::automatic) dtype = DtypeChoice::fp32;
    return;
  }
  constexpr int kOldestCapability = 80;
  static const size_t usable = [] {
    size_t count = 0;
    std::string fault;
    if constexpr (Device::kHasCuda) {
      for (const GpuInfo& gpu : gpus_here(fault))  // the emulator is for tests, which name it
        count += gpu.capability >= kOldestCapability && gpu.name != "emulated GPU";
    }
    return count;
  }();
  // Under Slurm each process may see its own GPU only.
  const Ranks place = ranks_from_environment();
  const char* const local = std::getenv("LOCAL_WORLD_SIZE");
  const int here = place.source.empty() ? ranks : local ? std::atoi(local) : 1;
  const bool gpu = usable > 0 && usable >= static_cast<size_t>(std::max(1, here));
  device = gpu ? DeviceChoice::cuda : DeviceChoice::cpu;
  if (dtype == DtypeChoice::automatic) dtype = gpu ? DtypeChoice::bf16 : DtypeChoice::fp32;
}

Device open_device(const DeviceFlags& given) {
  const DeviceFlags flags = on_this_machine(given);
  return flags.device == DeviceChoice::cuda ? Device::cuda(flags.gpu, flags.tf32)
                                            : Device(cpu_context(flags.threads, flags.matmul));
}

Device open_device(const TrainOptions& given, int gpu) {
  const TrainOptions o = on_this_machine(given);  // which counts its ranks
  return open_device({o.device, o.dtype, gpu, o.threads, o.matmul, o.tf32});
}

DType dtype_of(DtypeChoice choice) { return choice == DtypeChoice::bf16 ? DType::bf16 : DType::f32; }

}  // namespace glint
