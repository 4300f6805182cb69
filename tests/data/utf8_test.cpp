#include "data/utf8.h"

#include <doctest/doctest.h>

#include "tests/random.h"

using namespace glint;

namespace {

bool is_character(char32_t c) { return c <= kLastCodePoint && (c < 0xD800 || c > 0xDFFF); }

std::string utf8_of(std::u32string_view characters) {
  std::string text;
  for (const char32_t c : characters) append_utf8(text, c);
  return text;
}

// Characters of every encoded length.
std::u32string random_characters(test::RandomInputs& inputs, int count) {
  std::u32string characters;
  while (static_cast<int>(characters.size()) < count) {
    const int bound[] = {0x80, 0x800, 0x10000, 0x110000};
    const auto c = static_cast<char32_t>(inputs.below(bound[inputs.below(4)]));
    if (is_character(c)) characters.push_back(c);
  }
  return characters;
}

}  // namespace

TEST_CASE("every code point survives encoding and decoding, and surrogates are rejected") {
  size_t wrong = 0;
  for (char32_t c = 0; c <= kLastCodePoint; ++c) {
    std::string bytes;
    append_utf8(bytes, c);
    const Utf8Step step = decode_utf8(bytes.data(), bytes.data() + bytes.size());
    const bool same = step.code_point == c && step.length == static_cast<int>(bytes.size());
    wrong += !(is_character(c) ? same : step.length == 0);
  }
  CHECK(wrong == 0);
}

TEST_CASE("known encodings (RFC 3629, section 7)") {
  CHECK(utf8_of(U"A\u2262\u0391.") == "\x41\xE2\x89\xA2\xCE\x91\x2E");
  CHECK(utf8_of(U"\uD55C\uAD6D\uC5B4") == "\xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4");
  CHECK(utf8_of(U"\uFEFF\U000233B4") == "\xEF\xBB\xBF\xF0\xA3\x8E\xB4");
}

TEST_CASE("the first error is found at its byte") {
  const char* const bad[] = {"\x80",
                             "\xBF",
                             "\xC0\xAF",
                             "\xC1\x81",
                             "\xE0\x80\xAF",
                             "\xED\xA0\x80",
                             "\xF0\x80\x80\x80",
                             "\xF4\x90\x80\x80",
                             "\xF5\x80\x80\x80",
                             "\xFE",
                             "\xFF",
                             "\xC3(",
                             "\xE2\x82(",
                             "\xF0\x9F\x98(",
                             "\xC3\xC3\xA9"};
  for (const char* bytes : bad) {
    for (const size_t before : {0, 1, 7, 8, 9, 31}) {
      const std::string text = std::string(before, 'a') + bytes + "bbbbbbbbbbbbbbbb";
      CAPTURE(text);
      CHECK(find_utf8_error(text) == before);
    }
  }
  CHECK(find_utf8_error("abc\xE2\x82") == 3);  // cut
  CHECK(find_utf8_error("abc\xE2\x82\xAC") == std::string_view::npos);
  CHECK(find_utf8_error("") == std::string_view::npos);
}

TEST_CASE("code points are counted and found") {
  test::RandomInputs inputs(1);
  INFO(inputs.seed);
  const std::u32string characters = random_characters(inputs, 20'000);
  const std::string text = utf8_of(characters);
  CHECK(count_code_points(text) == characters.size());
  for (const size_t n : {0, 1, 2, 1000, 4096, 9999, 19'999, 20'000}) {
    CHECK(code_point_offset(text, n) == utf8_of(characters.substr(0, n)).size());
  }
  CHECK(code_point_offset(text, 30'000) == text.size());
}

TEST_CASE("a character set is the sorted distinct characters of all pieces") {
  CharacterSet set;
  set.add(
      "b\xC3\xA9"
      "ab");
  set.add("\n\xF0\x9F\x98\x80\xC3\xA9");
  CHECK(set.sorted() == U"\nab\u00E9\U0001F600");
}

TEST_CASE("a stream of partial characters prints whole ones") {
  test::RandomInputs inputs(2);
  INFO(inputs.seed);
  const std::string text = utf8_of(random_characters(inputs, 500));
  Utf8Stream stream;
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t count = std::min<size_t>(static_cast<size_t>(1 + inputs.below(3)), text.size() - at);
    const std::string piece = stream.push(std::string_view(text).substr(at, count));
    CHECK(find_utf8_error(piece) == std::string_view::npos);
    out += piece;
    at += count;
  }
  CHECK(out + stream.finish() == text);
}

TEST_CASE("a stream replaces invalid bytes") {
  Utf8Stream stream;
  CHECK(stream.push("a\xC3") == "a");
  CHECK(stream.push("(b") == "\xEF\xBF\xBD(b");
  CHECK(stream.push("\xFF") == "\xEF\xBF\xBD");
  CHECK(stream.push("\xF0\x9F\x98") == "");
  CHECK(stream.push("c") ==
        "\xEF\xBF\xBD"
        "c");  // one for the three bytes that belonged together
  CHECK(stream.push("\xE2\x82") == "");
  CHECK(stream.finish() == "\xEF\xBF\xBD");
  CHECK(stream.finish() == "");
}
