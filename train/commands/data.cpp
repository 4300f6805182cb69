// glint data: tokenise a text, describe what was tokenised, write out the built-in corpus.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "data/corpus.h"
#include "data/dataset.h"
#include "data/file_writer.h"
#include "data/prepare.h"
#include "kernels/check.h"
#include "train/commands/commands.h"

namespace glint {

namespace {

struct PrepareFlags {
  std::string in, out;
  TokenizerKind tokenizer = TokenizerKind::character;
};

void register_prepare(Command data) {
  Command command = data.add_command("prepare", "Tokenise a text once, for many runs");
  const auto flags = std::make_shared<PrepareFlags>();
  command.add_required("in", flags->in, "UTF-8 text file");
  command.add_required("--out", flags->out, "Folder for the tokens");
  command.add_choice("--tokenizer", flags->tokenizer, "What a token is",
                     {{"char", TokenizerKind::character}, {"byte", TokenizerKind::byte}});
  command.run([flags] {
    prepare_text(flags->in, flags->tokenizer, flags->out);
    std::fputs(Dataset::open(flags->out).describe().c_str(), stderr);
  });
}

struct InfoFlags {
  std::string folder;
  bool json = false;
};

void register_data_info(Command data) {
  Command command = data.add_command("info", "Describe a prepared folder, after checking all of it");
  const auto flags = std::make_shared<InfoFlags>();
  command.add_required("dir", flags->folder, "Prepared folder, or run folder");
  command.add_flag("--json", flags->json, "One JSON object");
  command.run([flags] {
    const Dataset dataset = Dataset::open(flags->folder);
    std::string report = flags->json ? dataset.to_json() : dataset.describe();
    if (!report.ends_with('\n')) report += '\n';
    std::fputs(report.c_str(), stdout);
  });
}

struct CorpusFlags {
  uint64_t bytes = kCorpusBytes, seed = 1;
  std::string out;
};

// Calls sink(pointer, size) with the corpus piece by piece.
template <typename Sink>
void stream_corpus(const CorpusFlags& flags, Sink sink) {
  constexpr uint64_t kPiece = 1 << 16;
  CorpusStream stream(flags.seed);
  std::vector<char> piece(kPiece);
  for (uint64_t left = flags.bytes; left > 0;) {
    const size_t size = static_cast<size_t>(std::min(left, kPiece));
    stream.read(piece.data(), size);
    sink(piece.data(), size);
    left -= size;
  }
}

void register_corpus(Command data) {
  Command command = data.add_command("corpus", "Write the built-in corpus, a text whose entropy is known");
  const auto flags = std::make_shared<CorpusFlags>();
  command.add("--bytes", flags->bytes, "Length");
  command.add("--seed", flags->seed, "The same seed gives the same text");
  command.add("--out", flags->out, "File to write (default: standard output)", "FILE");
  command.run([flags] {
    if (flags->out.empty()) {
      stream_corpus(*flags, [](const char* bytes, size_t size) {
        GLINT_REQUIRE(std::fwrite(bytes, 1, size, stdout) == size,
                      "standard output can't be written (closed, or its disk is full)");
      });
      return;
    }
    FileWriter file(flags->out);
    stream_corpus(*flags, [&](const char* bytes, size_t size) { file.append(bytes, size); });
    file.commit();
    std::fprintf(stderr, "%llu bytes in %s, %.4f nats per character\n", static_cast<unsigned long long>(flags->bytes),
                 flags->out.c_str(), corpus_entropy());
  });
}

}  // namespace

void register_data(Command program) {
  Command data = program.add_command("data", "Prepare, describe or generate training text");
  data.require_command();
  register_prepare(data);
  register_data_info(data);
  register_corpus(data);
}

}  // namespace glint
