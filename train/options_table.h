// The options of a training run, one line each: the flag, the key in --config files and config.json, and its rules.
#pragma once

#include "train/options.h"

namespace glint {

enum class Range { any, positive, not_negative, fraction };  // positive: an integer from 1; fraction: in [0, 1)
// free: may change when a run is resumed, since it does not change the mathematics.
enum class OnResume { fixed, free };

struct OptionInfo {
  const char* name;  // the flag without its dashes
  const char* group;
  OnResume on_resume;
  Range range;
  const char* help;
  const char* shown_default = nullptr;  // in the help, where the value alone would not tell
};

// Calls visit(value, OptionInfo) for each option, in the order of the help and of config.json.
template <typename Options, typename Visit>  // Options: TrainOptions, const or not
void for_each_option(Options& o, Visit&& visit) {
  auto& m = o.model;
  constexpr OnResume kFixed = OnResume::fixed, kFree = OnResume::free;
  constexpr Range kAny = Range::any, kPositive = Range::positive, kFrom0 = Range::not_negative,
                  kFraction = Range::fraction;
  const auto group = [&visit](const char* name) {
    return [name, &visit](auto& value, const char* option, OnResume on_resume, Range range, const char* help,
                          const char* shown_default = nullptr) {
      visit(value, OptionInfo{option, name, on_resume, range, help, shown_default});
    };
  };
  // clang-format off
  const auto files = group("Data and output");
  files(o.data, "data", kFixed, kAny, "a UTF-8 text file, or a folder of `glint data prepare`", "the built-in corpus");
  files(o.out, "out", kFixed, kAny, "the run folder to make");
  files(o.tokenizer, "tokenizer", kFixed, kAny, "what a token is");
  files(o.seed, "seed", kFixed, kAny, "of everything random: data order, initialization, dropout");

  const auto model = group("Model");
  model(m.layers, "layers", kFixed, kPositive, "transformer blocks");
  model(m.heads, "heads", kFixed, kPositive, "query heads; divides --embd");
  model(m.kv_heads, "kv-heads", kFixed, kPositive, "key/value heads; divides --heads", "as --heads");
  model(m.embd, "embd", kFixed, kPositive, "channels");
  model(m.context, "context", kFixed, kPositive, "tokens the model sees at once");
  model(m.bias, "bias", kFixed, kAny, "biases in linear layers and layer norms");
  model(m.activation, "activation", kFixed, kAny, "GELU, exact or GPT-2's approximation");
  model(m.attn_dropout, "attn-dropout", kFixed, kFraction, "drop probability of attention weights");
  model(m.resid_dropout, "resid-dropout", kFixed, kFraction, "drop probability of both projections");
  model(m.embd_dropout, "embd-dropout", kFixed, kFraction, "drop probability of the embedding");

  const auto optimizer = group("Optimizer");
  optimizer(o.steps, "steps", kFree, kFrom0, "optimizer steps; may be raised on --resume");
  optimizer(o.batch, "batch", kFixed, kPositive, "sequences per optimizer step");
  optimizer(o.micro_batch, "micro-batch", kFree, kPositive, "sequences per pass; fewer save memory", "--batch / --ranks");
  optimizer(o.lr, "lr", kFixed, kPositive, "highest learning rate");
  optimizer(o.min_lr, "min-lr", kFixed, kFrom0, "learning rate after the decay", "--lr / 10");
  optimizer(o.warmup, "warmup", kFixed, kFrom0, "steps of rising learning rate", "100, at most a tenth of the decay");
  optimizer(o.lr_decay_steps, "lr-decay-steps", kFixed, kFrom0, "where the cosine decay ends", "as --steps");
  optimizer(o.beta1, "beta1", kFixed, kFraction, "AdamW's decay of the first moment");
  optimizer(o.beta2, "beta2", kFixed, kFraction, "AdamW's decay of the second moment");
  optimizer(o.eps, "eps", kFixed, kPositive, "AdamW's epsilon");
  optimizer(o.weight_decay, "weight-decay", kFixed, kFrom0, "AdamW's weight decay, of 2-D tensors only");
  optimizer(o.grad_clip, "grad-clip", kFixed, kFrom0, "highest gradient norm; 0: no limit");

  const auto reports = group("Evaluation, reports and checkpoints");
  reports(o.eval_every, "eval-every", kFree, kFrom0, "steps between estimates of the losses; 0: never");
  reports(o.eval_batches, "eval-batches", kFree, kPositive, "batches of an estimate");
  reports(o.log_every, "log-every", kFree, kFrom0, "steps between lines of metrics; 0: never");
  reports(o.checkpoint_every, "checkpoint-every", kFree, kFrom0, "steps between checkpoints; 0: at the end only");
  reports(o.quiet, "quiet", kFree, kAny, "print warnings and errors only");

  const auto machine = group("Machine");
  machine(o.threads, "threads", kFree, kPositive, "CPU threads of each rank", "all");
  machine(o.attention, "attention", kFixed, kAny, "the fused kernel, or the plain one that stores T x T weights");
  machine(o.matmul, "matmul", kFree, kAny, "matrix product library of the CPU");
  machine(o.recompute, "recompute", kFree, kAny, "compute activations again in backward: slower, less memory");
  machine(o.device, "device", kFree, kAny, "where to compute");
  machine(o.dtype, "dtype", kFree, kAny, "number format of the forward and backward passes");
  machine(o.tf32, "tf32", kFree, kAny, "fp32 products on a GPU may round their inputs to 10 bits: faster");
  machine(o.graph, "graph", kFree, kAny, "on a GPU: run a step as one CUDA graph");

  const auto ranks = group("Several devices");
  ranks(o.ranks, "ranks", kFree, kPositive, "processes that share each batch, one per GPU", "1, or by launcher");
  ranks(o.zero, "zero", kFree, kAny, "1: each rank stores only its part of AdamW's moments (ZeRO stage 1)");
  ranks(o.bucket_mb, "bucket-mb", kFree, kPositive, "largest bucket of gradients sent at once, MiB");
  ranks(o.comm_timeout, "comm-timeout", kFree, kPositive, "seconds that a rank waits for another");
  ranks(o.restarts, "restarts", kFree, kFrom0, "times to restart all ranks from the last checkpoint after a failure");
  ranks(o.rendezvous, "rendezvous", kFree, kAny, "redis://host:port if ranks share no folder", "the run folder");
  ranks(o.interface, "interface", kFree, kAny, "network interface between ranks", "as routed");
  // clang-format on
}

}  // namespace glint
