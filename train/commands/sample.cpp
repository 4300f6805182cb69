// glint sample: prints text from a trained model token by token.
#include <algorithm>
#include <cstdio>
#include <optional>

#include "data/file_writer.h"
#include "data/utf8.h"
#include "models/generate.h"
#include "train/commands/commands.h"
#include "train/loaded_run.h"

namespace glint {

namespace {

struct SampleFlags : DeviceFlags {
  std::string run;
  std::optional<std::string> prompt, prompt_file;
  int tokens = 500, count = 1, batch = 16;
  SamplingOptions sampling;
  WhichCheckpoint checkpoint = WhichCheckpoint::automatic;
  Changed changed = Changed::refused;
};

std::string read_prompt(const std::string& path) {
  const std::optional<std::string> text = read_file(path == "-" ? "/dev/stdin" : path);
  GLINT_REQUIRE(text && !text->empty(), "--prompt-file ", path, " is empty or can't be read");
  return *text;
}

// A token that stands where a text begins: the separator, a line break, a space, or the first there is.
int32_t usual_first_token(const Tokenizer& tokenizer) {
  if (tokenizer.separator() >= 0) return tokenizer.separator();
  for (const char* text : {"\n", " "})
    if (const auto encoded = tokenizer.encode(text); encoded.unknown.empty()) return encoded.ids.front();
  return 0;
}

void sample(SampleFlags flags) {
  GLINT_REQUIRE(flags.tokens >= 0, "--tokens ", flags.tokens, " is negative");
  GLINT_REQUIRE(flags.count >= 1, "--count ", flags.count, " is less than 1");
  GLINT_REQUIRE(!flags.prompt || !flags.prompt_file, "give --prompt or --prompt-file, not both");
  if (flags.prompt_file) flags.prompt = read_prompt(*flags.prompt_file);
  GLINT_REQUIRE(!flags.prompt || !flags.prompt->empty(),
                "--prompt is empty; the model needs something to continue: leave it out, or give a line break");
  GLINT_REQUIRE(flags.batch >= 1, "--batch ", flags.batch, " is less than 1");
  flags.sampling.validate();
  LoadedRun run = load_run(flags.run, flags.checkpoint, open_device(flags), dtype_of(flags.dtype), flags.changed);
  const Tokenizer& tokenizer = run.tokenizer;
  Tokenizer::Encoded prompt = tokenizer.encode(flags.prompt.value_or(""), TokenNames::are_tokens);
  if (!flags.prompt) prompt.ids = {usual_first_token(tokenizer)};
  GLINT_REQUIRE(prompt.unknown.empty(), flags.prompt_file ? "--prompt-file" : "--prompt",
                " has characters that are not in the training text: ", describe_characters(prompt.unknown),
                "; leave them out");
  flags.sampling.never = tokenizer.unknown();
  const std::string start = flags.prompt ? *flags.prompt : tokenizer.decode(prompt.ids);
  Generator generator(*run.model, std::min(flags.batch, flags.count));
  for (int first = 0; first < flags.count; first += generator.sequences()) {
    flags.sampling.stream = static_cast<uint64_t>(first);
    std::vector<Utf8Stream> characters(static_cast<size_t>(generator.sequences()));
    std::vector<std::string> texts(characters.size());  // all but the first wait until that is printed
    std::vector<bool> ended(characters.size());
    size_t going = ended.size();
    if (first > 0) write_out("\n---\n");
    write_out(start);
    generator.generate(prompt.ids, flags.tokens, flags.sampling, [&](int sequence, int32_t token) {
      const auto i = static_cast<size_t>(sequence);
      if (ended[i]) return true;
      if (token == tokenizer.separator()) {  // the end of the text
        ended[i] = true;
        return --going > 0;
      }
      std::string bytes;
      tokenizer.append_decoded(bytes, token);
      const std::string piece = characters[i].push(bytes);
      if (sequence == 0) write_out(piece);
      else texts[i] += piece;
      return true;
    });
    for (size_t i = 0; i < texts.size() && first + static_cast<int>(i) < flags.count; ++i)
      write_out((i > 0 ? "\n---\n" + start : "") + texts[i] + characters[i].finish());
  }
  write_out("\n");
}

}  // namespace

void register_sample(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("sample", "Print text drawn from a trained model");
  const auto flags = std::make_shared<SampleFlags>();
  command.add_option("run", flags->run, "Run folder")->required();
  command.add_option("--prompt", flags->prompt, "Text to continue (default: how a text begins)");
  command.add_option("--prompt-file", flags->prompt_file, "A file with it; -: standard input")->type_name("FILE|-");
  add_option(command, "--tokens", flags->tokens, "Tokens to draw");
  add_option(command, "--temperature", flags->sampling.temperature,
             "Below 1: more likely text, above 1: more random; 0: always the likeliest token");
  add_option(command, "--top-k", flags->sampling.top_k, "Draw from the k likeliest tokens; 0: all");
  add_option(command, "--top-p", flags->sampling.top_p, "Draw from the likeliest tokens with this total probability");
  add_option(command, "--seed", flags->sampling.seed, "The same seed gives the same text");
  add_option(command, "--count", flags->count, "Samples to print");
  add_option(command, "--batch", flags->batch, "Samples to draw side by side; fewer take less memory");
  add_choice(command, "--checkpoint", flags->checkpoint, "Which one to read; auto: best if it exists, else last",
             {{"auto", WhichCheckpoint::automatic}, {"best", WhichCheckpoint::best}, {"last", WhichCheckpoint::last}});
  add_changed_flag(command, flags->changed);
  add_device_flags(command, *flags);
  command.callback([flags] { sample(on_this_machine(*flags)); });
}

}  // namespace glint
