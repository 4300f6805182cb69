#include "data/split.h"

#include <doctest/doctest.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <string>
#include <vector>

#include "data/utf8.h"
#include "tests/random.h"

using namespace glint;

namespace {

using Pieces = std::vector<std::string>;

Pieces pieces_of(std::string_view text) {
  Pieces pieces;
  for (const char *at = text.data(), *end = at + text.size(); at != end;) {
    const char* const next = piece_end(at, end);
    pieces.emplace_back(at, next);
    at = next;
  }
  return pieces;
}

// GPT-2's pattern by PCRE2, with White_Space written out for \s.
Pieces pieces_by_pcre2(const std::string& text) {
  const std::string spaces = R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
  std::string pattern(kGpt2Pattern);
  const auto replace = [&pattern](const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = pattern.find(from, at)) != std::string::npos; at += to.size())
      pattern.replace(at, from.size(), to);
  };
  replace("[^\\s", "[^" + spaces);
  replace("\\s", "[" + spaces + "]");
  replace("\\S", "[^" + spaces + "]");
  int error = 0;
  PCRE2_SIZE where = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF, &error, &where, nullptr),
      pcre2_code_free);
  REQUIRE(code);
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  Pieces pieces;
  for (size_t at = 0; at < text.size();) {
    REQUIRE(pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, PCRE2_ANCHORED,
                        match.get(), nullptr) > 0);
    const size_t end = pcre2_get_ovector_pointer(match.get())[1];
    pieces.push_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

// Of the characters that matter, and some of all the others.
std::string random_text(test::RandomInputs& inputs) {
  static const std::u32string kNear =
      U"    \n\n\t\r''''sstmdlrvelaZ019!?-_\u0085\u00A0\u00B2\u00E9\u0301\u0661\u180E\u200B"
      U"\u2003\u2028\u2163\u3000\u4E2D\uFEFF\U0001D7D8\U0001F600";
  std::string text;
  for (size_t length = static_cast<size_t>(inputs.below(40)); length > 0; --length) {
    char32_t c = kNear[static_cast<size_t>(inputs.below(static_cast<int>(kNear.size())))];
    if (inputs.below(8) == 0) c = static_cast<char32_t>(inputs.below(kLastCodePoint + 1));
    append_utf8(text, c >= 0xD800 && c <= 0xDFFF ? U'x' : c);
  }
  return text;
}

}  // namespace

TEST_CASE("text is cut as GPT-2's pattern cuts it") {
  CHECK(pieces_of("Hello  world, it's 1999!\n\n  end \n") ==
        Pieces{"Hello", " ", " world", ",", " it", "'s", " 1999", "!", "\n\n ", " end", " \n"});
  CHECK(pieces_of("'llama''ve") == Pieces{"'ll", "ama", "''", "ve"});
  CHECK(pieces_of("\xC2\xB2x") == Pieces{"\xC2\xB2", "x"});
  CHECK(pieces_of("").empty());
  test::RandomInputs inputs(1);
  INFO("seed ", inputs.seed);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_text(inputs);
    INFO("text ", text);
    REQUIRE(pieces_of(text) == pieces_by_pcre2(text));
  }
}

TEST_CASE("where text may be cut, no piece changes, whatever follows") {
  test::RandomInputs inputs(1);
  INFO("seed ", inputs.seed);
  int cuts = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string begin = random_text(inputs), text = begin + random_text(inputs);
    const size_t cut = last_cut(begin);
    INFO("text ", text, " cut ", cut);
    Pieces apart = pieces_of(std::string_view(text).substr(0, cut));
    for (std::string& piece : pieces_of(std::string_view(text).substr(cut))) apart.push_back(std::move(piece));
    REQUIRE(apart == pieces_of(text));
    cuts += cut > 0;
  }
  CHECK(cuts > 1000);
  CHECK(last_cut("\n\n\nword") == 0);
  CHECK(last_cut("(\n\n\nword") == 1);
  CHECK(last_cut("a\u00E9'l") == 3);
  CHECK(last_cut("word") == 0);
  CHECK(last_cut("two words") == 3);
  CHECK(last_cut("(word") == 1);
}
