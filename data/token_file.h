// tokens.bin: a tokenised text on disk, read by memory map. All numbers little-endian. A long one goes on in
// tokens.bin.1, tokens.bin.2, ...: one after the other they are one file of the layout below. All but the last are a
// multiple of 64 KiB long, so that they can be mapped side by side.
//
//   byte  size  field
//      0     8  magic "glinttok"
//      8     4  version, 1
//     12     4  bytes per token: 2 (uint16) if the vocabulary fits, else 4 (uint32)
//     16     4  tokenizer kind: 0 char, 1 byte, 2 bpe
//     20     4  vocabulary size V
//     24     8  tokens of the training split
//     32     8  tokens of the validation split
//     40     8  bytes of text of the training split
//     48     8  bytes of text of the validation split
//     56     8  tokens that are unknown to the tokenizer
//     64     8  fingerprint of the tokenizer
//     72     8  XXH3-64 of the payload
//     80     8  entropy of the text's source in nats per token, as a double; 0 if not known
//     88   160  where the text came from, UTF-8, padded with zeros
//    248     8  XXH3-64 of bytes 0..247
//    256     -  payload: the tokens, training split first
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/file_writer.h"
#include "data/mapped_file.h"
#include "data/tokenizer.h"

namespace glint {

// A view of tokens stored as uint16 or uint32; reads them as int32.
class TokenSpan {
 public:
  TokenSpan() = default;
  TokenSpan(const void* tokens, size_t size, int bytes_per_token)
      : tokens_(tokens), size_(size), bytes_per_token_(bytes_per_token) {}

  size_t size() const { return size_; }
  int32_t operator[](size_t i) const {
    return bytes_per_token_ == 2 ? static_cast<const uint16_t*>(tokens_)[i]
                                 : static_cast<int32_t>(static_cast<const uint32_t*>(tokens_)[i]);
  }
  TokenSpan subspan(size_t begin, size_t count) const;
  void copy_to(int32_t* out, size_t begin, size_t count) const;  // Error if out of range
  int32_t largest() const;                                       // largest token id, -1 if empty

 private:
  const void* tokens_ = nullptr;
  size_t size_ = 0;
  int bytes_per_token_ = 2;
};

// The fields of the header.
struct TokenFileInfo {
  int bytes_per_token = 2;
  TokenizerKind tokenizer = TokenizerKind::character;
  int vocabulary = 0;
  uint64_t train_tokens = 0, val_tokens = 0;
  uint64_t train_bytes = 0, val_bytes = 0;  // of text
  uint64_t unknown_tokens = 0;
  uint64_t tokenizer_fingerprint = 0;
  uint64_t checksum = 0;  // of the payload
  double entropy = 0.0;   // nats per token, 0: not known
  std::string source;
};

inline constexpr uint32_t kTokenFileVersion = 1;
inline constexpr uint64_t kTokensPerFile = uint64_t{1} << 31;
constexpr int bytes_per_token(int vocabulary) { return vocabulary <= 65536 ? 2 : 4; }

class TokenFile {
 public:
  // Maps the file and checks all of it. UserError if it is another kind of file or version, truncated or corrupted.
  explicit TokenFile(const std::filesystem::path& path);

  const TokenFileInfo& info() const { return info_; }
  TokenSpan train() const { return all().subspan(0, info_.train_tokens); }
  TokenSpan val() const { return all().subspan(info_.train_tokens, info_.val_tokens); }
  TokenSpan all() const;
  // Cheap, to be called after each batch read: UserError if another program has changed the file's contents.
  void require_unchanged();

 private:
  void check_payload() const;

  std::vector<MappedFile> files_;  // side by side
  TokenFileInfo info_;
};

// Writes a token file piece by piece.
class TokenFileWriter {
 public:
  // At most about tokens_per_file in each file: rounded to 64 KiB, at least those.
  TokenFileWriter(const std::filesystem::path& path, int bytes_per_token, uint64_t tokens_per_file = kTokensPerFile);
  ~TokenFileWriter();

  void append(const void* tokens, size_t count);  // count tokens of bytes_per_token bytes each
  // Writes the header, syncs and renames. Sets bytes_per_token and checksum of info.
  void commit(TokenFileInfo info);

 private:
  void write(const void* bytes, size_t size);

  std::filesystem::path path_;
  std::vector<std::unique_ptr<FileWriter>> files_;
  int bytes_per_token_;
  uint64_t bytes_per_file_, last_bytes_ = 0;  // last_bytes_: in the last file
  uint64_t tokens_ = 0;
  struct Hash;
  std::unique_ptr<Hash> hash_;
};

}  // namespace glint
