#include "data/token_file.h"

#define XXH_STATIC_LINKING_ONLY  // shows XXH3_state_t
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
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

// Checks the header and the file's size.
Header checked_header(const MappedFile& file) {
  const std::string name = file.path().string();
  Header header{};
  std::memcpy(&header, file.data(), std::min(file.size(), sizeof header));
  GLINT_REQUIRE(std::memcmp(header.magic, kMagic, sizeof header.magic) == 0, name, " is not a token file of glint");
  GLINT_REQUIRE(file.size() >= sizeof header, name, " is truncated: prepare the data again");
  GLINT_REQUIRE(header.version == kTokenFileVersion, name, " is of version ", header.version,
                "; this glint reads version ", kTokenFileVersion, ": prepare the data again");
  GLINT_REQUIRE(header.header_checksum == checksum_of(header), name,
                " is corrupted (its header's checksum differs): prepare the data again");
  const bool plausible = (header.bytes_per_token == 2 || header.bytes_per_token == 4) && header.tokenizer <= 2 &&
                         header.vocabulary > 0 && header.vocabulary <= kLastCodePoint + 3 &&
                         header.train_tokens < (uint64_t{1} << 60) && header.val_tokens < (uint64_t{1} << 60);
  GLINT_REQUIRE(plausible, name, " has impossible values in its header: prepare the data again");
  const uint64_t wanted = sizeof header + (header.train_tokens + header.val_tokens) * header.bytes_per_token;
  GLINT_REQUIRE(file.size() >= wanted, name, " is truncated (", file.size(), " of ", wanted,
                " bytes): prepare the data again");
  GLINT_REQUIRE(file.size() == wanted, name, " is corrupted (", file.size(), " bytes instead of ", wanted,
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

TokenFile::TokenFile(const std::filesystem::path& path) : file_(path), info_(to_info(checked_header(file_))) {
  check_payload();
}

void TokenFile::require_unchanged() {
  if (file_.unchanged()) return;
  const char* const advice = " was changed by another program while it was in use: prepare the data again";
  GLINT_REQUIRE(!file_.truncated(), file_.path().string(), advice);
  file_.accept_changes();
  const TokenFileInfo before = info_;
  info_ = to_info(checked_header(file_));
  GLINT_REQUIRE(info_.checksum == before.checksum && info_.train_tokens == before.train_tokens, file_.path().string(),
                advice);
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
    XXH3_64bits_update(&state, file_.data() + sizeof(Header) + begin * width, n * width);
    largest = std::max(largest, all().subspan(begin, n).largest());
  }
  const std::string path = file_.path().string();
  GLINT_REQUIRE(XXH3_64bits_digest(&state) == info_.checksum, path,
                " is corrupted (its checksum differs): prepare the data again");
  GLINT_REQUIRE(largest < info_.vocabulary, path, " has token ", largest, " in a vocabulary of ", info_.vocabulary,
                ": prepare the data again");
}

TokenSpan TokenFile::all() const {
  return {file_.data() + sizeof(Header), info_.train_tokens + info_.val_tokens, info_.bytes_per_token};
}

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path, int bytes_per_token)
    : file_(path), bytes_per_token_(bytes_per_token), hash_(std::make_unique<Hash>()) {
  XXH3_64bits_reset(&hash_->state);
  const std::array<char, sizeof(Header)> room{};
  file_.append(room.data(), room.size());
}

TokenFileWriter::~TokenFileWriter() = default;

void TokenFileWriter::append(const void* tokens, size_t count) {
  const size_t bytes = count * static_cast<size_t>(bytes_per_token_);
  file_.append(tokens, bytes);
  XXH3_64bits_update(&hash_->state, tokens, bytes);
  tokens_ += count;
}

void TokenFileWriter::commit(TokenFileInfo info) {
  GLINT_CHECK(info.train_tokens + info.val_tokens == tokens_, info.train_tokens, " + ", info.val_tokens, " of ",
              tokens_);
  info.bytes_per_token = bytes_per_token_;
  info.checksum = XXH3_64bits_digest(&hash_->state);
  const Header header = to_header(info);
  file_.overwrite(0, &header, sizeof header);
  file_.commit();
}

}  // namespace glint
