#include "data/token_file.h"

#define XXH_STATIC_LINKING_ONLY  // shows XXH3_state_t
#include <sys/mman.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace {

static_assert(std::endian::native == std::endian::little, "tokens.bin is mapped without conversion");

constexpr char kMagic[] = "glinttok";

// The header as documented in token_file.h.
struct Header {
  char magic[8];
  uint32_t version, bytes_per_token, tokenizer, vocabulary;
  uint64_t train_tokens, val_tokens, train_bytes, val_bytes, unknown_tokens, tokenizer_fingerprint, checksum;
  double entropy;
  char source[160];
  uint64_t header_checksum;
};
static_assert(sizeof(Header) == 256 && offsetof(Header, checksum) == 72 && offsetof(Header, source) == 88);

uint64_t checksum_of(const Header& header) { return XXH3_64bits(&header, offsetof(Header, header_checksum)); }

Header to_header(const TokenFileInfo& info) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof header.magic);
  header.version = kTokenFileVersion;
  header.bytes_per_token = static_cast<uint32_t>(info.bytes_per_token);
  header.tokenizer = static_cast<uint32_t>(info.tokenizer);
  header.vocabulary = static_cast<uint32_t>(info.vocabulary);
  header.train_tokens = info.train_tokens;
  header.val_tokens = info.val_tokens;
  header.train_bytes = info.train_bytes;
  header.val_bytes = info.val_bytes;
  header.unknown_tokens = info.unknown_tokens;
  header.tokenizer_fingerprint = info.tokenizer_fingerprint;
  header.checksum = info.checksum;
  header.entropy = info.entropy;
  std::string_view source = std::string_view(info.source).substr(0, sizeof header.source);
  if (find_utf8_error(info.source) == std::string_view::npos && source.size() < info.source.size()) {
    source = source.substr(0, find_utf8_error(source));  // not in the middle of a character
  }
  std::memcpy(header.source, source.data(), source.size());
  header.header_checksum = checksum_of(header);
  return header;
}

TokenFileInfo to_info(const Header& header) {
  TokenFileInfo info;
  info.bytes_per_token = static_cast<int>(header.bytes_per_token);
  info.tokenizer = static_cast<TokenizerKind>(header.tokenizer);
  info.vocabulary = static_cast<int>(header.vocabulary);
  info.train_tokens = header.train_tokens;
  info.val_tokens = header.val_tokens;
  info.train_bytes = header.train_bytes;
  info.val_bytes = header.val_bytes;
  info.unknown_tokens = header.unknown_tokens;
  info.tokenizer_fingerprint = header.tokenizer_fingerprint;
  info.checksum = header.checksum;
  info.entropy = header.entropy;
  info.source.assign(header.source, ::strnlen(header.source, sizeof header.source));
  return info;
}

constexpr uint64_t kFileUnit = 1 << 16;                       // bytes: the largest page size
constexpr uint64_t kMaxFileUnits = (1ull << 62) / kFileUnit;  // of one file

std::filesystem::path part_of(const std::filesystem::path& path, size_t part) {
  return part == 0 ? path : std::filesystem::path(path.string() + "." + std::to_string(part));
}

uint64_t wanted_bytes(const Header& header) {
  return sizeof header + (header.train_tokens + header.val_tokens) * header.bytes_per_token;
}

Header header_of(const MappedFile& file) {
  Header header{};
  std::memcpy(&header, file.data(), std::min(file.size(), sizeof header));
  return header;
}

// The file and those in which it goes on, mapped side by side.
std::vector<MappedFile> mapped(const std::filesystem::path& path) {
  std::vector<MappedFile> files;
  files.emplace_back(path);
  uint64_t bytes = files[0].size();
  std::error_code ignored;
  while (bytes < wanted_bytes(header_of(files[0])) && files.back().size() % kFileUnit == 0 &&
         std::filesystem::exists(part_of(path, files.size()), ignored)) {
    files.emplace_back(part_of(path, files.size()));
    bytes += files.back().size();
  }
  if (files.size() == 1) return files;
  void* const room = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  GLINT_REQUIRE(room != MAP_FAILED, "can't map ", path.string(), " (", bytes, " bytes): ", std::strerror(errno));
  char* at = static_cast<char*>(room);
  for (MappedFile& file : files) {
    file.move_to(at);
    at += file.size();
  }
  return files;
}

// Checks the header and the size.
Header checked_header(const std::vector<MappedFile>& files) {
  const std::string name = files[0].path().string();
  const Header header = header_of(files[0]);
  uint64_t bytes = 0;
  for (const MappedFile& file : files) bytes += file.size();
  GLINT_REQUIRE(std::memcmp(header.magic, kMagic, sizeof header.magic) == 0, name, " is not a token file of glint");
  GLINT_REQUIRE(files[0].size() >= sizeof header, name, " is truncated: prepare the data again");
  GLINT_REQUIRE(header.version == kTokenFileVersion, name, " is of version ", header.version,
                "; this glint reads version ", kTokenFileVersion, ": prepare the data again");
  GLINT_REQUIRE(header.header_checksum == checksum_of(header), name,
                " is corrupted (its header's checksum differs): prepare the data again");
  const bool plausible = (header.bytes_per_token == 2 || header.bytes_per_token == 4) && header.tokenizer <= 2 &&
                         header.vocabulary > 0 && header.vocabulary <= kLastCodePoint + 3 &&
                         header.train_tokens < (uint64_t{1} << 60) && header.val_tokens < (uint64_t{1} << 60);
  GLINT_REQUIRE(plausible, name, " has impossible values in its header: prepare the data again");
  const uint64_t wanted = wanted_bytes(header);
  GLINT_REQUIRE(bytes >= wanted, name, " is truncated (", bytes, " of ", wanted, " bytes): prepare the data again");
  GLINT_REQUIRE(bytes == wanted, name, " is corrupted (", bytes, " bytes instead of ", wanted,
                "): prepare the data again");
  return header;
}

}  // namespace

TokenSpan TokenSpan::subspan(size_t begin, size_t count) const {
  GLINT_CHECK(begin <= size_ && count <= size_ - begin, "tokens ", begin, " to ", begin + count, " of ", size_);
  return {static_cast<const char*>(tokens_) + begin * static_cast<size_t>(bytes_per_token_), count, bytes_per_token_};
}

void TokenSpan::copy_to(int32_t* out, size_t begin, size_t count) const {
  GLINT_CHECK(begin <= size_ && count <= size_ - begin, "tokens ", begin, " to ", begin + count, " of ", size_);
  if (bytes_per_token_ == 2) {
    std::copy_n(static_cast<const uint16_t*>(tokens_) + begin, count, out);
  } else {
    std::memcpy(out, static_cast<const uint32_t*>(tokens_) + begin, count * sizeof *out);
  }
}

int32_t TokenSpan::largest() const {
  if (size_ == 0) return -1;
  if (bytes_per_token_ == 2) {
    const auto* tokens = static_cast<const uint16_t*>(tokens_);
    uint16_t largest = 0;
    for (size_t i = 0; i < size_; ++i) largest = std::max(largest, tokens[i]);
    return largest;
  }
  const auto* tokens = static_cast<const uint32_t*>(tokens_);
  uint32_t largest = 0;
  for (size_t i = 0; i < size_; ++i) largest = std::max(largest, tokens[i]);
  return static_cast<int32_t>(std::min<uint32_t>(largest, INT32_MAX));
}

struct TokenFileWriter::Hash {
  XXH3_state_t state;
};

TokenFile::TokenFile(const std::filesystem::path& path) : files_(mapped(path)), info_(to_info(checked_header(files_))) {
  check_payload();
}

void TokenFile::require_unchanged() {
  const auto unchanged = [](const MappedFile& file) { return file.unchanged(); };
  if (std::all_of(files_.begin(), files_.end(), unchanged)) return;
  const char* const advice = " was changed by another program while it was in use: prepare the data again";
  for (MappedFile& file : files_) {
    GLINT_REQUIRE(!file.truncated(), file.path().string(), advice);
    file.accept_changes();
  }
  const TokenFileInfo before = info_;
  info_ = to_info(checked_header(files_));
  GLINT_REQUIRE(info_.checksum == before.checksum && info_.train_tokens == before.train_tokens,
                files_[0].path().string(), advice);
  check_payload();
}

// Checksum and largest token in one pass over memory, block by block.
void TokenFile::check_payload() const {
  constexpr size_t kBlock = size_t{1} << 18;  // tokens
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  int32_t largest = -1;
  const size_t count = all().size();
  for (size_t begin = 0; begin < count; begin += kBlock) {
    const size_t n = std::min(kBlock, count - begin);
    const auto width = static_cast<size_t>(info_.bytes_per_token);
    XXH3_64bits_update(&state, files_[0].data() + sizeof(Header) + begin * width, n * width);
    largest = std::max(largest, all().subspan(begin, n).largest());
  }
  const std::string path = files_[0].path().string();
  GLINT_REQUIRE(XXH3_64bits_digest(&state) == info_.checksum, path,
                " is corrupted (its checksum differs): prepare the data again");
  GLINT_REQUIRE(largest < info_.vocabulary, path, " has token ", largest, " in a vocabulary of ", info_.vocabulary,
                ": prepare the data again");
}

TokenSpan TokenFile::all() const {
  return {files_[0].data() + sizeof(Header), info_.train_tokens + info_.val_tokens, info_.bytes_per_token};
}

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path, int bytes_per_token, uint64_t tokens_per_file)
    : path_(path),
      bytes_per_token_(bytes_per_token),
      bytes_per_file_(std::clamp<uint64_t>(tokens_per_file / (kFileUnit / static_cast<uint64_t>(bytes_per_token)), 1,
                                           kMaxFileUnits) *
                      kFileUnit),
      hash_(std::make_unique<Hash>()) {
  XXH3_64bits_reset(&hash_->state);
  files_.push_back(std::make_unique<FileWriter>(path));
  const std::array<char, sizeof(Header)> room{};
  write(room.data(), room.size());
}

TokenFileWriter::~TokenFileWriter() = default;

void TokenFileWriter::write(const void* bytes, size_t size) {
  for (const char* at = static_cast<const char*>(bytes); size > 0;) {
    if (last_bytes_ == bytes_per_file_) {
      files_.push_back(std::make_unique<FileWriter>(part_of(path_, files_.size())));
      last_bytes_ = 0;
    }
    const auto count = static_cast<size_t>(std::min<uint64_t>(size, bytes_per_file_ - last_bytes_));
    files_.back()->append(at, count);
    last_bytes_ += count;
    at += count;
    size -= count;
  }
}

void TokenFileWriter::append(const void* tokens, size_t count) {
  const size_t bytes = count * static_cast<size_t>(bytes_per_token_);
  write(tokens, bytes);
  XXH3_64bits_update(&hash_->state, tokens, bytes);
  tokens_ += count;
}

void TokenFileWriter::commit(TokenFileInfo info) {
  GLINT_CHECK(info.train_tokens + info.val_tokens == tokens_, info.train_tokens, " + ", info.val_tokens, " of ",
              tokens_);
  info.bytes_per_token = bytes_per_token_;
  info.checksum = XXH3_64bits_digest(&hash_->state);
  const Header header = to_header(info);
  files_[0]->overwrite(0, &header, sizeof header);
  for (size_t part = files_.size(); part-- > 0;) files_[part]->commit();  // the one with the header last
  std::error_code ignored;
  for (size_t part = files_.size(); std::filesystem::remove(part_of(path_, part), ignored); ++part) {
  }  // of a longer text before
}

}  // namespace glint
