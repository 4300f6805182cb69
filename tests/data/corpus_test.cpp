#include "data/corpus.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "data/grammar.h"

using namespace glint;

namespace {

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

// The token at or after the spaces at `at`: a word, or another single character. Empty at the end.
std::string token_at(const std::string& text, size_t at) {
  while (at < text.size() && text[at] == ' ') ++at;
  size_t end = at;
  while (end < text.size() && is_letter(text[end])) ++end;
  return text.substr(at, std::max<size_t>(end - at, 1));
}

// Tokens that the items can begin with.
std::set<std::string> first_tokens(const Grammar& grammar, const std::vector<GrammarItem>& items) {
  for (const GrammarItem& item : items) {
    if (item.kind == GrammarItem::Kind::text) {
      const std::string token = token_at(item.text, 0);
      if (token.empty()) continue;  // only spaces: they separate
      return {token};
    }
    std::set<std::string> all;
    for (const auto& alternative : grammar.rules()[item.rule].alternatives)
      all.merge(first_tokens(grammar, alternative.forms[item.form]));
    return all;
  }
  return {};
}

// Parses text to the choices that made it, with one token of lookahead and no backtracking.
class Parser {
 public:
  Parser(const Grammar& grammar, const std::string& text) : grammar_(grammar), text_(text) {}

  size_t place() const { return at_; }

  // Reads one sentence and returns its information in nats; negative if it isn't one.
  double sentence() {
    chosen_.assign(grammar_.rules().size(), SIZE_MAX);
    nats_ = 0.0;
    return item({GrammarItem::Kind::draw, "", grammar_.rules().size() - 1, 0}) ? nats_ : -1.0;
  }

 private:
  bool item(const GrammarItem& item) {
    if (item.kind == GrammarItem::Kind::text) {
      const bool same = text_.compare(at_, item.text.size(), item.text) == 0;
      at_ += item.text.size();
      return same;
    }
    const GrammarRule& rule = grammar_.rules()[item.rule];
    size_t i = chosen_[item.rule];
    if (item.kind != GrammarItem::Kind::repeat) {
      const auto& ways = alternatives_by_token(item.rule, item.form);
      const auto way = ways.find(token_at(text_, at_));
      if (way == ways.end()) return false;
      i = way->second;
      nats_ -= std::log(static_cast<double>(rule.alternatives[i].weight) / rule.total_weight);
    }
    if (item.kind == GrammarItem::Kind::draw_new) chosen_[item.rule] = i;
    if (i >= rule.alternatives.size()) return false;
    const auto& items = rule.alternatives[i].forms[item.form];
    return std::all_of(items.begin(), items.end(), [this](const GrammarItem& part) { return this->item(part); });
  }

  const std::map<std::string, size_t>& alternatives_by_token(size_t rule, size_t form) {
    auto& ways = ways_[{rule, form}];
    const auto& alternatives = grammar_.rules()[rule].alternatives;
    if (ways.empty())
      for (size_t i = 0; i < alternatives.size(); ++i)
        for (const std::string& token : first_tokens(grammar_, alternatives[i].forms[form])) ways[token] = i;
    return ways;
  }

  const Grammar& grammar_;
  const std::string& text_;
  size_t at_ = 0;
  double nats_ = 0.0;
  std::vector<size_t> chosen_;
  std::map<std::pair<size_t, size_t>, std::map<std::string, size_t>> ways_;  // of a rule's form: by first token
};

}  // namespace

TEST_CASE("the grammar is unambiguous: no choice has two alternatives with the same first token") {
  const Grammar& grammar = corpus_grammar();
  for (const GrammarRule& rule : grammar.rules()) {
    for (size_t form = 0; form < rule.forms.size(); ++form) {
      if (rule.name == "name" && form > 0) continue;  // she and he are only ever repeated, never drawn
      std::set<std::string> seen;
      for (const auto& alternative : rule.alternatives) {
        const auto firsts = first_tokens(grammar, alternative.forms[form]);
        CHECK(!firsts.empty());
        for (const std::string& token : firsts) {
          CAPTURE(rule.name);
          CAPTURE(token);
          CHECK(seen.insert(token).second);
        }
      }
    }
  }
}

TEST_CASE("repeated text is plain text without information, and pronouns are never drawn") {
  const Grammar& grammar = corpus_grammar();
  for (const GrammarRule& rule : grammar.rules()) {
    for (const auto& alternative : rule.alternatives) {
      for (const GrammarItem& item : alternative.forms[0]) {
        if (item.kind == GrammarItem::Kind::text) continue;
        const GrammarRule& inner = grammar.rules()[item.rule];
        CHECK((item.kind == GrammarItem::Kind::repeat || inner.name != "name" || item.form == 0));
        if (item.kind != GrammarItem::Kind::repeat) continue;
        for (const auto& choice : inner.alternatives) {
          REQUIRE(choice.forms[item.form].size() == 1);
          CHECK(choice.forms[item.form][0].kind == GrammarItem::Kind::text);
        }
      }
    }
  }
}

TEST_CASE("text parses to choices whose information per character is the computed entropy") {
  std::string text = corpus_text(1'000'000, 11);
  text.erase(text.rfind('\n') + 1);  // whole tales only
  Parser parser(corpus_grammar(), text);
  const double entropy = corpus_entropy();
  double tales = 0.0, nats = 0.0, spread = 0.0;
  while (parser.place() < text.size()) {
    const size_t start = parser.place();
    const double information = parser.sentence();
    CAPTURE(text.substr(start, 200));
    REQUIRE(information > 0.0);
    // information - entropy * length must have mean 0.
    const double excess = information - entropy * static_cast<double>(parser.place() - start);
    spread += excess * excess;
    nats += information;
    ++tales;
  }
  CHECK(parser.place() == text.size());
  const auto characters = static_cast<double>(text.size());
  const double deviation = std::sqrt(spread) / characters;  // of the mean, per character
  CHECK(deviation < 0.002);
  CHECK(std::abs(nats / characters - entropy) < 4.0 * deviation);
  CHECK(characters / tales == doctest::Approx(corpus_grammar().sentence_length()).epsilon(0.02));
  CHECK(nats / tales == doctest::Approx(corpus_grammar().sentence_nats()).epsilon(0.02));
}

TEST_CASE("entropy of a small grammar, computed by hand") {
  Grammar grammar;
  grammar.add("word", {"short", "long"}, {{1, {"a", "aaa"}}, {1, {"b", "bbbbb"}}});
  grammar.add("inner", {"form"}, {{1, {"x"}}, {1, {"y{word.long}"}}, {2, {"z"}}});
  grammar.add("outer", {"form"}, {{1, {"{new word} {same word.long} {inner}."}}, {3, {"!"}}});
  // inner: 1.5 bits + 1/4 of the 1 bit of a word; 1 + 1/4 of 4 characters. outer adds its own choice.
  const double inner_bits = 1.75, outer_bits = 0.25 * (2.0 + 1.0 + inner_bits) + 0.75 * std::log2(4.0 / 3.0);
  CHECK(grammar.sentence_nats() == doctest::Approx(outer_bits * std::log(2.0)));
  CHECK(grammar.sentence_length() == doctest::Approx(0.25 * (1 + 1 + 4 + 1 + 2 + 1) + 0.75));
}

TEST_CASE("the corpus depends on its seed only, not on how it is read") {
  const std::string text = corpus_text(50'000, 3);
  CHECK(corpus_text(50'000, 3) == text);
  CHECK(corpus_text(777, 3) == text.substr(0, 777));
  CHECK(corpus_text(50'000, 4) != text);
  CorpusStream stream(3);
  std::string pieces;
  for (size_t size = 0; pieces.size() + size <= text.size(); ++size) {
    std::string piece(size, '?');
    stream.read(piece.data(), size);
    pieces += piece;
  }
  CHECK(pieces == text.substr(0, pieces.size()));
}

TEST_CASE("the corpus has few characters, which all occur early, and a useful entropy") {
  const std::string text = corpus_text(1'000'000, 1);
  const std::set<char> characters(text.begin(), text.end());
  CHECK(characters.size() < 40);
  CHECK(std::set<char>(text.begin(), text.begin() + 20'000) == characters);
  CHECK(corpus_entropy() > 0.6);
  CHECK(corpus_entropy() < 1.0);
  CHECK(text.starts_with("Max spun the cold pad below the hotel. He loved the pad under that bank.\n"));
}
