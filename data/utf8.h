// UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace glint {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;
inline constexpr char32_t kLastCodePoint = 0x10FFFF;

// One decoded character. length is the bytes used (1..4); 0 if no valid character begins here; -1 if the text ends
// inside a character that is valid so far.
struct Utf8Step {
  char32_t code_point = 0;
  int length = 0;
};
inline Utf8Step decode_utf8(const char* at, const char* end) {
  if (at == end) return {0, -1};
  const auto byte = [at](int i) { return static_cast<uint8_t>(at[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const int length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (length == 0) return {};

  // The second byte shows overlong forms, surrogates and values above U+10FFFF (RFC 3629, section 4).
  const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = first & (0x7F >> length);
  for (int i = 1; i < length; ++i) {
    if (at + i == end) return {0, -1};
    if (byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xBF)) return {};
    code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  return {code_point, length};
}

void append_utf8(std::string& out, char32_t code_point);

// Byte offset of the first place that is not UTF-8 (a character cut by the end of the text counts), or npos.
size_t find_utf8_error(std::string_view text);

// These two need valid UTF-8. They are fast, since they only look for continuation bytes.
size_t count_code_points(std::string_view text);
size_t code_point_offset(std::string_view text, size_t n);  // byte offset of code point n; text.size() beyond the last

// The set of characters of a text given in pieces of valid UTF-8.
class CharacterSet {
 public:
  void add(std::string_view text);
  std::u32string sorted() const;

 private:
  std::array<bool, 128> ascii_{};
  std::vector<bool> others_;  // up to the largest seen
};

// Turns bytes into complete characters, to print tokens that may be parts of characters. Invalid bytes become U+FFFD.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // the characters completed by these bytes
  std::string finish();                      // U+FFFD for an incomplete character, else nothing

 private:
  std::string pending_;
};

// Text with ? for control characters but line breaks and tabs, so that what a file holds can't steer a terminal.
std::string printable(std::string text);

}  // namespace glint
