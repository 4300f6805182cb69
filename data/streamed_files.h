// Texts that are read from their beginning to their end and not mapped: compressed files, JSON lines, standard input.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/text_source.h"

namespace glint {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
inline constexpr size_t kBatchBytes = size_t{8} << 20;  // of pieces that are visited together

// What to do about a text that is not UTF-8 and begins so.
const char* remedy_for(std::string_view text);

// Calls visit(document) for each text between separators; for the whole text where there is none.
template <typename Visit>
void for_each_document(std::string_view text, std::string_view separator, const Visit& visit) {
  for (size_t end; !separator.empty() && (end = text.find(separator)) != text.npos;) {
    visit(text.substr(0, end));
    text.remove_prefix(end + separator.size());
  }
  visit(text);
}

// Cuts texts into pieces of at most about a 64th of what came before, so that the training split can end near its share
// of a short text, and of at most 256 KiB.
class Cutter {
 public:
  explicit Cutter(TokenizerKind kind, uint64_t before = 0, std::string separator = {})
      : kind_(kind), before_(before), separator_(std::move(separator)) {}
  TokenizerKind kind() const { return kind_; }
  const std::string& separator() const { return separator_; }  // at which read_document() ends documents
  void append(std::vector<TextPiece>& pieces, std::string_view text, bool opens);

 private:
  TokenizerKind kind_;
  uint64_t before_;  // bytes
  std::string separator_;
};
inline constexpr uint64_t kLongPieces = uint64_t{64} << 18;  // as `before`: pieces of 256 KiB from the start

// Visits a document, or (opens: false) the end of one, that fill(buffer, size) reads: the number of bytes, less than
// size at the end only. check(text), of what is about to be visited.
using FillText = std::function<size_t(char* out, size_t bytes)>;
void read_document(
    const FillText& fill, Cutter& cutter, const VisitText& visit, bool opens = true,
    const std::function<void(std::string_view)>& check = [](std::string_view) {});

// Whether a file can't be mapped as the text that it is: *.gz, *.jsonl, "-".
bool is_stream(const std::filesystem::path& path);
// Whether it holds a document in each line: *.jsonl, *.jsonl.gz, and "-" where a field is given.
bool has_lines(const std::filesystem::path& path, bool field_given);

class StreamedFiles {
 public:
  StreamedFiles(std::vector<std::filesystem::path> files, TokenizerKind kind, std::string field, std::string separator);
  // UserError for what can't be read, is not gzip, not JSON lines with such a field, or not UTF-8 (char, bpe).
  void read(const VisitText& visit);
  bool several() const;     // documents
  double fraction() const;  // of the files that was read; negative: not known

 private:
  class Input;
  void read_text(Input& input, Cutter& cutter, const VisitText& visit);
  void read_lines(Input& input, Cutter& cutter, const VisitText& visit);

  std::vector<std::filesystem::path> files_;
  TokenizerKind kind_;
  std::string field_, separator_;
  uint64_t file_bytes_ = 0, files_done_ = 0, file_at_ = 0;  // on disk; file_bytes_ 0: not known
  bool read_input_ = false;                                 // standard input, which is read once
};

}  // namespace glint
