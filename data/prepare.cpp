#include "data/prepare.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <system_error>

#include <nlohmann/json.hpp>

#include "data/bpe.h"
#include "data/corpus.h"
#include "data/file_writer.h"
#include "data/mapped_file.h"
#include "data/split.h"
#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// A piece ends with a whole character. opens: it begins a document.
using Visit = std::function<void(std::string_view piece, bool opens)>;

// A split of a text; read() may be called repeatedly.
struct Part {
  uint64_t bytes = 0;
  std::function<void(const Visit& visit)> read;
};
struct Source {
  std::string name;
  Part train, val;
  bool several = false;  // documents
  double entropy = 0.0;  // nats per character, 0: not known
  std::function<void()> require_unchanged = [] {};
};

uint64_t training_share(uint64_t n) { return n / 10 * 9 + n % 10 * 9 / 10; }

// The files that a path stands for.
std::vector<fs::path> files_of(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  GLINT_REQUIRE(!fs::exists(path / kTokensFile, error), path.string(),
                " is a prepared folder, which is not a text: give it alone");
  std::vector<fs::path> files;
  for (fs::recursive_directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    const bool hidden = at->path().filename().string().starts_with('.');
    if (hidden) at.disable_recursion_pending();
    else if (at->is_regular_file() && at->file_size() > 0) files.push_back(at->path());
  }
  GLINT_REQUIRE(!error, "can't read the folder ", path.string(), ": ", error.message());
  GLINT_REQUIRE(!files.empty(), path.string(), " is a folder without text: give a file, or a folder that holds some");
  std::sort(files.begin(), files.end());
  return files;
}

class Documents {
 public:
  Documents(const std::vector<fs::path>& paths, TokenizerKind kind) : kind_(kind) {
    for (const fs::path& path : paths)
      for (const fs::path& file : files_of(path)) add(file);
    name_ = paths.front().string();
    if (paths.size() > 1) name_ += str_cat(" and ", paths.size() - 1, " more");
    if (files_.size() != paths.size()) name_ += str_cat(" (", files_.size(), " files)");
  }
  size_t size() const { return files_.size(); }
  const std::string& name() const { return name_; }
  uint64_t units() const { return units_; }  // characters, or bytes of the byte tokenizer

  // Units begin .. end-1.
  Part part(uint64_t begin, uint64_t end) const {
    Part result;
    std::vector<std::pair<std::string_view, bool>> pieces;
    uint64_t first = 0;  // unit of a document
    for (const Document& document : documents_) {
      const uint64_t from = std::clamp(begin, first, first + document.units) - first,
                     to = std::clamp(end, first, first + document.units) - first;
      if (from < to) {
        const size_t at = offset(document.text, from);
        pieces.emplace_back(document.text.substr(at, offset(document.text, to) - at), from == 0);
        result.bytes += pieces.back().first.size();
      }
      first += document.units;
    }
    result.read = [pieces, kind = kind_](const Visit& visit) {
      for (const auto& [text, opens] : pieces) read_pieces(text, opens, kind == TokenizerKind::bpe, visit);
    };
    return result;
  }
  void require_unchanged() const {
    for (const MappedFile& file : files_)
      GLINT_REQUIRE(file.unchanged(), file.path().string(), " was changed while glint read it: try again");
  }

 private:
  struct Document {
    std::string_view text;
    uint64_t units;
  };

  void add(const fs::path& path) {
    files_.emplace_back(path, MappedFile::Access::sequential);
    std::string_view text = files_.back().bytes();
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    if (kind_ != TokenizerKind::byte) require_utf8(files_.back(), text);
    documents_.push_back({text, kind_ == TokenizerKind::byte ? text.size() : count_code_points(text)});
    units_ += documents_.back().units;
  }
  static void require_utf8(const MappedFile& file, std::string_view text) {
    const size_t error = find_utf8_error(text);
    if (error == std::string_view::npos) return;
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(error), '\n');
    throw UserError(str_cat(file.path().string(), " is not UTF-8 text: see line ", line, ", byte ",
                            error + (file.size() - text.size()),
                            " of the file; convert it (iconv -t UTF-8) or use `tokenizer` byte"));
  }
  size_t offset(std::string_view text, uint64_t unit) const {
    return kind_ == TokenizerKind::byte ? unit : code_point_offset(text, unit);
  }
  static void read_pieces(std::string_view text, bool opens, bool whole_words, const Visit& visit) {
    for (size_t longest = kPieceBytes; !text.empty();) {
      std::string_view piece = text.substr(0, longest);
      if (piece.size() < text.size()) {  // back to the start of a character; invalid bytes may be cut anywhere
        const auto cuts_character = [&] { return (static_cast<uint8_t>(piece.data()[piece.size()]) & 0xC0) == 0x80; };
        for (int i = 0; i < 3 && cuts_character(); ++i) piece.remove_suffix(1);
      }
      if (whole_words && piece.size() < text.size()) {
        const size_t cut = last_cut(piece);
        if (cut == 0) {  // one word so far
          longest *= 2;
          continue;
        }
        piece = piece.substr(0, cut);
      }
      longest = kPieceBytes;
      visit(piece, opens);
      opens = false;
      text.remove_prefix(piece.size());
    }
  }

  TokenizerKind kind_;
  std::string name_;
  std::vector<MappedFile> files_;
  std::vector<Document> documents_;
  uint64_t units_ = 0;
};

Source text_source(const TextPaths& paths, TokenizerKind kind) {
  const auto text = std::make_shared<Documents>(paths.text, kind);
  if (paths.validation.empty()) {
    const uint64_t cut = training_share(text->units());
    return {.name = text->name(),
            .train = text->part(0, cut),
            .val = text->part(cut, text->units()),
            .several = text->size() > 1,
            .require_unchanged = [text] { text->require_unchanged(); }};
  }
  const auto validation = std::make_shared<Documents>(paths.validation, kind);
  return {.name = text->name() + ", for validation " + validation->name(),
          .train = text->part(0, text->units()),
          .val = validation->part(0, validation->units()),
          .several = text->size() > 1 || validation->size() > 1,
          .require_unchanged = [text, validation] { text->require_unchanged(), validation->require_unchanged(); }};
}

Source corpus_source(uint64_t bytes, uint64_t seed) {
  const auto part = [seed](uint64_t begin, uint64_t end) {
    return Part{end - begin, [=](const Visit& visit) {
                  CorpusStream stream(seed);
                  std::vector<char> piece(kPieceBytes);
                  for (uint64_t at = 0; at < end;) {  // generates the text from its start and discards it up to `begin`
                    const size_t count = std::min<uint64_t>(kPieceBytes, (at < begin ? begin : end) - at);
                    stream.read(piece.data(), count);
                    if (at >= begin) visit({piece.data(), count}, at == 0);
                    at += count;
                  }
                }};
  };
  const uint64_t cut = training_share(bytes);
  return {.name = str_cat("built-in corpus, ", bytes, " bytes, seed ", seed),
          .train = part(0, cut),
          .val = part(cut, bytes),
          .entropy = corpus_entropy()};
}

Tokenizer tokenizer_for(const Source& source, NewTokenizer made) {
  if (made.kind == TokenizerKind::byte) return Tokenizer::of_bytes(source.several);
  if (made.kind == TokenizerKind::bpe) {
    PieceCounts pieces;
    source.train.read([&](std::string_view piece, bool) { pieces.add_text(piece); });
    return Tokenizer::of_bpe(train_bpe(pieces, made.vocabulary));
  }
  CharacterSet characters;
  source.train.read([&](std::string_view piece, bool) { characters.add(piece); });
  return Tokenizer::of_characters(characters.sorted(), source.several);
}

void count_unknown(std::string_view piece, const Tokenizer& tokenizer, CharacterCounts& unknown) {
  for (const char *at = piece.data(), *end = at + piece.size(); at != end;) {
    const Utf8Step step = decode_utf8(at, end);
    if (!tokenizer.knows(step.code_point)) ++unknown[step.code_point];
    at += step.length;
  }
}

template <typename Id>
TokenFileInfo encode(const Source& source, const Tokenizer& tokenizer, const TokenSink& sink,
                     CharacterCounts& unknown) {
  std::vector<Id> ids;
  std::optional<BpeEncoder> bpe;
  if (tokenizer.bpe()) bpe.emplace(*tokenizer.bpe());
  const auto encode_part = [&](const Part& part) {
    Tokenizer::Counts total;
    part.read([&](std::string_view piece, bool opens) {
      ids.resize(std::max(ids.size(), piece.size() + 1));
      Id* first = ids.data();
      if (opens && tokenizer.separator() >= 0) *first++ = static_cast<Id>(tokenizer.separator());
      const Tokenizer::Counts counts =
          bpe ? Tokenizer::Counts{static_cast<size_t>(bpe->encode(first, piece) - first), 0}
              : tokenizer.encode_into(first, piece);
      const size_t tokens = counts.tokens + static_cast<size_t>(first - ids.data());
      sink(ids.data(), tokens);
      total.tokens += tokens;
      total.unknown += counts.unknown;
      if (counts.unknown > 0) count_unknown(piece, tokenizer, unknown);
    });
    return total;
  };
  const Tokenizer::Counts train = encode_part(source.train), val = encode_part(source.val);
  return {.bytes_per_token = sizeof(Id),
          .tokenizer = tokenizer.kind(),
          .vocabulary = tokenizer.vocabulary(),
          .train_tokens = train.tokens,
          .val_tokens = val.tokens,
          .train_bytes = source.train.bytes,
          .val_bytes = source.val.bytes,
          .unknown_tokens = train.unknown + val.unknown,
          .tokenizer_fingerprint = tokenizer.fingerprint(),
          .checksum = 0,
          .entropy = source.entropy,
          .source = source.name};
}

TokenFileInfo encode_source(const Source& source, const Tokenizer& tokenizer, const TokenSink& sink,
                            CharacterCounts& unknown) try {
  const auto encode_as = bytes_per_token(tokenizer.vocabulary()) == 2 ? encode<uint16_t> : encode<uint32_t>;
  TokenFileInfo info = encode_as(source, tokenizer, sink, unknown);
  source.require_unchanged();
  return info;
} catch (const Error&) {  // text that was UTF-8 when it was checked
  source.require_unchanged();
  throw;
}

void save_unknown(const CharacterCounts& unknown, const fs::path& path) {
  if (!unknown.empty()) return write_file(path, to_json(unknown) + "\n");
  std::error_code ignored;
  fs::remove(path, ignored);  // of another text
}

void prepare(const Source& source, NewTokenizer made, const fs::path& folder, const Tokenizer* given) {
  std::error_code error;
  fs::create_directories(folder, error);
  GLINT_REQUIRE(!error, "can't make the folder ", folder.string(), ": ", error.message());
  const Tokenizer tokenizer = given ? *given : tokenizer_for(source, made);
  TokenFileWriter file(folder / kTokensFile, bytes_per_token(tokenizer.vocabulary()));
  CharacterCounts unknown;
  const TokenFileInfo info = encode_source(
      source, tokenizer, [&](const void* tokens, size_t count) { file.append(tokens, count); }, unknown);
  const uint64_t characters = info.train_tokens + info.val_tokens;
  GLINT_REQUIRE(characters >= kFewestCharacters, source.name, " has only ", characters, " characters: at least ",
                kFewestCharacters, " are needed, and many more to learn from");
  file.commit(info);
  tokenizer.save(folder / kTokenizerFile);
  save_unknown(unknown, folder / kUnknownFile);
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

std::string prepare_text(const TextPaths& paths, NewTokenizer made, const fs::path& folder, const Tokenizer* given) {
  const Source source = text_source(paths, given ? given->kind() : made.kind);
  prepare(source, made, folder, given);
  int64_t returns = 0;
  const auto count = [&](std::string_view piece, bool) { returns += std::count(piece.begin(), piece.end(), '\r'); };
  source.train.read(count), source.val.read(count);
  if (returns == 0) return "";
  return str_cat("note: ", source.name, " has ", returns,
                 R"( carriage returns (\r), a token for the model; to remove them: tr -d '\r')");
}

void prepare_corpus(uint64_t bytes, uint64_t seed, NewTokenizer made, const fs::path& folder, const Tokenizer* given) {
  prepare(corpus_source(bytes, seed), made, folder, given);
}

TokenFileInfo tokenize_text(const TextPaths& paths, const Tokenizer& tokenizer, const TokenSink& sink,
                            CharacterCounts& unknown) {
  return encode_source(text_source(paths, tokenizer.kind()), tokenizer, sink, unknown);
}

}  // namespace glint
