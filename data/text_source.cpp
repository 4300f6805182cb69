#include "data/text_source.h"

#include <algorithm>
#include <memory>
#include <system_error>

#include "data/corpus.h"
#include "data/mapped_file.h"
#include "data/prepare.h"
#include "data/streamed_files.h"
#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

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

struct Files {
  std::string name;
  std::vector<fs::path> all;
};
Files files_of(const std::vector<fs::path>& paths) {
  Files files{paths.front() == "-" ? "standard input" : paths.front().string(), {}};
  for (const fs::path& path : paths)
    for (const fs::path& file : files_of(path)) files.all.push_back(file);
  if (paths.size() > 1) files.name += str_cat(" and ", paths.size() - 1, " more");
  if (files.all.size() != paths.size()) files.name += str_cat(" (", files.all.size(), " files)");
  return files;
}

// Mapped files, each a document, or several with a separator between them.
class Documents {
 public:
  Documents(const std::vector<fs::path>& files, TokenizerKind kind, const std::string& separator) : kind_(kind) {
    for (const fs::path& file : files) add(file, separator);
    several_ = files.size() > 1 || !separator.empty();
  }
  bool several() const { return several_; }
  uint64_t units() const { return units_; }  // characters of char, else bytes

  // Units begin .. end-1, but for parts of characters.
  std::vector<TextPiece> part(uint64_t begin, uint64_t end) const {
    std::vector<TextPiece> documents;
    uint64_t first = 0;  // unit of a document
    for (const Document& document : documents_) {
      const uint64_t from = std::clamp(begin, first, first + document.units) - first,
                     to = std::clamp(end, first, first + document.units) - first;
      if (from < to) {
        const size_t at = offset(document.text, from);
        documents.push_back({document.text.substr(at, offset(document.text, to) - at), from == 0});
      }
      first += document.units;
    }
    return documents;
  }
  void require_unchanged() const {
    for (const MappedFile& file : files_)
      GLINT_REQUIRE(file.unchanged(), file.path().string(), " was changed while glint read it: try again");
  }
  void require_utf8() const {
    for (const MappedFile& file : files_) require_utf8(file);
  }

 private:
  struct Document {
    std::string_view text;
    uint64_t units;
  };

  void add(const fs::path& path, std::string_view separator) {
    files_.emplace_back(path, MappedFile::Access::sequential);
    if (kind_ == TokenizerKind::character) require_utf8(files_.back());
    for_each_document(text_of(files_.back()), separator, [&](std::string_view text) {
      documents_.push_back({text, kind_ == TokenizerKind::character ? count_code_points(text) : text.size()});
      units_ += documents_.back().units;
    });
  }
  static std::string_view text_of(const MappedFile& file) {
    std::string_view text = file.bytes();
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    return text;
  }
  static void require_utf8(const MappedFile& file) {
    const std::string_view text = text_of(file);
    const size_t error = find_utf8_error(text);
    if (error == std::string_view::npos) return;
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(error), '\n');
    throw UserError(str_cat(file.path().string(), " is not UTF-8 text: see line ", line, ", byte ",
                            error + (file.size() - text.size()), " of the file; ", remedy_for(text)));
  }
  size_t offset(std::string_view text, uint64_t unit) const {
    if (kind_ == TokenizerKind::character) return code_point_offset(text, unit);
    while (kind_ == TokenizerKind::bpe && unit < text.size() && (static_cast<uint8_t>(text[unit]) & 0xC0) == 0x80)
      ++unit;
    return unit;
  }

  TokenizerKind kind_;
  std::vector<MappedFile> files_;
  std::vector<Document> documents_;
  uint64_t units_ = 0;
  bool several_ = false;
};

// Visits documents in batches.
ReadText reader_of(std::vector<TextPiece> documents, TokenizerKind kind) {
  return [=](const VisitText& visit) {
    std::vector<TextPiece> pieces;
    Cutter cutter(kind, kLongPieces);
    size_t waiting = 0;
    const auto flush = [&] {
      visit(pieces);
      pieces.clear();
      waiting = 0;
    };
    for (const TextPiece& document : documents) {
      bool opens = document.opens;
      for (std::string_view rest = document.text; !rest.empty();) {
        // A part that ends where the document goes on, with as much as a piece may be cut in.
        std::vector<TextPiece> some;
        const std::string_view part = rest.substr(0, kBatchBytes);
        cutter.append(some, part, opens);
        if (part.size() < rest.size() && some.size() > 1) some.pop_back();
        else if (part.size() < rest.size()) some.clear(), cutter.append(some, rest, opens);
        for (const TextPiece& piece : some) {
          pieces.push_back(piece);
          waiting += piece.text.size();
          rest.remove_prefix(piece.text.size());
          if (waiting >= kBatchBytes) flush();
        }
        opens = false;
      }
    }
    if (!pieces.empty()) flush();
  };
}

TextSource mapped_source(const Files& files, const Files& validation_files, TokenizerKind kind,
                         const std::string& separator) {
  const auto text = std::make_shared<Documents>(files.all, kind, separator);
  const bool own = !validation_files.all.empty();
  const auto validation = own ? std::make_shared<Documents>(validation_files.all, kind, separator) : text;
  const uint64_t cut = own ? text->units() : training_share(text->units());
  const auto train = text->part(0, cut), val = validation->part(own ? 0 : cut, validation->units());
  uint64_t bytes = 0;
  for (const auto* part : {&train, &val})
    for (const TextPiece& piece : *part) bytes += piece.text.size();
  return {.name = files.name,
          .train = reader_of(train, kind),
          .val = reader_of(val, kind),
          .several = text->several() || validation->several(),
          .require_unchanged = [=] { text->require_unchanged(), validation->require_unchanged(); },
          .require_utf8 = [=] { text->require_utf8(), validation->require_utf8(); },
          .bytes = bytes};
}

TextSource streamed_source(const Files& files, const Files& validation_files, TokenizerKind kind,
                           const TextPaths& paths) {
  const auto text = std::make_shared<StreamedFiles>(files.all, kind, paths.field, paths.separator);
  TextSource source{.name = files.name,
                    .train = [=](const VisitText& visit) { text->read(visit); },
                    .val = [](const VisitText&) {},
                    .several = text->several(),
                    .cut_at_end = true,
                    .fraction = [=] { return text->fraction(); }};
  if (validation_files.all.empty()) return source;
  const auto validation = std::make_shared<StreamedFiles>(validation_files.all, kind, paths.field, paths.separator);
  source.val = [=](const VisitText& visit) { validation->read(visit); };
  source.several = source.several || validation->several();
  source.cut_at_end = false;
  return source;
}

}  // namespace

uint64_t training_share(uint64_t n) { return n / 10 * 9 + n % 10 * 9 / 10; }

TextSource text_source(const TextPaths& paths, TokenizerKind kind) {
  const Files files = files_of(paths.text);
  const Files validation = paths.validation.empty() ? Files{} : files_of(paths.validation);
  const auto lines = [](const Files& some) {
    return std::any_of(some.all.begin(), some.all.end(), [](const fs::path& file) { return has_lines(file, true); });
  };
  GLINT_REQUIRE(paths.field.empty() || lines(files) || lines(validation),
                "--field is of *.jsonl and of -, and no text is one");
  const auto any_stream = [](const Files& some) { return std::any_of(some.all.begin(), some.all.end(), is_stream); };
  TextSource source = any_stream(files) || any_stream(validation)
                          ? streamed_source(files, validation, kind, paths)
                          : mapped_source(files, validation, kind, paths.separator);
  if (!validation.all.empty()) source.name += ", for validation " + validation.name;
  return source;
}

TextSource corpus_source(uint64_t bytes, uint64_t seed, TokenizerKind kind) {
  const auto part = [=](uint64_t begin, uint64_t end) {
    return [=](const VisitText& visit) {
      CorpusStream stream(seed);
      std::vector<char> skipped(size_t{1} << 20);
      uint64_t at = 0;
      while (at < begin) {  // generates the text from its start
        const size_t count = std::min<uint64_t>(skipped.size(), begin - at);
        stream.read(skipped.data(), count);
        at += count;
      }
      const FillText fill = [&](char* out, size_t size) {
        const size_t count = std::min<uint64_t>(size, end - at);
        stream.read(out, count);
        at += count;
        return count;
      };
      Cutter cutter(kind, kLongPieces);
      read_document(fill, cutter, visit, begin == 0);
    };
  };
  const uint64_t cut = training_share(bytes);
  return {.name = str_cat("built-in corpus, ", bytes, " bytes, seed ", seed),
          .train = part(0, cut),
          .val = part(cut, bytes),
          .entropy = corpus_entropy(),
          .bytes = bytes};
}

}  // namespace glint
