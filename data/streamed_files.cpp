#include "data/streamed_files.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "data/descriptor.h"
#include "data/parallel_for.h"
#include "data/split.h"
#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace fs = std::filesystem;

namespace {

constexpr const char* kUsualField = "text";

// The length of the text without a character that its end cuts. Invalid bytes may be cut anywhere.
size_t whole_characters(std::string_view text) {
  for (size_t cut = 1; cut <= std::min<size_t>(3, text.size()); ++cut) {
    const char* const at = text.data() + text.size() - cut;
    if ((static_cast<uint8_t>(*at) & 0xC0) == 0x80) continue;
    return decode_utf8(at, text.data() + text.size()).length < 0 ? text.size() - cut : text.size();
  }
  return text.size();
}

// Where a text that goes on may be cut; 0: nowhere.
size_t cut_of(std::string_view text, TokenizerKind kind) {
  const std::string_view whole = text.substr(0, kind == TokenizerKind::byte ? text.size() : whole_characters(text));
  return kind == TokenizerKind::bpe ? last_cut(whole) : whole.size();
}

// In lower case.
std::string extension_of(const fs::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

}  // namespace

void Cutter::append(std::vector<TextPiece>& pieces, std::string_view text, bool opens) {
  size_t factor = 1;
  while (!text.empty()) {
    const size_t longest = factor * std::clamp<size_t>(before_ / 64, 64, size_t{1} << 18);
    size_t cut = text.size();
    if (longest < text.size() && (cut = cut_of(text.substr(0, longest), kind_)) == 0) {  // one word so far
      factor *= 2;
      continue;
    }
    pieces.push_back({text.substr(0, cut), opens});
    text.remove_prefix(cut);
    before_ += cut;
    opens = false;
    factor = 1;
  }
}

void read_document(const FillText& fill, Cutter& cutter, const VisitText& visit, bool opens,
                   const std::function<void(std::string_view)>& check) {
  const TokenizerKind kind = cutter.kind();
  std::string buffer;
  bool ended = false;
  std::vector<TextPiece> pieces;
  while (!ended) {
    const size_t kept = buffer.size();
    buffer.resize(kept + kBatchBytes);
    const size_t count = fill(buffer.data() + kept, kBatchBytes);
    ended = count < kBatchBytes;
    buffer.resize(kept + count);
    std::string_view text = buffer;
    if (opens && text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    const size_t skipped = buffer.size() - text.size();
    check(text.substr(0, kind == TokenizerKind::byte || ended ? text.size() : whole_characters(text)));
    pieces.clear();
    std::string_view rest = text;  // of the document that goes on
    for_each_document(text, cutter.separator(), [&](std::string_view document) {
      rest = document;
      if (document.data() + document.size() == text.data() + text.size()) return;
      cutter.append(pieces, document, opens);
      opens = true;
    });
    const size_t held = ended ? 0 : std::max<size_t>(1, cutter.separator().size()) - 1;  // may begin a separator
    const std::string_view known = rest.substr(0, rest.size() - std::min(held, rest.size()));
    const size_t cut = ended ? rest.size() : cut_of(known, kind);
    cutter.append(pieces, rest.substr(0, cut), opens);
    opens = opens && cut == 0;
    if (!pieces.empty()) visit(pieces);
    buffer.erase(0, skipped + (text.size() - rest.size()) + cut);
  }
}

const char* remedy_for(std::string_view text) {
  using namespace std::string_view_literals;
  static constexpr std::pair<std::string_view, const char*> kCompressed[] = {
      {"\xFD"
       "7zXZ\0"sv,
       "it is compressed: xz -d"},
      {"BZh"sv, "it is compressed: bzip2 -d"},
      {"\x28\xB5\x2F\xFD"sv, "it is compressed: zstd -d"},
      {"PK\3\4"sv, "it is an archive: unzip it"}};
  for (const auto& [begin, remedy] : kCompressed)
    if (text.starts_with(begin)) return remedy;
  return "convert it (iconv -t UTF-8) or use `tokenizer` byte";
}

bool is_stream(const fs::path& path) {
  return path == "-" || extension_of(path) == ".gz" || extension_of(path) == ".jsonl";
}

// A file, decompressed if it begins as gzip does. (zlib's gzread takes what it can't read behind a member for the end.)
class StreamedFiles::Input {
 public:
  explicit Input(const fs::path& path) : name_(path == "-" ? "standard input" : path.string()), buffer_(1 << 18) {
    std::error_code ignored;
    GLINT_REQUIRE(path == "-" || fs::exists(path, ignored), name_, " does not exist");
    GLINT_REQUIRE(!fs::is_directory(path, ignored), name_, " is a folder; give a file");
    descriptor_ = Descriptor(path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (descriptor_ < 0) fail(std::strerror(errno));
    constexpr int kGzipOnly = 15 + 16;
    compressed_ = inside_ = has_input() && stream_.avail_in >= 2 && buffer_[0] == 0x1F && buffer_[1] == 0x8B;
    GLINT_CHECK(!compressed_ || ::inflateInit2(&stream_, kGzipOnly) == Z_OK, "zlib");
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  ~Input() {
    if (compressed_) ::inflateEnd(&stream_);
  }

  const std::string& name() const { return name_; }
  uint64_t offset() const { return read_ - stream_.avail_in; }
  size_t fill(char* out, size_t bytes) {
    size_t count = 0;
    while (count < bytes && has_input()) {
      const size_t room = std::min<size_t>(bytes - count, 1 << 30);
      if (!compressed_) {
        const size_t some = std::min<size_t>(room, stream_.avail_in);
        std::memcpy(out + count, stream_.next_in, some);
        count += some, skip(some);
        continue;
      }
      stream_.next_out = reinterpret_cast<Bytef*>(out + count), stream_.avail_out = static_cast<uInt>(room);
      const int result = ::inflate(&stream_, Z_NO_FLUSH);
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) fail(stream_.msg ? stream_.msg : "zlib");
      count += room - stream_.avail_out;
      inside_ = result != Z_STREAM_END;
      if (!inside_) begin_member();
    }
    if (count < bytes && inside_) fail("the gzip file is cut short");
    return count;
  }

 private:
  [[noreturn]] void fail(const char* what) const { throw UserError(str_cat("can't read ", name_, ": ", what)); }
  void skip(size_t bytes) { stream_.next_in += bytes, stream_.avail_in -= static_cast<uInt>(bytes); }
  bool has_input() {
    if (stream_.avail_in > 0) return true;
    ssize_t count = 0;
    do count = ::read(descriptor_, buffer_.data(), buffer_.size());
    while (count < 0 && errno == EINTR);
    if (count < 0) fail(std::strerror(errno));
    stream_.next_in = buffer_.data(), stream_.avail_in = static_cast<uInt>(count);
    read_ += static_cast<uint64_t>(count);
    return count > 0;
  }
  void begin_member() {  // zeros may pad the file
    while (has_input() && *stream_.next_in == 0) skip(1);
    if (stream_.avail_in == 0) return;
    ::inflateReset(&stream_);
    inside_ = true;
  }

  std::string name_;
  std::vector<Bytef> buffer_;
  Descriptor descriptor_;
  z_stream stream_{};
  uint64_t read_ = 0;
  bool compressed_ = false, inside_ = false;  // inside_: of a member
};

StreamedFiles::StreamedFiles(std::vector<fs::path> files, TokenizerKind kind, std::string field, std::string separator)
    : files_(std::move(files)), kind_(kind), field_(std::move(field)), separator_(std::move(separator)) {
  bool known = true;
  for (const fs::path& file : files_) {
    std::error_code error;
    const auto size = fs::file_size(file, error);
    known = known && !error;
    if (!error) file_bytes_ += size;
  }
  if (!known) file_bytes_ = 0;
}

bool has_lines(const fs::path& file, bool field_given) {
  if (file == "-") return field_given;
  return extension_of(extension_of(file) == ".gz" ? file.stem() : file) == ".jsonl";
}

bool StreamedFiles::several() const {
  return files_.size() > 1 || has_lines(files_.front(), !field_.empty()) || !separator_.empty();
}

double StreamedFiles::fraction() const {
  return file_bytes_ == 0 ? -1.0 : static_cast<double>(files_done_ + file_at_) / static_cast<double>(file_bytes_);
}

void StreamedFiles::read(const VisitText& visit) {
  files_done_ = 0;
  Cutter cutter(kind_, 0, separator_);
  for (const fs::path& file : files_) {
    GLINT_REQUIRE(file != "-" || !read_input_,
                  "standard input can be read once, and this tokenizer is made from the text before it is used: give "
                  "--tokenizer byte, or a tokenizer's file");
    read_input_ = read_input_ || file == "-";
    Input input(file);
    if (has_lines(file, !field_.empty())) read_lines(input, cutter, visit);
    else read_text(input, cutter, visit);
    std::error_code ignored;
    files_done_ += file_bytes_ == 0 ? 0 : fs::file_size(file, ignored);
    file_at_ = 0;
  }
}

void StreamedFiles::read_text(Input& input, Cutter& cutter, const VisitText& visit) {
  uint64_t bytes = 0;
  int64_t lines = 1;
  const int64_t separator_lines = std::count(separator_.begin(), separator_.end(), '\n');
  const auto check = [&](std::string_view text) {
    const size_t error = kind_ == TokenizerKind::byte ? std::string_view::npos : find_utf8_error(text);
    if (error == std::string_view::npos) return;
    lines += std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(error), '\n');
    throw UserError(str_cat(input.name(), " is not UTF-8 text: see line ", lines, ", byte ", bytes + error,
                            " of the text; ", remedy_for(bytes == 0 ? text : "")));
  };
  read_document([&](char* out, size_t count) { return input.fill(out, count); }, cutter,
                [&](std::span<const TextPiece> pieces) {
                  file_at_ = input.offset();
                  visit(pieces);
                  for (const TextPiece& piece : pieces) {
                    if (piece.opens && bytes > 0) bytes += separator_.size(), lines += separator_lines;
                    bytes += piece.text.size();
                    lines += std::count(piece.text.begin(), piece.text.end(), '\n');
                  }
                },
                true, check);
}

// Reads many lines, then takes them apart side by side.
void StreamedFiles::read_lines(Input& input, Cutter& cutter, const VisitText& visit) {
  const std::string field = field_.empty() ? kUsualField : field_;
  uint64_t before = 0;  // lines
  std::string buffer;
  std::vector<std::string_view> lines;
  std::vector<std::string> documents;
  std::vector<TextPiece> pieces;
  const auto document_of = [&](size_t i) {
    const auto where = [&] { return str_cat(input.name(), ", line ", before + i + 1, ": "); };
    documents[i].clear();
    if (lines[i].find_first_not_of(" \t\r") == std::string_view::npos) return;
    nlohmann::json json = nlohmann::json::parse(lines[i], nullptr, false);
    GLINT_REQUIRE(json.is_object(), where(), "this is not a JSON object in UTF-8");
    const auto found = json.find(field);
    GLINT_REQUIRE(found == json.end() || found->is_string(), where(), "'", field, "' is not a string but ",
                  found->type_name());
    std::string fields;
    for (const auto& [name, value] : json.items()) fields += (fields.empty() ? "" : ", ") + name;
    GLINT_REQUIRE(found != json.end(), where(), "there is no string '", field, "'; its fields are ", fields,
                  ": name one by --field");
    documents[i] = std::move(found->get_ref<std::string&>());
  };
  for (bool ended = false; !ended;) {
    const size_t kept = buffer.size();
    buffer.resize(kept + kBatchBytes);
    const size_t count = input.fill(buffer.data() + kept, kBatchBytes);
    ended = count < kBatchBytes;
    buffer.resize(kept + count);
    const size_t last = buffer.rfind('\n'), whole = ended ? buffer.size() : last == std::string::npos ? 0 : last + 1;
    lines.clear();
    for (std::string_view rest = std::string_view(buffer).substr(0, whole); !rest.empty();) {
      lines.push_back(rest.substr(0, rest.find('\n')));
      rest.remove_prefix(std::min(rest.size(), lines.back().size() + 1));
    }
    documents.resize(std::max(documents.size(), lines.size()));
    parallel_for(lines.size(), document_of);
    pieces.clear();
    for (size_t i = 0; i < lines.size(); ++i)
      for_each_document(documents[i], separator_, [&](std::string_view text) { cutter.append(pieces, text, true); });
    file_at_ = input.offset();
    visit(pieces);
    before += lines.size();
    buffer.erase(0, whole);
  }
}

}  // namespace glint
