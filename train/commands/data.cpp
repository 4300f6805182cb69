// glint data: tokenises a text, describes a prepared folder, writes the built-in corpus.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/dataset.h"
#include "data/file_writer.h"
#include "data/prepare.h"
#include "data/utf8.h"
#include "kernels/check.h"
#include "src/clock.h"
#include "src/memory.h"
#include "train/commands/commands.h"
#include "train/progress.h"
#include "train/run_data.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

struct Texts {
  std::vector<fs::path> in;
  std::string field;
  std::optional<std::string> separator;

  TextPaths paths() const {
    GLINT_REQUIRE(!separator || (!separator->empty() && find_utf8_error(*separator) == std::string::npos),
                  "--separator is ", separator->empty() ? "empty" : "not UTF-8",
                  ": give the text that stands between documents, such as '<|endoftext|>'");
    TextPaths paths(in, {});
    paths.field = field, paths.separator = separator.value_or("");
    return paths;
  }
};

CLI::Option* add_texts(CLI::App& command, Texts& texts) {
  command.add_option("--field", texts.field,
                     "Field of *.jsonl that holds the text (default: text); makes - JSON lines");
  command.add_option("--separator", texts.separator, "Text between documents within a file, such as '<|endoftext|>'");
  return command.add_option("TEXT", texts.in,
                            "UTF-8 text, *.jsonl, *.gz: files, or folders of them; -: standard input");
}

struct PrepareFlags : Texts {
  std::string val, out, tokenizer = "char", tokenizer_from;
  int vocabulary = kUsualVocabulary;
  uint64_t shard_tokens = kTokensPerFile;
};

void prepare(const PrepareFlags& flags) {
  const fs::path out = (fs::absolute(flags.out) / "").lexically_normal().parent_path();
  const RunPaths run{out.parent_path()};
  GLINT_REQUIRE(out != run.data() || !fs::exists(run.config()), flags.out, " is the data of the run ",
                run.root.string(), ": choose another folder");
  std::optional<Tokenizer> given;
  if (!flags.tokenizer_from.empty()) given = Tokenizer::load(fs::path(flags.tokenizer_from) / kTokenizerFile);
  else given = Tokenizer::given(flags.tokenizer);
  const TokenizerKind kind = given ? given->kind() : tokenizer_kind_named(flags.tokenizer);
  TextPaths paths = flags.paths();
  if (!flags.val.empty()) paths.validation.emplace_back(flags.val);
  Progress line({});
  const double start = seconds_now();
  double shown = start;
  const auto show = [&](uint64_t bytes, double fraction) {
    const double now = seconds_now(), seconds = now - start;
    if (now - shown < (line.is_terminal() ? 0.2 : 10.0)) return;
    shown = now;
    const double done = static_cast<double>(bytes);
    line.show(str_cat(fraction > 0 ? str_cat(static_cast<int>(100 * fraction), "%, ") : "", human_bytes(done), ", ",
                      static_cast<int64_t>(done / seconds / 1e6), " MB/s",
                      fraction > 0 ? ", " + duration_text(seconds * (1 - fraction) / fraction) + " left" : ""));
  };
  const std::string note =
      prepare_text(paths, {kind, flags.vocabulary}, flags.out, given ? &*given : nullptr, {show, flags.shard_tokens});
  if (!note.empty()) line.note(note);
  std::string about = Dataset::open(flags.out).describe();
  about.pop_back();  // the line break
  line.note(about);
}

void register_prepare(CLI::App& data) {
  CLI::App& command = *data.add_subcommand("prepare", "Tokenise a text once for many runs");
  const auto flags = std::make_shared<PrepareFlags>();
  add_texts(command, *flags)->required();
  command.add_option("--val-data", flags->val, "Text for validation (default: the last 10%)");
  command.add_option("--out", flags->out, "Folder for the tokens")->required();
  CLI::Option* kind =
      command.add_option("--tokenizer", flags->tokenizer, "char, byte, bpe; or a tokenizer's file or folder")
          ->capture_default_str();
  CLI::Option* vocab = add_option(command, "--vocab", flags->vocabulary, "Tokens of a bpe that is made from the text");
  command.add_option("--tokenizer-from", flags->tokenizer_from, "Run, or prepared folder, whose tokenizer to use")
      ->excludes(kind);
  add_option(command, "--shard-tokens", flags->shard_tokens, "Tokens in each file of a long text, about");
  command.callback([flags, vocab] {
    GLINT_REQUIRE(vocab->count() == 0 || flags->tokenizer == "bpe", "--vocab goes with --tokenizer bpe");
    prepare(*flags);
  });
}

struct TokenizerFlags : Texts {
  std::string out;
  int vocabulary = kUsualVocabulary;
};

void register_tokenizer(CLI::App& data) {
  CLI::App& command = *data.add_subcommand("tokenizer", "Make a byte-level BPE from a text");
  const auto flags = std::make_shared<TokenizerFlags>();
  add_texts(command, *flags)->required();
  add_option(command, "--vocab", flags->vocabulary, "Tokens, with the 256 bytes and <|endoftext|>");
  command.add_option("--out", flags->out, "File to write, in the form of Hugging Face's tokenizer.json")->required();
  command.callback([flags] {
    const TextPaths paths = flags->paths();
    FileWriter file(flags->out);  // fails before the work is done
    const Tokenizer tokenizer = bpe_of_text(paths, flags->vocabulary);
    file.append(tokenizer.to_json());
    file.commit();
    const bool fewer = tokenizer.vocabulary() < flags->vocabulary;
    std::fprintf(stderr, "%d tokens in %s%s\n", tokenizer.vocabulary(), flags->out.c_str(),
                 fewer ? ": every word of the text is one, so there are fewer than --vocab" : "");
  });
}

struct InfoFlags {
  std::string folder;
  bool json = false;
};

void register_data_info(CLI::App& data) {
  CLI::App& command = *data.add_subcommand("info", "Check and describe a prepared folder");
  const auto flags = std::make_shared<InfoFlags>();
  command.add_option("DIR", flags->folder, "Prepared folder, or run folder")->required();
  command.add_flag("--json", flags->json, "One JSON object");
  command.callback([flags] {
    const RunPaths run{flags->folder};
    const Dataset dataset = fs::exists(run.data_record()) ? open_run_data(run) : Dataset::open(flags->folder);
    std::string report = flags->json ? dataset.to_json() : dataset.describe();
    if (!report.ends_with('\n')) report += '\n';
    std::fputs(report.c_str(), stdout);
  });
}

struct CorpusFlags {
  uint64_t bytes = kCorpusBytes, seed = 1;
  std::string out;
};

// Calls sink(pointer, size) for each piece of the corpus.
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

void register_corpus(CLI::App& data) {
  CLI::App& command = *data.add_subcommand("corpus", "Write the built-in corpus, a text whose entropy is known");
  const auto flags = std::make_shared<CorpusFlags>();
  add_option(command, "--bytes", flags->bytes, "Length");
  add_option(command, "--seed", flags->seed, "The same seed gives the same text");
  command.add_option("--out", flags->out, "File to write (default: standard output)")->type_name("FILE");
  command.callback([flags] {
    if (flags->out.empty()) {
      return stream_corpus(*flags, [](const char* bytes, size_t size) { write_out({bytes, size}); });
    }
    FileWriter file(flags->out);
    stream_corpus(*flags, [&](const char* bytes, size_t size) { file.append(bytes, size); });
    file.commit();
    std::fprintf(stderr, "%llu bytes in %s, %.4f nats per character\n", static_cast<unsigned long long>(flags->bytes),
                 flags->out.c_str(), corpus_entropy());
  });
}

}  // namespace

void register_data(CLI::App& program) {
  CLI::App& data = *program.add_subcommand("data", "Prepare, describe or generate training text");
  data.require_subcommand(1);
  register_prepare(data);
  register_tokenizer(data);
  register_data_info(data);
  register_corpus(data);
}

}  // namespace glint
