// glint sample: prints text from a trained model token by token.
#include <algorithm>
#include <cstdio>

#include "data/utf8.h"
#include "models/generate.h"
#include "train/commands/commands.h"
#include "train/loaded_run.h"

namespace glint {

namespace {

struct SampleFlags : DeviceFlags {
  std::string run;
  std::string prompt = "\n";
  int tokens = 500, count = 1, batch = 16;
  SamplingOptions sampling;
  WhichCheckpoint checkpoint = WhichCheckpoint::automatic;
};

void write_out(const std::string& piece) {
  const bool written = std::fwrite(piece.data(), 1, piece.size(), stdout) == piece.size() && std::fflush(stdout) == 0;
  GLINT_REQUIRE(written, "standard output can't be written (closed, or its disk is full)");
}

void sample(SampleFlags flags) {
  GLINT_REQUIRE(flags.tokens >= 0, "--tokens ", flags.tokens, " is negative");
  GLINT_REQUIRE(flags.count >= 1, "--count ", flags.count, " is less than 1");
  GLINT_REQUIRE(!flags.prompt.empty(),
                "--prompt is empty; the model needs something to continue, for example a line break");
  GLINT_REQUIRE(flags.batch >= 1, "--batch ", flags.batch, " is less than 1");
  flags.sampling.validate();
  LoadedRun run = load_run(flags.run, flags.checkpoint, open_device(flags), dtype_of(flags.dtype));
  const auto prompt = run.tokenizer.encode(flags.prompt);
  GLINT_REQUIRE(prompt.unknown.empty(),
                "--prompt has characters that are not in the training text: ", describe_characters(prompt.unknown),
                "; leave them out");
  flags.sampling.never = run.tokenizer.unknown();
  Generator generator(*run.model, std::min(flags.batch, flags.count));
  for (int first = 0; first < flags.count; first += generator.sequences()) {
    flags.sampling.stream = static_cast<uint64_t>(first);
    std::vector<Utf8Stream> characters(static_cast<size_t>(generator.sequences()));
    std::vector<std::string> texts(characters.size());  // all but the first wait until that is printed
    if (first > 0) write_out("\n---\n");
    write_out(flags.prompt);
    generator.generate(prompt.ids, flags.tokens, flags.sampling, [&](int sequence, int32_t token) {
      std::string bytes;
      run.tokenizer.append_decoded(bytes, token);
      const auto i = static_cast<size_t>(sequence);
      const std::string piece = characters[i].push(bytes);
      if (sequence == 0) write_out(piece);
      else texts[i] += piece;
      return true;
    });
    for (size_t i = 0; i < texts.size() && first + static_cast<int>(i) < flags.count; ++i)
      write_out((i > 0 ? "\n---\n" + flags.prompt : "") + texts[i] + characters[i].finish());
  }
  write_out("\n");
}

}  // namespace

void register_sample(CLI::App& program) {
  CLI::App& command = *program.add_subcommand("sample", "Print text drawn from a trained model");
  const auto flags = std::make_shared<SampleFlags>();
  command.add_option("run", flags->run, "Run folder")->required();
  add_option(command, "--prompt", flags->prompt, "Text to continue (default: a line break)");
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
  add_device_flags(command, *flags);
  command.callback([flags] { sample(*flags); });
}

}  // namespace glint
