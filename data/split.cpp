#include "data/split.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/utf8.h"
#include "kernels/check.h"

namespace glint {
namespace {

enum class Kind : uint8_t { other, letter, number, space };

constexpr std::array<Kind, 128> kAscii = [] {
  std::array<Kind, 128> kinds{};
  for (size_t c = 0; c < kinds.size(); ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'), space = c == ' ' || (c >= '\t' && c <= '\r');
    kinds[c] = letter ? Kind::letter : space ? Kind::space : c >= '0' && c <= '9' ? Kind::number : Kind::other;
  }
  return kinds;
}();

// Unicode's White_Space above ASCII. PCRE2's own \s has U+180E too, which was one until Unicode 6.3.
constexpr const char* kSpaces = R"([\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+)";

// Gives `kind` to the characters of `all` that the pattern matches.
void mark(std::vector<Kind>& kinds, const std::string& all, const char* pattern, Kind kind) {
  int error = 0;
  PCRE2_SIZE where = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &where, nullptr),
      pcre2_code_free);
  GLINT_CHECK(code, "PCRE2 refuses ", pattern, ": error ", error, " at ", where);
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  const auto* const subject = reinterpret_cast<PCRE2_SPTR>(all.data());
  const PCRE2_SIZE* const range = pcre2_get_ovector_pointer(match.get());
  for (PCRE2_SIZE at = 0;
       pcre2_match(code.get(), subject, all.size(), at, PCRE2_NO_UTF_CHECK, match.get(), nullptr) > 0; at = range[1]) {
    for (const char *c = all.data() + range[0], *end = all.data() + range[1]; c < end;) {
      const Utf8Step step = decode_utf8(c, end);
      kinds[step.code_point] = kind;
      c += step.length;
    }
  }
}

// By code point.
std::vector<Kind> unicode_kinds() {
  std::string all;
  for (char32_t c = 0x80; c <= kLastCodePoint; ++c)
    if (c < 0xD800 || c > 0xDFFF) append_utf8(all, c);  // surrogates are no characters
  std::vector<Kind> kinds(kLastCodePoint + 1, Kind::other);
  mark(kinds, all, "\\p{L}+", Kind::letter);
  mark(kinds, all, "\\p{N}+", Kind::number);
  mark(kinds, all, kSpaces, Kind::space);
  return kinds;
}

struct Character {
  Kind kind;
  int length;
};
Character unicode_at(const char* at, const char* end) {
  static const std::vector<Kind> kinds = unicode_kinds();  // a few hundredths of a second, once
  const Utf8Step step = decode_utf8(at, end);
  GLINT_CHECK(step.length > 0, "not UTF-8");
  return {kinds[step.code_point], step.length};
}
inline Character character_at(const char* at, const char* end) {
  const auto first = static_cast<uint8_t>(*at);
  return first < 0x80 ? Character{kAscii[first], 1} : unicode_at(at, end);
}

// Length of 's, 't, 're, 've, 'm, 'll or 'd, or 0.
int contraction(const char* at, const char* end) {
  if (end - at < 2) return 0;
  const char first = at[1], second = end - at > 2 ? at[2] : '\0';
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  return (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l') ? 3 : 0;
}

// Whether a piece is white space. Others may begin with a space.
bool is_space(const char* at, const char* end) {
  const Character first = character_at(at, end);
  if (first.kind != Kind::space) return false;
  return at + first.length == end || character_at(at + first.length, end).kind == Kind::space;
}

}  // namespace

const char* piece_end(const char* at, const char* end) {
  if (*at == '\'')
    if (const int length = contraction(at, end)) return at + length;
  const char* next = at;
  Character c = character_at(at, end);
  if (*at == ' ' && at + 1 != end) {  // belongs to what follows, if that is no space
    const Character second = character_at(at + 1, end);
    if (second.kind != Kind::space) next = at + 1, c = second;
  }
  const Kind kind = c.kind;
  const char* last = next;  // the run's last character
  do {
    last = next;
    next += c.length;
  } while (next != end && (c = character_at(next, end)).kind == kind);
  if (kind != Kind::space || next == end || last == at) return next;
  return last;  // \s+(?!\S) leaves one for what follows
}

size_t last_cut(std::string_view text) {
  // White space after anything else begins a piece.
  const auto ascii = [&](size_t i) { return static_cast<uint8_t>(text[i]) < 0x80; };
  const auto kind = [&](size_t i) { return kAscii[static_cast<uint8_t>(text[i])]; };
  for (size_t i = text.size(); i-- > 1;)
    if (ascii(i) && ascii(i - 1) && kind(i) == Kind::space && kind(i - 1) != Kind::space) return i;
  // Else before the last piece, which more text may make longer, where the end of the text would not change the piece
  // before: white space, which leaves its last character to what follows, and ' before the second letter of 'll.
  size_t cut = 0;
  const char *const begin = text.data(), *const end = begin + text.size();
  for (const char *at = begin, *next = at; at != end && (next = piece_end(at, end)) != end; at = next) {
    const bool may_grow = next - at == 1 && *at == '\'' && end - next < 2;
    if (!may_grow && !is_space(at, next)) cut = static_cast<size_t>(next - begin);
  }
  return cut;
}

}  // namespace glint
