#include "data/prepare.h"

#include <omp.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>

#include <nlohmann/json.hpp>

#include "data/bpe.h"
#include "data/file_writer.h"
#include "data/parallel_for.h"
#include "data/streamed_files.h"
#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

PieceCounts count_pieces(const ReadText& read) {
  std::vector<PieceCounts> counts(static_cast<size_t>(omp_get_max_threads()));
  read([&](std::span<const TextPiece> pieces) {
    parallel_for(pieces.size(),
                 [&](size_t i) { counts[static_cast<size_t>(omp_get_thread_num())].add_text(pieces[i].text); });
  });
  for (size_t i = 1; i < counts.size(); ++i) {
    counts[i].for_each([&](std::string_view piece, uint64_t count) { counts[0].add(piece, count); });
    counts[i] = {};
  }
  return std::move(counts[0]);
}

Tokenizer tokenizer_for(const TextSource& source, NewTokenizer made) {
  if (made.kind == TokenizerKind::byte) return Tokenizer::of_bytes(source.several);
  if (made.kind == TokenizerKind::bpe) return Tokenizer::of_bpe(train_bpe(count_pieces(source.train), made.vocabulary));
  CharacterSet characters;
  source.train([&](std::span<const TextPiece> pieces) {
    for (const TextPiece& piece : pieces) characters.add(piece.text);
  });
  return Tokenizer::of_characters(characters.sorted(), source.several);
}

void count_unknown(std::string_view piece, const Tokenizer& tokenizer, CharacterCounts& unknown) {
  for (const char *at = piece.data(), *end = at + piece.size(); at != end;) {
    const Utf8Step step = decode_utf8(at, end);
    if (!tokenizer.knows(step.code_point)) ++unknown[step.code_point];
    at += step.length;
  }
}

// Tokens so far, and the bytes of text that they stand for.
struct Progress {
  uint64_t tokens = 0, bytes = 0;
};

// Where the training split may end, in order: between pieces, in distances of a fraction of what came before.
class Cuts {
 public:
  void add(Progress here) {
    if (here.tokens >= cuts_.back().tokens + cuts_.back().tokens / 1024 + 1) cuts_.push_back(here);
  }
  Progress last_up_to(uint64_t tokens) const {
    return *(std::upper_bound(cuts_.begin(), cuts_.end(), tokens,
                              [](uint64_t most, const Progress& cut) { return most < cut.tokens; }) -
             1);
  }

 private:
  std::vector<Progress> cuts_{{}};
};

template <typename Id>
class Encoding {
 public:
  Encoding(const TextSource& source, const Tokenizer& tokenizer, const TokenSink& sink, const TextProgress& progress)
      : source_(source), tokenizer_(tokenizer), sink_(sink), progress_(progress) {
    if (tokenizer.bpe())
      for (int i = 0; i < omp_get_max_threads(); ++i) bpe_.push_back(std::make_unique<BpeEncoder>(*tokenizer.bpe()));
  }

  TokenizedText run() {
    source_.train([&](std::span<const TextPiece> pieces) { encode(pieces); });
    Progress train = total_;
    source_.val([&](std::span<const TextPiece> pieces) { encode(pieces); });
    if (source_.cut_at_end) train = cuts_.last_up_to(training_share(total_.tokens));
    const double tokens_per_byte = static_cast<double>(total_.tokens) / static_cast<double>(total_.bytes);
    result_.info = {.bytes_per_token = sizeof(Id),
                    .tokenizer = tokenizer_.kind(),
                    .vocabulary = tokenizer_.vocabulary(),
                    .train_tokens = train.tokens,
                    .val_tokens = total_.tokens - train.tokens,
                    .train_bytes = train.bytes,
                    .val_bytes = total_.bytes - train.bytes,
                    .unknown_tokens = unknown_tokens_,
                    .tokenizer_fingerprint = tokenizer_.fingerprint(),
                    .checksum = 0,
                    .entropy = tokenizer_.bpe() ? source_.entropy / tokens_per_byte : source_.entropy,
                    .source = source_.name};
    return std::move(result_);
  }

 private:
  struct Encoded {
    size_t begin = 0, tokens = 0, unknown = 0;
    int64_t returns = 0, ends = 0;
  };

  void encode(std::span<const TextPiece> pieces) {
    encoded_.resize(pieces.size());
    size_t room = 0;  // at most a token for each byte, and the separator
    for (size_t i = 0; i < pieces.size(); ++i)
      encoded_[i].begin = std::exchange(room, room + pieces[i].text.size() + 1);
    ids_.resize(std::max(ids_.size(), room));
    parallel_for(pieces.size(), [&](size_t i) { encode(pieces[i], encoded_[i]); });
    for (size_t i = 0; i < pieces.size(); ++i) {
      const Encoded& one = encoded_[i];
      cuts_.add(total_);
      sink_(ids_.data() + one.begin, one.tokens);
      total_.tokens += one.tokens;
      total_.bytes += pieces[i].text.size();
      unknown_tokens_ += one.unknown;
      result_.carriage_returns += one.returns;
      result_.ends_of_text += one.ends;
      if (one.unknown > 0) count_unknown(pieces[i].text, tokenizer_, result_.unknown);
    }
    if (!progress_) return;
    const double fraction = source_.bytes == 0 ? source_.fraction()
                                               : static_cast<double>(total_.bytes) / static_cast<double>(source_.bytes);
    progress_(total_.bytes, fraction);
  }

  void encode(const TextPiece& piece, Encoded& encoded) {
    Id* const first = ids_.data() + encoded.begin;
    Id* next = first;
    if (piece.opens && tokenizer_.separator() >= 0) *next++ = static_cast<Id>(tokenizer_.separator());
    encoded.unknown = 0;
    if (tokenizer_.bpe()) {
      next = bpe_[static_cast<size_t>(omp_get_thread_num())]->encode(next, piece.text);
    } else {
      const Tokenizer::Counts counts = tokenizer_.encode_into(next, piece.text);
      next += counts.tokens;
      encoded.unknown = counts.unknown;
    }
    encoded.tokens = static_cast<size_t>(next - first);
    encoded.returns = std::count(piece.text.begin(), piece.text.end(), '\r');
    encoded.ends = -1;
    for_each_document(piece.text, kEndOfText, [&](std::string_view) { ++encoded.ends; });
  }

  const TextSource& source_;
  const Tokenizer& tokenizer_;
  const TokenSink& sink_;
  const TextProgress& progress_;
  std::vector<std::unique_ptr<BpeEncoder>> bpe_;  // of each thread
  std::vector<Id> ids_;
  std::vector<Encoded> encoded_;
  Progress total_;
  Cuts cuts_;
  uint64_t unknown_tokens_ = 0;
  TokenizedText result_;
};

TokenizedText encode_source(const TextSource& source, const Tokenizer& tokenizer, const TokenSink& sink,
                            const TextProgress& progress) {
  TokenizedText result = bytes_per_token(tokenizer.vocabulary()) == 2
                             ? Encoding<uint16_t>(source, tokenizer, sink, progress).run()
                             : Encoding<uint32_t>(source, tokenizer, sink, progress).run();
  source.require_unchanged();
  return result;
}

// Calls read(), which may find that the text is not UTF-8, and then says where.
template <typename Call>
auto reading(const TextSource& source, const Call& read) try {
  return read();
} catch (const Error&) {
  source.require_unchanged();
  source.require_utf8();
  throw;
}

void save_unknown(const CharacterCounts& unknown, const fs::path& path) {
  if (!unknown.empty()) return write_file(path, to_json(unknown) + "\n");
  std::error_code ignored;
  fs::remove(path, ignored);  // of another text
}

// Returns a line for each thing that a user may not expect in the text.
std::string prepare(const TextSource& source, NewTokenizer made, const fs::path& folder, const Tokenizer* given,
                    const PrepareOptions& options) {
  std::error_code error;
  fs::create_directories(folder, error);
  GLINT_REQUIRE(!error, "can't make the folder ", folder.string(), ": ", error.message());
  return reading(source, [&] {
    const Tokenizer tokenizer = given ? *given : tokenizer_for(source, made);
    TokenFileWriter file(folder / kTokensFile, bytes_per_token(tokenizer.vocabulary()), options.shard_tokens);
    const TokenizedText text = encode_source(
        source, tokenizer, [&](const void* tokens, size_t count) { file.append(tokens, count); }, options.progress);
    const uint64_t tokens = text.info.train_tokens + text.info.val_tokens;
    GLINT_REQUIRE(tokens >= kFewestCharacters, source.name, " has only ", tokens,
                  tokenizer.bpe() ? " tokens" : " characters", ": at least ", kFewestCharacters,
                  " are needed, and many more to learn from");
    file.commit(text.info);
    tokenizer.save(folder / kTokenizerFile);
    save_unknown(text.unknown, folder / kUnknownFile);
    std::string notes;
    const auto note = [&](int64_t count, const char* what, const char* remedy) {
      if (count > 0) notes += str_cat(notes.empty() ? "" : "\n", "note: ", source.name, " has ", count, what, remedy);
    };
    note(text.carriage_returns, R"( carriage returns (\r), a token for the model)", R"(; to remove them: tr -d '\r')");
    note(text.ends_of_text, " <|endoftext|>, each taken as text like other",
         "; where they end documents: glint data prepare --separator '<|endoftext|>'");
    return notes;
  });
}

}  // namespace

std::string to_json(const CharacterCounts& counts) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [character, count] : counts) {
    std::string text;
    append_utf8(text, character);
    json[text] = count;
  }
  return json.dump();
}

std::string prepare_text(const TextPaths& paths, NewTokenizer made, const fs::path& folder, const Tokenizer* given,
                         const PrepareOptions& options) {
  const TextSource source = text_source(paths, given ? given->kind() : made.kind);
  return prepare(source, made, folder, given, options);
}

void prepare_corpus(uint64_t bytes, uint64_t seed, NewTokenizer made, const fs::path& folder, const Tokenizer* given) {
  prepare(corpus_source(bytes, seed, given ? given->kind() : made.kind), made, folder, given, {});
}

TokenizedText tokenize_text(const TextPaths& paths, const Tokenizer& tokenizer, const TokenSink& sink) {
  const TextSource source = text_source(paths, tokenizer.kind());
  return reading(source, [&] { return encode_source(source, tokenizer, sink, {}); });
}

Tokenizer bpe_of_text(const TextPaths& paths, int vocabulary) {
  TextPaths all = paths;
  all.validation = all.text;  // so that no tenth is left out for it
  const TextSource source = text_source(all, TokenizerKind::bpe);
  return reading(source, [&] { return Tokenizer::of_bpe(train_bpe(count_pieces(source.train), vocabulary)); });
}

}  // namespace glint
