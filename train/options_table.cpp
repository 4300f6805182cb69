#include "train/options_table.h"

#include <charconv>
#include <type_traits>

#include "kernels/check.h"

namespace glint {

namespace {

constexpr const char* kFiles = "Data and output";
constexpr const char* kModel = "Model";
constexpr const char* kOptimizer = "Optimizer";
constexpr const char* kReports = "Evaluation, reports and checkpoints";
constexpr const char* kMachine = "Machine";
constexpr const char* kRanks = "Several devices";
constexpr OnResume kFixed = OnResume::fixed, kFree = OnResume::free;

using T = TrainOptions;
using M = GptConfig;

const OptionField kTable[] = {
    {"data", &T::data, kFixed, kFiles, "a UTF-8 text file, or a folder of `glint data prepare`", "the built-in corpus"},
    {"out", &T::out, kFixed, kFiles, "the run folder to make"},
    {"tokenizer", &T::tokenizer, kFixed, kFiles, "what a token is"},
    {"seed", &T::seed, kFixed, kFiles, "of everything random: data order, initialisation, dropout"},

    {"layers", &M::layers, kFixed, kModel, "transformer blocks"},
    {"heads", &M::heads, kFixed, kModel, "query heads; divides --embd"},
    {"kv-heads", &M::kv_heads, kFixed, kModel, "key/value heads; divides --heads", "as --heads"},
    {"embd", &M::embd, kFixed, kModel, "channels"},
    {"context", &M::context, kFixed, kModel, "tokens the model sees at once"},
    {"bias", &M::bias, kFixed, kModel, "biases in linear layers and layer norms"},
    {"activation", &M::activation, kFixed, kModel, "GELU, exact or GPT-2's approximation"},
    {"attn-dropout", &M::attn_dropout, kFixed, kModel, "drop probability of attention weights"},
    {"resid-dropout", &M::resid_dropout, kFixed, kModel, "drop probability of both projections"},
    {"embd-dropout", &M::embd_dropout, kFixed, kModel, "drop probability of the embedding"},

    {"steps", &T::steps, kFree, kOptimizer, "optimizer steps; may be raised on --resume"},
    {"batch", &T::batch, kFixed, kOptimizer, "sequences per optimizer step"},
    {"micro-batch", &T::micro_batch, kFree, kOptimizer, "sequences per pass; divides --batch / --ranks; saves memory",
     "--batch / --ranks"},
    {"lr", &T::lr, kFixed, kOptimizer, "highest learning rate"},
    {"min-lr", &T::min_lr, kFixed, kOptimizer, "learning rate after the decay", "--lr / 10"},
    {"warmup", &T::warmup, kFixed, kOptimizer, "steps of rising learning rate", "100, at most a tenth of the decay"},
    {"lr-decay-steps", &T::lr_decay_steps, kFixed, kOptimizer, "where the cosine decay ends", "as --steps"},
    {"beta1", &T::beta1, kFixed, kOptimizer, "AdamW's decay of the first moment"},
    {"beta2", &T::beta2, kFixed, kOptimizer, "AdamW's decay of the second moment"},
    {"eps", &T::eps, kFixed, kOptimizer, "AdamW's epsilon"},
    {"weight-decay", &T::weight_decay, kFixed, kOptimizer, "AdamW's weight decay, of 2-D tensors only"},
    {"grad-clip", &T::grad_clip, kFixed, kOptimizer, "highest gradient norm; 0: none"},

    {"eval-every", &T::eval_every, kFree, kReports, "steps from one estimate of the losses to the next; 0: never"},
    {"eval-batches", &T::eval_batches, kFree, kReports, "batches of an estimate"},
    {"log-every", &T::log_every, kFree, kReports, "steps from one line of metrics to the next; 0: never"},
    {"checkpoint-every", &T::checkpoint_every, kFree, kReports, "steps; 0: at the end only"},
    {"quiet", &T::quiet, kFree, kReports, "print warnings and errors only"},

    {"threads", &T::threads, kFree, kMachine, "CPU threads, of each rank", "all"},
    {"attention", &T::attention, kFixed, kMachine, "the fused kernel, or the plain one that keeps T x T weights"},
    {"matmul", &T::matmul, kFree, kMachine, "matrix engine"},
    {"recompute", &T::recompute, kFree, kMachine, "compute activations again in backward: slower, less memory"},
    {"device", &T::device, kFree, kMachine, "where to compute"},
    {"dtype", &T::dtype, kFree, kMachine, "arithmetic of the forward and backward passes"},
    {"tf32", &T::tf32, kFree, kMachine, "fp32 products on a GPU may round their inputs to 10 bits: faster"},
    {"graph", &T::graph, kFree, kMachine, "on a GPU: give it a step as one CUDA graph"},

    {"ranks", &T::ranks, kFree, kRanks, "processes that share each batch, one per GPU", "one, or as a launcher says"},
    {"zero", &T::zero, kFree, kRanks, "1: each rank keeps its part of AdamW's moments alone (ZeRO stage 1)"},
    {"bucket-mb", &T::bucket_mb, kFree, kRanks, "MiB of gradients that travel together, at most"},
    {"comm-timeout", &T::comm_timeout, kFree, kRanks, "seconds that a rank waits for another"},
    {"restarts", &T::restarts, kFree, kRanks,
     "times to start all ranks again, from the last checkpoint, after one failed"},
    {"interface", &T::interface, kFree, kRanks, "network interface that ranks talk over", "as the route says"},
};

template <typename Value>
constexpr bool kIsChoice = std::is_enum_v<Value> || std::is_same_v<Value, bool>;

template <typename Choice>
std::string choice_list(const char* separator) {
  std::string list;
  for (const auto& [name, choice] : names_of(Choice{})) list += (list.empty() ? "" : separator) + std::string(name);
  return list;
}

template <typename Number>
std::string number_text(Number value) {
  char buffer[64];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

template <typename Value>
std::string text_of(const Value& value) {
  if constexpr (std::is_same_v<Value, std::string>) {
    return value;
  } else if constexpr (kIsChoice<Value>) {
    for (const auto& [name, choice] : names_of(value)) {
      if (choice == value) return name;
    }
    return "?";
  } else {
    return number_text(value);
  }
}

template <typename Number>
std::string read_number(const std::string& text, Number& value) {
  const char *begin = text.data(), *end = begin + text.size();
  std::from_chars_result result{};
  if constexpr (std::is_floating_point_v<Number>) {
    result = std::from_chars(begin, end, value);
  } else {
    const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    result = std::from_chars(begin + (hexadecimal ? 2 : 0), end, value, hexadecimal ? 16 : 10);
  }
  if (result.ec == std::errc::result_out_of_range) return text + " is far out of range";
  const bool whole = result.ec == std::errc{} && result.ptr == end;
  if constexpr (std::is_floating_point_v<Number>) {
    return whole && std::isfinite(value) ? "" : "'" + text + "' is no number";
  } else {
    return whole ? "" : "'" + text + "' is no whole number" + (std::is_unsigned_v<Number> ? " of 0 or more" : "");
  }
}

template <typename Value>
std::string read(const std::string& text, Value& value) {
  if constexpr (std::is_same_v<Value, std::string>) {
    value = text;
    return "";
  } else if constexpr (kIsChoice<Value>) {
    for (const auto& [name, choice] : names_of(value)) {
      if (text != name) continue;
      value = choice;
      return "";
    }
    return "'" + text + "' is none of " + choice_list<Value>(", ");
  } else {
    Value read_first{};
    const std::string problem = read_number(text, read_first);
    if (problem.empty()) value = read_first;
    return problem;
  }
}

}  // namespace

std::span<const OptionField> option_table() { return kTable; }

const OptionField* find_option(const std::string& name) {
  for (const OptionField& field : kTable) {
    if (name == field.name) return &field;
  }
  return nullptr;
}

std::string value_text(const TrainOptions& options, const OptionField& field) {
  return std::visit([&](auto member) { return text_of(at(options, member)); }, field.member);
}

std::string set_value(TrainOptions& options, const OptionField& field, const std::string& text) {
  return std::visit([&](auto member) { return read(text, at(options, member)); }, field.member);
}

std::string type_text(const OptionField& field) {
  static const TrainOptions kDefaults;
  return std::visit(
      [](auto member) -> std::string {
        using Value = std::remove_cvref_t<decltype(at(kDefaults, member))>;
        if constexpr (std::is_same_v<Value, std::string>) {
          return "PATH";
        } else if constexpr (kIsChoice<Value>) {
          return choice_list<Value>("|");
        } else {
          return std::is_integral_v<Value> ? "INT" : "NUMBER";
        }
      },
      field.member);
}

std::string read_value(const std::string& text, float& value) { return read(text, value); }

}  // namespace glint
