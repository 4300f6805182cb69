// glint bench sample: how fast a model of any shape draws tokens, and how near that is to reading what it must read.
#include "models/generate.h"
#include "src/clock.h"
#include "src/measure/peak.h"
#include "train/commands/bench.h"

namespace glint {

namespace {

struct SamplingBenchFlags : BenchFlags {
  TrainOptions options;  // the model
  SamplingOptions sampling;
  int count = 1, prompt = 16, tokens = 128;
  bool graph = true;
};

// Bytes that a step has to read: the weights once (of the position embedding next to nothing), and the keys and values
// of `position` tokens of each sequence.
double least_bytes(const Model& model, const GptConfig& config, int sequences, double position) {
  const auto element = static_cast<double>(bytes_of(model.parameters().dtype()));
  const double positions = config.kind == ModelKind::gpt2 ? 1.0 * config.context * config.embd : 0;
  double bytes = element * (static_cast<double>(model.parameters().count()) - positions);
  for (const Shape& cache : model.cache_shapes(sequences))
    bytes += element * static_cast<double>(cache.elements()) * position / model.context();
  return bytes;
}

void bench_sample(SamplingBenchFlags flags) {
  flags.options.complete();
  const GptConfig& config = flags.options.model;
  GLINT_REQUIRE(flags.tokens >= 2 && flags.prompt + flags.tokens <= config.context + 1, "--prompt ", flags.prompt,
                " and --tokens ", flags.tokens, " have to fit into --context ", config.context,
                ", with 2 tokens or more");
  flags.sampling.validate();
  const Device device = open_device(flags);
  const auto model = make_model(config, device, dtype_of(flags.dtype));
  model->initialize(1);
  Generator generator(*model, flags.count, flags.graph);
  std::vector<int32_t> prompt;
  for (int i = 0; i < flags.prompt; ++i) prompt.push_back(i * 7 % config.vocab);
  const auto ms_of = [&](int tokens) {
    const auto start = Clock::now();
    generator.generate(prompt, tokens, flags.sampling, [](int, int32_t) { return true; });
    return 1000 * seconds_since(start);
  };
  ms_of(2);  // touches every page, and captures the CUDA graph
  std::vector<double> of_prompt, of_all;
  for (int i = 0; i < flags.repeats; ++i) {
    of_prompt.push_back(ms_of(1));
    of_all.push_back(ms_of(flags.tokens));
  }
  const double prompt_ms = median(of_prompt), ms = (median(of_all) - prompt_ms) / (flags.tokens - 1);
  const double bytes = least_bytes(*model, config, flags.count, flags.prompt + 0.5 * flags.tokens);
  const double bandwidth = measure_bandwidth(device), reached = 1e-6 * bytes / ms;
  print_results({{"ms_per_token", ms},
                 {"tokens_per_s", 1000 / ms},
                 {"tokens_per_s_of_all", 1000 * flags.count / ms},
                 {"prompt_ms", prompt_ms},
                 {"least_bytes", static_cast<int64_t>(bytes)},
                 {"gbytes_per_s", reached},
                 {"bandwidth_gbytes", bandwidth},
                 {"share_of_bandwidth", reached / bandwidth},
                 {"parameters", model->parameters().count()},
                 {"device", device.name()}},
                flags.json);
}

}  // namespace

void register_bench_sample(CLI::App& bench) {
  CLI::App& command = *bench.add_subcommand("sample", "Drawing tokens one by one, from a model with random weights");
  const auto flags = std::make_shared<SamplingBenchFlags>();
  flags->options.model.vocab = 65;
  flags->repeats = 3;
  add_model_flags(command, flags->options);
  add_count(command, "--count", flags->count, "Sequences side by side");
  add_count(command, "--prompt", flags->prompt, "Tokens of the prompt");
  add_count(command, "--tokens", flags->tokens, "Tokens to draw for each sequence");
  add_sampling_flags(command, flags->sampling);
  add_option(command, "--graph", flags->graph, "On a GPU: run a step as one CUDA graph");
  add_bench_flags(command, *flags);
  command.callback([flags] { bench_sample(*flags); });
}

}  // namespace glint
