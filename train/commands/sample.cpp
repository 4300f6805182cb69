// glint sample: prints text from a trained model token by token.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <optional>

#include <nlohmann/json.hpp>

#include "data/file_writer.h"
#include "models/generate.h"
#include "train/commands/commands.h"
#include "train/commands/sample_prompts.h"
#include "train/loaded_run.h"
#include "train/signals.h"
#include "train/text_stream.h"

namespace glint {

using nlohmann::ordered_json;

namespace {

struct SampleFlags : DeviceFlags, RunFlags {
  std::optional<std::string> prompt, prompt_file, prompts;
  std::vector<std::string> stops;
  int tokens = 500, count = 1, batch = 16, logprobs = -1;  // logprobs -1: none
  bool json = false, interactive = false;
  SamplingOptions sampling;

  void validate() const;
};

void SampleFlags::validate() const {
  GLINT_REQUIRE(tokens >= 0, "--tokens ", tokens, " is negative");
  GLINT_REQUIRE(count >= 1, "--count ", count, " is less than 1");
  GLINT_REQUIRE(batch >= 1, "--batch ", batch, " is less than 1");
  GLINT_REQUIRE(logprobs >= -1, "--logprobs ", logprobs, " is negative");
  GLINT_REQUIRE(logprobs < 0 || json, "--logprobs are part of the JSON; add --json");
  GLINT_REQUIRE(prompt.has_value() + prompt_file.has_value() + prompts.has_value() + interactive <= 1,
                "give one of --prompt, --prompt-file, --prompts and --interactive");
  GLINT_REQUIRE(!interactive || (!json && count == 1), "--interactive prints one text at a time: leave out ",
                json ? "--json" : "--count");
  GLINT_REQUIRE(!prompt || !prompt->empty(),
                "--prompt is empty; the model needs something to continue: leave it out, or give a line break");
  for (const std::string& stop : stops)
    GLINT_REQUIRE(!stop.empty(), "--stop is empty; give the text that ends a sample");
  sampling.validate();
}

std::string read_prompt(const std::string& path) {
  const std::optional<std::string> text = read_file(path == "-" ? "/dev/stdin" : path);
  GLINT_REQUIRE(text && !text->empty(), "--prompt-file ", path, " is empty or can't be read");
  return *text;
}

struct Prompt {
  std::optional<std::string> given;  // nothing: how a text begins
  std::vector<int32_t> ids;
  std::string text;
};

// A text that has been drawn, without its prompt.
struct Drawn {
  TextStream stream;
  std::string text{};
  int tokens = 0;
  const char* finish = nullptr;  // why it ended
  ordered_json logprobs = ordered_json::array();
};

class Sampler {
 public:
  explicit Sampler(SampleFlags flags)
      : flags_(std::move(flags)), run_(load_run(flags_, open_device(flags_), dtype_of(flags_.dtype))) {
    flags_.sampling.never = run_.tokenizer.unknown();
  }

  // name: of the prompt, for errors.
  Prompt encode(const std::optional<std::string>& text, const std::string& name) const;
  // Draws texts side by side, that of stream `first` and those that follow it. Passes the first one's on as it comes;
  // goes_on() false ends all.
  std::vector<Drawn> draw(Generator& generator, const Prompt& prompt, uint64_t first,
                          const std::function<void(const std::string&)>& show, const std::function<bool()>& goes_on);
  void print_texts(Generator& generator, const Prompt& prompt, bool is_first);
  void converse(Generator& generator);

  Generator generator() { return Generator(*run_.model, std::min(flags_.batch, flags_.count)); }

 private:
  ordered_json logprobs_of(std::span<const float> logits, int32_t token) const;
  void print_json(const Prompt& prompt, int number, const Drawn& drawn) const;

  SampleFlags flags_;
  LoadedRun run_;
};

Prompt Sampler::encode(const std::optional<std::string>& text, const std::string& name) const {
  Tokenizer::Encoded encoded = run_.tokenizer.encode(text.value_or(""), TokenNames::are_tokens);
  GLINT_REQUIRE(encoded.unknown.empty(), name,
                " has characters that are not in the training text: ", describe_characters(encoded.unknown),
                "; leave them out");
  if (!text) encoded.ids = {usual_first_token(run_.tokenizer)};
  return {text, encoded.ids, text ? *text : run_.tokenizer.decode(encoded.ids)};
}

// Natural logarithms of the model's own probabilities, before any sampling option.
ordered_json Sampler::logprobs_of(std::span<const float> logits, int32_t token) const {
  const float peak = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit - peak));
  const auto entry = [&](int32_t id) {
    std::string bytes;
    run_.tokenizer.append_decoded(bytes, id);
    return ordered_json{
        {"token", bytes}, {"id", id}, {"logprob", logits[static_cast<size_t>(id)] - peak - std::log(total)}};
  };
  std::vector<int32_t> best(logits.size());
  std::iota(best.begin(), best.end(), 0);
  const auto wanted = std::min(static_cast<size_t>(flags_.logprobs), best.size());
  const auto end = best.begin() + static_cast<std::ptrdiff_t>(wanted);
  std::partial_sort(best.begin(), end, best.end(), [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  });
  ordered_json result = entry(token);
  result["top"] = ordered_json::array();
  for (auto id = best.begin(); id != end; ++id) result["top"].push_back(entry(*id));
  return result;
}

std::vector<Drawn> Sampler::draw(Generator& generator, const Prompt& prompt, uint64_t first,
                                 const std::function<void(const std::string&)>& show,
                                 const std::function<bool()>& goes_on) {
  SamplingOptions sampling = flags_.sampling;
  sampling.stream = first;
  std::vector<Drawn> texts(static_cast<size_t>(generator.sequences()), Drawn{TextStream(flags_.stops)});
  const auto add = [&](size_t i, const std::string& piece) {
    texts[i].text += piece;
    if (i == 0) show(piece);
  };
  size_t going = texts.size();
  const auto emit = [&](int sequence, int32_t token) {
    const auto i = static_cast<size_t>(sequence);
    Drawn& text = texts[i];
    if (!goes_on()) return false;
    if (text.finish) return true;
    const bool ends = token == run_.tokenizer.separator();
    if (!ends) {
      text.tokens += 1;
      if (flags_.logprobs >= 0) text.logprobs.push_back(logprobs_of(generator.logits(sequence), token));
      std::string bytes;
      run_.tokenizer.append_decoded(bytes, token);
      add(i, text.stream.push(bytes));
    }
    if (!ends && !text.stream.stopped()) return true;
    text.finish = ends ? "end" : "stop";
    return --going > 0;
  };
  generator.generate(prompt.ids, flags_.tokens, sampling, emit, flags_.logprobs >= 0);
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!texts[i].finish) texts[i].finish = "length";
    add(i, texts[i].stream.finish());
  }
  return texts;
}

void Sampler::print_json(const Prompt& prompt, int number, const Drawn& drawn) const {
  ordered_json line = {{"prompt", prompt.given ? ordered_json(*prompt.given) : ordered_json(nullptr)},
                       {"sample", number},
                       {"text", drawn.text},
                       {"tokens", drawn.tokens},
                       {"finish", drawn.finish}};
  if (flags_.logprobs >= 0) line["logprobs"] = drawn.logprobs;
  // A token may be a part of a character: it is then shown as U+FFFD.
  write_out(line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

void Sampler::print_texts(Generator& generator, const Prompt& prompt, bool is_first) {
  const std::string between = "\n---\n";
  for (int first = 0; first < flags_.count; first += generator.sequences()) {
    if (!flags_.json) write_out((is_first ? "" : between) + prompt.text);
    is_first = false;
    const auto show = [&](const std::string& piece) {
      if (!flags_.json) write_out(piece);
    };
    const std::vector<Drawn> texts = draw(generator, prompt, static_cast<uint64_t>(first), show, [] { return true; });
    const int count = std::min(generator.sequences(), flags_.count - first);
    for (int i = 0; i < count; ++i) {
      const Drawn& drawn = texts[static_cast<size_t>(i)];
      if (flags_.json) print_json(prompt, first + i, drawn);
      else if (i > 0) write_out(between + prompt.text + drawn.text);
    }
  }
}

// Continues each line of standard input. An interrupt ends a text, the end of the input all.
void Sampler::converse(Generator& generator) {
  InterruptWatch interrupts;
  PromptLines lines(interrupts);
  if (lines.from_terminal()) std::fputs("Ctrl-C stops a text, Ctrl-D ends.\n", stderr);
  for (uint64_t number = 0; const std::optional<std::string> line = lines.next(); ++number) {
    try {
      const Prompt prompt = encode(line->empty() ? std::nullopt : line, "the prompt");
      bool interrupted = false;
      interrupts.take();  // one that came after the last text's end
      draw(
          generator, prompt, number, [](const std::string& piece) { write_out(piece); },
          [&] { return !(interrupted = interrupted || interrupts.take()); });
      write_out("\n");
    } catch (const UserError& error) {
      std::fprintf(stderr, "glint: %s\n", error.what());
    }
  }
}

void sample(SampleFlags flags) {
  flags.validate();
  if (flags.prompt_file) flags.prompt = read_prompt(*flags.prompt_file);
  std::vector<NamedPrompt> prompts;
  if (flags.prompts) prompts = read_prompts(*flags.prompts);
  else prompts.push_back({flags.prompt, flags.prompt_file ? "--prompt-file" : "--prompt"});
  Sampler sampler(flags);
  std::vector<Prompt> encoded;  // all, before the first is continued
  for (const NamedPrompt& prompt : prompts) encoded.push_back(sampler.encode(prompt.text, prompt.name));
  Generator generator = sampler.generator();
  if (flags.interactive) return sampler.converse(generator);
  for (size_t i = 0; i < encoded.size(); ++i) sampler.print_texts(generator, encoded[i], i == 0);
  if (!flags.json) write_out("\n");
}

}  // namespace

void register_sample(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("sample", "Print text drawn from a trained model");
  const auto flags = std::make_shared<SampleFlags>();
  add_run_flags(command, *flags);
  command.add_option("--prompt", flags->prompt, "Text to continue (default: how a text begins)");
  command.add_option("--prompt-file", flags->prompt_file, "A file with it; -: standard input")->type_name("FILE|-");
  command.add_option("--prompts", flags->prompts, "Several: a line each; of FILE.jsonl a string, or {\"prompt\": ...}")
      ->type_name("FILE|-");
  command.add_flag("--interactive", flags->interactive, "Continue lines that you type");
  add_option(command, "--tokens", flags->tokens, "Tokens to draw");
  command.add_option("--stop", flags->stops, "End before this text; may be given several times")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  add_sampling_flags(command, flags->sampling);
  add_option(command, "--seed", flags->sampling.seed, "The same seed gives the same text");
  add_option(command, "--count", flags->count, "Samples to print, of each prompt");
  add_option(command, "--batch", flags->batch, "Samples to draw side by side; fewer take less memory");
  command.add_flag("--json", flags->json, "Print a JSON object for each sample, a line each");
  command
      .add_option("--logprobs", flags->logprobs, "In the JSON: log probabilities of each token and of the N likeliest")
      ->type_name("N");
  add_device_flags(command, *flags);
  command.callback([flags] { sample(on_this_machine(*flags)); });
}

}  // namespace glint
