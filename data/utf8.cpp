#include "data/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace glint {
namespace {

constexpr uint64_t kHighBits = 0x8080808080808080u;

bool is_continuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// Whether the 8 bytes at `at` are all ASCII.
bool ascii8(const char* at) {
  uint64_t bytes;
  std::memcpy(&bytes, at, sizeof bytes);
  return (bytes & kHighBits) == 0;
}

}  // namespace

void append_utf8(std::string& out, char32_t code_point) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) return put(code_point);
  const int more = code_point < 0x800 ? 1 : code_point < 0x10000 ? 2 : 3;
  put((0xFF00 >> (more + 1) & 0xFF) | code_point >> (6 * more));  // 110xxxxx, 1110xxxx, 11110xxx
  for (int i = more - 1; i >= 0; --i) put(0x80 | (code_point >> (6 * i) & 0x3F));
}

size_t find_utf8_error(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    if (end - at >= 8 && ascii8(at)) {
      at += 8;
      continue;
    }
    const int length = decode_utf8(at, end).length;
    if (length <= 0) return static_cast<size_t>(at - text.data());
    at += length;
  }
  return std::string_view::npos;
}

size_t count_code_points(std::string_view text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), is_continuation));
}

size_t code_point_offset(std::string_view text, size_t n) {
  constexpr size_t kBlock = 4096;
  size_t offset = 0;
  while (text.size() - offset >= kBlock) {  // whole blocks first: counting is faster than decoding
    const size_t count = count_code_points(text.substr(offset, kBlock));
    if (count > n) break;
    n -= count;
    offset += kBlock;
  }
  for (; offset < text.size(); ++offset) {
    if (is_continuation(text[offset])) continue;
    if (n == 0) break;
    --n;
  }
  return offset;
}

void CharacterSet::add(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    const auto byte = static_cast<uint8_t>(*at);
    if (byte < 0x80) {
      ascii_[byte] = true;
      ++at;
      continue;
    }
    const Utf8Step step = decode_utf8(at, end);
    if (others_.size() <= step.code_point) others_.resize(step.code_point + 1);
    others_[step.code_point] = true;
    at += std::max(step.length, 1);
  }
}

std::u32string CharacterSet::sorted() const {
  std::u32string characters;
  for (char32_t c = 0; c < std::max(ascii_.size(), others_.size()); ++c) {
    if (c < ascii_.size() ? ascii_[c] : others_[c]) characters.push_back(c);
  }
  return characters;
}

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  const char* at = pending_.data();
  const char* const end = at + pending_.size();
  while (at != end) {
    const Utf8Step step = decode_utf8(at, end);
    if (step.length < 0) break;
    if (step.length > 0) {
      out.append(at, static_cast<size_t>(step.length));
      at += step.length;
      continue;
    }
    // One U+FFFD for each maximal subpart of a character (Unicode's term), at least one byte.
    int bad = 1;
    while (at + bad != end && decode_utf8(at, at + bad + 1).length < 0) ++bad;
    append_utf8(out, kReplacementCharacter);
    at += bad;
  }
  pending_.erase(0, static_cast<size_t>(at - pending_.data()));
  return out;
}

std::string Utf8Stream::finish() {
  std::string out;
  if (!pending_.empty()) append_utf8(out, kReplacementCharacter);
  pending_.clear();
  return out;
}

std::string printable(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]), next = static_cast<unsigned char>(text[i + 1]);
    if (byte == 0xC2 && next >= 0x80 && next < 0xA0) text.replace(i, 2, "?");
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F) text[i] = '?';
  }
  return text;
}

}  // namespace glint
