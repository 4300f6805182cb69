#include "train/options.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "src/comm/ranks.h"
#include "src/memory.h"
#include "train/machine.h"
#include "train/plan.h"

namespace glint {

namespace {

constexpr int kMaxThreads = 4096;

void require_positive(const char* flag, int64_t value) {
  GLINT_REQUIRE(value > 0, flag, " ", value, ": give a number of 1 or more");
}
void require_not_negative(const char* flag, double value) {
  GLINT_REQUIRE(value >= 0, flag, " ", value, ": give a number of 0 or more");
}
void require_probability(const char* flag, double p) {
  GLINT_REQUIRE(p >= 0 && p < 1, flag, " ", p, " is not in [0, 1)");
}

// "4 or 6": those of n next to what is no divisor of it.
std::string nearest_divisors(int n, int wrong) {
  int below = std::min(wrong, n), above = wrong;
  while (n % below != 0) --below;
  while (above < n && n % above != 0) ++above;
  return above <= n && above != below ? str_cat(below, " or ", above) : str_cat(below);
}

void require_fits(const TrainOptions& options) {
  const double needed = needed_bytes(options), there = static_cast<double>(machine_memory());
  if (needed <= there) return;
  throw UserError(str_cat("a model of --layers ", options.model.layers, " and --embd ", options.model.embd,
                          " with --context ", options.model.context, " and --micro-batch ", options.micro_batch,
                          " would need at least ", human_bytes(needed), " of memory and this machine has ",
                          human_bytes(there),
                          ": lower --layers, --embd, --context or --micro-batch, or use --recompute true"));
}

void require_sizes(const TrainOptions& options) {
  const GptConfig& model = options.model;
  require_positive("--layers", model.layers);
  require_positive("--heads", model.heads);
  require_positive("--kv-heads", model.kv_heads);
  require_positive("--embd", model.embd);
  require_positive("--context", model.context);
  require_positive("--batch", options.batch);
  require_positive("--micro-batch", options.micro_batch);
  require_positive("--ranks", options.ranks);
  GLINT_REQUIRE(options.zero == 0 || options.zero == 1, "--zero ", options.zero, ": give 0 or 1");
  GLINT_REQUIRE(options.bucket_mb > 0, "--bucket-mb ", options.bucket_mb, ": give a number above 0");
  GLINT_REQUIRE(options.comm_timeout > 0 && options.comm_timeout < 1e6, "--comm-timeout ", options.comm_timeout,
                ": give a number above 0");
  require_not_negative("--restarts", options.restarts);
  const int less = options.batch / options.ranks * options.ranks;
  GLINT_REQUIRE(less == options.batch, "--batch ", options.batch, " does not divide over ", options.ranks,
                " ranks: give ", less > 0 ? str_cat(less, " or ") : "", less + options.ranks);
  const int share = options.batch / options.ranks;
  GLINT_REQUIRE(share % options.micro_batch == 0, "--micro-batch ", options.micro_batch, " does not divide --batch ",
                options.batch, options.ranks > 1 ? str_cat(" / ", options.ranks, " ranks") : "", ": give ",
                nearest_divisors(share, options.micro_batch));
  require_not_negative("--steps", static_cast<double>(options.steps));
  require_positive("--eval-batches", options.eval_batches);
  require_positive("--threads", options.threads);
  GLINT_REQUIRE(options.threads <= kMaxThreads, "--threads ", options.threads, ": more than ", kMaxThreads,
                " are not supported");
  require_not_negative("--warmup", static_cast<double>(options.warmup));
  require_not_negative("--lr-decay-steps", static_cast<double>(options.lr_decay_steps));
  require_not_negative("--eval-every", static_cast<double>(options.eval_every));
  require_not_negative("--log-every", static_cast<double>(options.log_every));
  require_not_negative("--checkpoint-every", static_cast<double>(options.checkpoint_every));
}

void require_optimizer(const TrainOptions& options) {
  GLINT_REQUIRE(options.lr > 0, "--lr ", options.lr, ": give a number above 0");
  GLINT_REQUIRE(options.min_lr >= 0 && options.min_lr <= options.lr, "--min-lr ", options.min_lr,
                " is not between 0 and --lr ", options.lr);
  GLINT_REQUIRE(options.beta1 >= 0 && options.beta1 < 1, "--beta1 ", options.beta1, " is not in [0, 1)");
  GLINT_REQUIRE(options.beta2 >= 0 && options.beta2 < 1, "--beta2 ", options.beta2, " is not in [0, 1)");
  GLINT_REQUIRE(options.eps > 0, "--eps ", options.eps, ": give a number above 0");
  require_not_negative("--weight-decay", options.weight_decay);
  require_not_negative("--grad-clip", options.grad_clip);
}

}  // namespace

void TrainOptions::complete() {
  constexpr int64_t kUsualWarmup = 100;
  if (model.kv_heads == 0) model.kv_heads = model.heads;
  if (ranks == 0) ranks = ranks_from_environment().size;
  if (micro_batch == 0) micro_batch = ranks > 0 ? std::max(1, batch / ranks) : batch;
  if (std::isnan(min_lr)) min_lr = lr / 10;
  if (lr_decay_steps == 0) lr_decay_steps = steps;
  if (warmup == kUnsetSteps) warmup = std::min(kUsualWarmup, lr_decay_steps / 10);
  if (threads == 0) threads = default_threads();
}

void TrainOptions::fit_to(int new_ranks) {
  ranks = new_ranks;
  threads = 0;
  const int share = batch / std::max(1, ranks);
  while (micro_batch > 1 && share % micro_batch != 0)
    --micro_batch;  // the largest that divides; none above the saved one
}

void TrainOptions::validate() const {
  GLINT_REQUIRE(device == DeviceChoice::cpu || Device::kHasCuda,
                "--device cuda: this build of glint has no CUDA; use --device cpu");
  matmul_engine(matmul);  // throws if this build lacks it
  GLINT_REQUIRE(!out.empty(), "--out is empty: name the run folder to make");
  require_probability("--embd-dropout", model.embd_dropout);
  require_probability("--attn-dropout", model.attn_dropout);
  require_probability("--resid-dropout", model.resid_dropout);
  require_sizes(*this);
  require_optimizer(*this);
  require_fits(*this);
  GptConfig config = model;
  config.vocab = std::max(config.vocab, 1);  // before the data are read it isn't known
  config.validate();
}

double needed_bytes(const TrainOptions& options) {
  PlanRun run{.model = options.model,
              .dtype = dtype_of(options.dtype),
              .attention = options.attention,
              .recompute = options.recompute,
              .batch = options.batch,
              .micro_batch = options.micro_batch,
              .devices = options.ranks,
              .zero = options.zero == 1};
  run.model.vocab = std::max(run.model.vocab, 1);  // unknown before the data are read
  return memory_of(run);
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

void add_model_flags(Command command, GptConfig& model) {
  model.kv_heads = 0;
  command.add("--layers", model.layers, "Layers");
  command.add("--heads", model.heads, "Query heads");
  command.add("--kv-heads", model.kv_heads, "Key/value heads; 0: as --heads");
  command.add("--embd", model.embd, "Channels");
  command.add("--context", model.context, "Tokens per sequence");
  command.add("--vocab", model.vocab, "Vocabulary");
  command.add_switch("--bias", model.bias, "Biases in linear layers and layer norms");
}

void add_device_flags(Command command, DeviceFlags& flags) {
  command.add_choice("--device", flags.device, "Where to compute",
                     {{"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}});
  command.add_choice("--dtype", flags.dtype, "Arithmetic", {{"fp32", DtypeChoice::fp32}, {"bf16", DtypeChoice::bf16}});
  command.add("--threads", flags.threads, "CPU threads; 0: as many as the machine gives");
  command.add_choice(
      "--matmul", flags.matmul, "Matrix engine of the CPU",
      {{"auto", MatmulChoice::automatic}, {"eigen", MatmulChoice::eigen}, {"onednn", MatmulChoice::onednn}});
  command.add_switch("--tf32", flags.tf32, "fp32 products on a GPU may round their inputs to 10 bits: faster");
}

Device open_device(const DeviceFlags& flags) {
  return flags.device == DeviceChoice::cuda ? Device::cuda(flags.gpu, flags.tf32)
                                            : Device(cpu_context(flags.threads, flags.matmul));
}

DType dtype_of(DtypeChoice choice) { return choice == DtypeChoice::bf16 ? DType::bf16 : DType::f32; }

}  // namespace glint
