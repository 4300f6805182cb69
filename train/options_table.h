// The options of a training run, one line each: the flag, the key in --config files and config.json, and its rules.
#pragma once

#include "train/options.h"

namespace glint {

enum class Range { any, positive, not_negative, fraction };  // positive: an integer from 1; fraction: in [0, 1)
// free: may change when a run is resumed, since it does not change the mathematics. added: fixed; runs that are older
// than the option have its default. moved: a path to the same data.
enum class OnResume { fixed, added, free, moved };

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
  const char* group = "Data and output";
  const auto add = [&](auto& value, const char* name, OnResume on_resume, Range range, const char* help,
                       const char* shown_default = nullptr) {
    visit(value, OptionInfo{name, group, on_resume, range, help, shown_default});
  };
  // clang-format off
  add(o.data, "data", OnResume::moved, kAny, "UTF-8 text: files, folders; or a folder of `glint data prepare`",
      "the built-in corpus");
  add(o.val_data, "val-data", OnResume::moved, kAny, "Text for validation", "the last 10% of --data");
  add(o.out, "out", kFixed, kAny, "The run folder to make");
  add(o.tokenizer, "tokenizer", kFixed, kAny, "char, byte, bpe; or a tokenizer's file or folder");
  add(m.vocab, "vocab", kFixed, kFrom0, "Tokens of a bpe that is made from the text", "8192");
  add(o.init_from, "init-from", OnResume::added, kAny, "A run whose weights, shape, tokenizer to begin with", "none");
  add(o.seed, "seed", kFixed, kAny, "Of everything random: data order, initialization, dropout");

  group = "Model";
  add(m.kind, "model", OnResume::added, kAny, "Architecture");
  add(m.layers, "layers", kFixed, kPositive, "Transformer blocks");
  add(m.heads, "heads", kFixed, kPositive, "Query heads; divides --embd");
  add(m.kv_heads, "kv-heads", kFixed, kPositive, "Key/value heads; divides --heads", "as --heads");
  add(m.embd, "embd", kFixed, kPositive, "Channels");
  add(m.context, "context", kFixed, kPositive, "Tokens the model sees at once");
  add(m.bias, "bias", kFixed, kAny, "Biases in linear layers and layer norms");
  add(m.norm_epsilon, "norm-epsilon", OnResume::added, kPositive, "Of layer norms");
  add(m.tied, "tie-embeddings", OnResume::added, kAny, "The output head is the token embedding");
  add(m.vocab_multiple, "vocab-multiple", kFree, kFrom0, "Pad the vocabulary to a multiple: faster, same losses",
      "8, from 1024 tokens on 64");
  add(m.activation, "activation", kFixed, kAny, "GELU, exact or GPT-2's approximation");
  add(m.rope_theta, "rope-theta", OnResume::added, kPositive, "Base of Llama's rotary positions");
  add(m.qk_norm, "qk-norm", OnResume::added, kAny, "RMSNorm of Llama's queries and keys, without weights");
  add(m.attn_dropout, "attn-dropout", kFixed, kFraction, "Drop probability of attention weights, in steps of 1/256");
  add(m.resid_dropout, "resid-dropout", kFixed, kFraction, "Drop probability of both projections");
  add(m.embd_dropout, "embd-dropout", kFixed, kFraction, "Drop probability of the embedding");

  group = "Optimizer";
  add(o.steps, "steps", kFree, kFrom0, "Optimizer steps; may be raised on --resume");
  add(o.batch, "batch", kFixed, kPositive, "Sequences per optimizer step");
  add(o.micro_batch, "micro-batch", kFree, kPositive, "Sequences per pass; fewer save memory", "--batch / --ranks");
  add(o.lr, "lr", kFixed, kPositive, "Highest learning rate");
  add(o.min_lr, "min-lr", kFixed, kFrom0, "Learning rate after the decay", "--lr / 10");
  add(o.warmup, "warmup", kFixed, kFrom0, "Steps of rising learning rate", "100, at most a tenth of the decay");
  add(o.lr_decay_steps, "lr-decay-steps", kFixed, kFrom0, "Where the decay ends", "as --steps");
  add(o.schedule, "schedule", OnResume::added, kAny, "How the rate falls: from the warm-up on, or at the end (wsd)");
  add(o.decay_part, "decay-part", OnResume::added, kFraction, "Of --lr-decay-steps: where --schedule wsd falls");
  add(o.optimizer, "optimizer", OnResume::added, kAny, "Muon: for the matrices of layers, AdamW for the rest");
  add(o.muon_momentum, "muon-momentum", OnResume::added, kFraction, "Muon's momentum (Nesterov)");
  add(o.beta1, "beta1", kFixed, kFraction, "AdamW's decay of the first moment");
  add(o.beta2, "beta2", kFixed, kFraction, "AdamW's decay of the second moment");
  add(o.eps, "eps", kFixed, kPositive, "AdamW's epsilon");
  add(o.weight_decay, "weight-decay", kFixed, kFrom0, "Decoupled weight decay, of 2-D tensors only");
  add(o.grad_clip, "grad-clip", kFixed, kFrom0, "Highest gradient norm; 0: no limit");
  add(o.optimizer_dtype, "optimizer-dtype", OnResume::added, kAny, "Number format of AdamW's moments");

  group = "Evaluation, reports and checkpoints";
  add(o.eval_every, "eval-every", kFree, kFrom0, "Steps between estimates of the losses; 0: never");
  add(o.eval_batches, "eval-batches", kFree, kPositive, "Batches of an estimate");
  add(o.patience, "patience", kFree, kFrom0, "Evaluations without a better loss that end the run; 0: never");
  add(o.log_every, "log-every", kFree, kFrom0, "Steps between lines of metrics; 0: never");
  add(o.checkpoint_every, "checkpoint-every", kFree, kFrom0, "Steps between checkpoints; 0: at the end only");
  add(o.sample_every, "sample-every", kFree, kFrom0, "Steps between texts that the model draws; 0: never");
  add(o.tensorboard, "tensorboard", kFree, kAny, "Write TensorBoard's event files into the run folder");
  add(o.quiet, "quiet", kFree, kAny, "Print warnings and errors only");

  group = "Machine";
  add(o.threads, "threads", kFree, kFrom0, "CPU threads of each rank; 0: all");
  add(o.attention, "attention", kFixed, kAny, "Fused kernels, those for sm_80 on any GPU, or plain: T x T weights");
  add(o.matmul, "matmul", kFree, kAny, "Matrix product library of the CPU");
  add(o.recompute, "recompute", kFree, kAny, "Compute activations again in backward: slower, less memory");
  add(o.loss_chunk, "loss-chunk", kFree, kFrom0, "Rows of logits in memory at a time, for less of it; 0: all");
  add(o.device, "device", kFree, kAny, "Where to compute; auto: on a GPU if there is one");
  add(o.dtype, "dtype", kFree, kAny, "Number format of the passes; auto: bf16 on the GPU of --device auto, else fp32");
  add(o.tf32, "tf32", kFree, kAny, "fp32 products on a GPU may round their inputs to 10 bits: faster");
  add(o.graph, "graph", kFree, kAny, "On a GPU: run a step as one CUDA graph");
  add(o.tune, "tune", kFree, kAny, "On a GPU: measure which algorithm is the fastest for each matrix product");

  group = "Several devices";
  add(o.ranks, "ranks", kFree, kPositive, "Processes that share each batch, one per GPU", "1, or by launcher");
  add(o.zero, "zero", kFree, kAny, "1: each rank stores only its part of AdamW's moments (ZeRO stage 1)");
  add(o.bucket_mb, "bucket-mb", kFree, kPositive, "Largest bucket of gradients sent at once, MiB");
  add(o.comm_timeout, "comm-timeout", kFree, kPositive, "Seconds that a rank waits for another");
  add(o.restarts, "restarts", kFree, kFrom0, "Times to restart all ranks from the last checkpoint after a failure");
  add(o.interface, "interface", kFree, kAny, "Network interface between ranks", "as routed");
  // clang-format on
}

}  // namespace glint
