#include "data/token_file.h"

#include <doctest/doctest.h>

#include <numeric>

#include "kernels/check.h"
#include "tests/data/temporary_folder.h"

using namespace glint;
using test::content_of;
using test::message_of;

namespace {

TokenFileInfo info_of(int vocabulary, uint64_t train, uint64_t val) {
  TokenFileInfo info;
  info.vocabulary = vocabulary;
  info.train_tokens = train;
  info.val_tokens = val;
  info.train_bytes = 2 * train;
  info.val_bytes = 2 * val + 1;
  info.unknown_tokens = 3;
  info.tokenizer_fingerprint = 0x0123456789ABCDEF;
  info.entropy = 0.625;
  info.source = "a test";
  return info;
}

// 90 + 10 tokens counting up.
template <typename Id>
void write_tokens(const std::filesystem::path& path, int vocabulary, Id first) {
  std::vector<Id> tokens(100);
  std::iota(tokens.begin(), tokens.end(), first);
  TokenFileWriter file(path, sizeof(Id));
  file.append(tokens.data(), 64);
  file.append(tokens.data() + 64, 36);
  file.commit(info_of(vocabulary, 90, 10));
}

std::string refusal(const std::filesystem::path& path) {
  return message_of<UserError>([&] { TokenFile file(path); });
}

}  // namespace

TEST_CASE("tokens of both widths and all header fields are read back") {
  const test::TemporaryFolder folder;
  write_tokens<uint16_t>(folder / "16", 65536, 65436);
  write_tokens<uint32_t>(folder / "32", 70000, 69900);
  for (const char* name : {"16", "32"}) {
    const TokenFile file(folder / name);
    const bool wide = name[0] == '3';
    const int first = wide ? 69900 : 65436;
    CHECK(file.info().bytes_per_token == (wide ? 4 : 2));
    CHECK(file.info().vocabulary == first + 100);
    CHECK(file.info().tokenizer == TokenizerKind::character);
    CHECK(file.info().train_bytes == 180);
    CHECK(file.info().val_bytes == 21);
    CHECK(file.info().unknown_tokens == 3);
    CHECK(file.info().tokenizer_fingerprint == 0x0123456789ABCDEF);
    CHECK(file.info().entropy == 0.625);
    CHECK(file.info().source == "a test");
    CHECK(file.train().size() == 90);
    CHECK(file.val().size() == 10);
    CHECK(file.all().largest() == first + 99);
    int32_t copied[100];
    file.all().copy_to(copied, 0, 100);
    for (int i = 0; i < 100; ++i) {
      CHECK(copied[i] == first + i);
      CHECK((i < 90 ? file.train()[static_cast<size_t>(i)] : file.val()[static_cast<size_t>(i - 90)]) == first + i);
    }
    CHECK_THROWS_AS(file.val().copy_to(copied, 5, 6), Error);
    CHECK_THROWS_AS(file.val().subspan(11, 0), Error);
  }
}

TEST_CASE("the layout is the documented one") {
  const test::TemporaryFolder folder;
  write_tokens<uint16_t>(folder / "tokens", 300, 200);
  const std::string bytes = content_of(folder / "tokens");
  REQUIRE(bytes.size() == 256 + 200);
  const auto number = [&](size_t at, size_t size) {
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
    return value;
  };
  CHECK(bytes.substr(0, 8) == "glinttok");
  CHECK(number(8, 4) == 1);
  CHECK(number(12, 4) == 2);
  CHECK(number(16, 4) == 0);
  CHECK(number(20, 4) == 300);
  CHECK(number(24, 8) == 90);
  CHECK(number(32, 8) == 10);
  CHECK(number(80, 8) == 0x3FE4000000000000);  // 0.625
  CHECK(bytes.substr(88, 7) == std::string("a test\0", 7));
  CHECK(number(256, 2) == 200);
  CHECK(number(256 + 198, 2) == 299);
}

TEST_CASE("one flipped bit anywhere is detected") {
  const test::TemporaryFolder folder;
  write_tokens<uint16_t>(folder / "tokens", 300, 200);
  const std::string bytes = content_of(folder / "tokens");
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    const std::string message = refusal(folder.file("damaged", damaged));
    CAPTURE(at);
    const char* const expected = at < 8    ? "is not a token file of glint"
                                 : at < 12 ? "this glint reads version 1: prepare the data again"
                                           : "is corrupted";
    CHECK(message.find(expected) != std::string::npos);
  }
}

TEST_CASE("a wrong file length is detected") {
  const test::TemporaryFolder folder;
  write_tokens<uint16_t>(folder / "tokens", 300, 200);
  const std::string bytes = content_of(folder / "tokens");
  for (const size_t size : {8, 100, 255, 256, 257, 454, 455}) {
    CAPTURE(size);
    CHECK(refusal(folder.file("cut", bytes.substr(0, size))).find("is truncated") != std::string::npos);
  }
  CHECK(refusal(folder.file("longer", bytes + "x")).find("457 bytes instead of 456") != std::string::npos);
  CHECK(refusal(folder.file("foreign", "To be, or not to be")).find("is not a token file") != std::string::npos);
  CHECK(refusal(folder.file("short", "To")).find("is not a token file") != std::string::npos);
  CHECK(refusal(folder / "missing").find("does not exist") != std::string::npos);
}

TEST_CASE("a token outside the vocabulary is an error") {
  const test::TemporaryFolder folder;
  write_tokens<uint16_t>(folder / "16", 299, 200);
  CHECK(refusal(folder / "16").find("has token 299 in a vocabulary of 299") != std::string::npos);
  write_tokens<uint32_t>(folder / "32", 70000, 4294967000u);
  CHECK(refusal(folder / "32").find("in a vocabulary of 70000") != std::string::npos);
}

TEST_CASE("a long source is cut between characters") {
  const test::TemporaryFolder folder;
  const uint16_t tokens[2] = {0, 1};
  TokenFileWriter file(folder / "tokens", 2);
  file.append(tokens, 2);
  TokenFileInfo info = info_of(2, 1, 1);
  info.source = std::string(159, 'x') + "\xC3\xA9tude";
  file.commit(info);
  CHECK(TokenFile(folder / "tokens").info().source == std::string(159, 'x'));
}

TEST_CASE("counts that don't add up are a bug") {
  const test::TemporaryFolder folder;
  TokenFileWriter file(folder / "tokens", 2);
  CHECK_THROWS_AS(file.commit(info_of(2, 1, 1)), Error);
}

TEST_CASE("a long token file goes on in further files") {
  const test::TemporaryFolder folder;
  const auto write = [&](size_t count, uint64_t tokens_per_file) {
    std::vector<uint16_t> tokens(count);
    for (size_t i = 0; i < count; ++i) tokens[i] = static_cast<uint16_t>(i * 7919 % 1000);
    TokenFileWriter file(folder / "tokens.bin", 2, tokens_per_file);
    for (size_t at = 0; at < count; at += 12345) file.append(tokens.data() + at, std::min<size_t>(12345, count - at));
    file.commit(info_of(1000, count - 10, 10));
    return tokens;
  };
  const auto exists = [&](const char* name) { return std::filesystem::exists(folder / name); };
  for (const size_t count : {size_t{100'000}, size_t{65536 * 2 - 128}, size_t{65536 * 2 - 127}}) {  // 4, 4, 5 files
    const auto tokens = write(count, 32768);
    CHECK(exists("tokens.bin.3"));
    CHECK(exists("tokens.bin.4") == (count == 65536 * 2 - 127));
    const TokenFile file(folder / "tokens.bin");
    REQUIRE(file.all().size() == count);
    for (size_t i = 0; i < count; ++i) REQUIRE(file.all()[i] == tokens[i]);
    CHECK(file.val()[9] == tokens[count - 1]);
  }
  TokenFile open(folder / "tokens.bin");
  open.require_unchanged();
  {
    std::fstream part(folder / "tokens.bin.2", std::ios::in | std::ios::out | std::ios::binary);
    part.seekp(1000).put('\x01').put('\x01');
  }
  CHECK(message_of<UserError>([&] { open.require_unchanged(); }).find("corrupted") != std::string::npos);
  CHECK(message_of<UserError>([&] { TokenFile(folder / "tokens.bin"); }).find("corrupted") != std::string::npos);
  std::filesystem::remove(folder / "tokens.bin.2");
  CHECK(message_of<UserError>([&] { TokenFile(folder / "tokens.bin"); }).find("truncated") != std::string::npos);
  write(50'000, kTokensPerFile);
  CHECK(!exists("tokens.bin.1"));
  CHECK(TokenFile(folder / "tokens.bin").all().size() == 50'000);
  for (const uint64_t any_number : {uint64_t{1} << 62, uint64_t{1} << 63, UINT64_MAX}) {  // of bytes: beyond 64 bits
    write(50'000, any_number);
    CHECK(!exists("tokens.bin.1"));
  }
}
