#include "data/corpus.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
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

// Tokens that a rule, or what is left of an alternative, can begin with.
std::set<std::string> first_tokens(const Grammar& grammar, const GrammarRule& rule);

std::set<std::string> first_tokens(const Grammar& grammar, const GrammarAlternative& alternative) {
  for (const GrammarItem& item : alternative.items) {
    const auto index = static_cast<size_t>(item.index);
    if (item.kind == GrammarItem::Kind::rule) return first_tokens(grammar, grammar.rules()[index]);
    if (item.kind == GrammarItem::Kind::literal) {
      const std::string token = token_at(item.text, 0);
      if (token.empty()) continue;  // only spaces: they separate
      return {token};
    }
    std::set<std::string> words;
    for (const auto& word : grammar.lists()[index].words) words.insert(word[static_cast<size_t>(item.form)]);
    return words;
  }
  return {};
}

std::set<std::string> first_tokens(const Grammar& grammar, const GrammarRule& rule) {
  std::set<std::string> all;
  for (const auto& alternative : rule.alternatives) all.merge(first_tokens(grammar, alternative));
  return all;
}

// Text back to the choices that made it: looks one token ahead, never back.
class Parser {
 public:
  Parser(const Grammar& grammar, const std::string& text) : grammar_(grammar), text_(text) {
    for (const GrammarRule& rule : grammar.rules()) {
      auto& firsts = firsts_.emplace_back();
      for (const auto& alternative : rule.alternatives) firsts.push_back(first_tokens(grammar, alternative));
    }
  }

  size_t place() const { return at_; }

  // Reads one sentence and gives its information in nats; negative if it isn't one.
  double sentence() {
    memory_.assign(grammar_.lists().size(), -1);
    nats_ = 0.0;
    return rule(grammar_.rules().size() - 1) ? nats_ : -1.0;
  }

 private:
  bool rule(size_t index) {
    const GrammarRule& the_rule = grammar_.rules()[index];
    const std::string token = token_at(text_, at_);
    for (size_t i = 0; i < the_rule.alternatives.size(); ++i) {
      if (!firsts_[index][i].contains(token)) continue;
      const GrammarAlternative& alternative = the_rule.alternatives[i];
      nats_ -= std::log(static_cast<double>(alternative.weight) / the_rule.total_weight);
      return std::all_of(alternative.items.begin(), alternative.items.end(),
                         [&](const GrammarItem& part) { return item(part); });
    }
    return false;
  }

  bool item(const GrammarItem& part) {
    const auto index = static_cast<size_t>(part.index);
    if (part.kind == GrammarItem::Kind::rule) return rule(index);
    if (part.kind == GrammarItem::Kind::literal) {
      const bool same = text_.compare(at_, part.text.size(), part.text) == 0;
      at_ += part.text.size();
      return same;
    }
    if (at_ >= text_.size() || !is_letter(text_[at_])) return false;
    const std::string token = token_at(text_, at_);
    at_ += token.size();
    const auto& words = grammar_.lists()[index].words;
    const auto form = static_cast<size_t>(part.form);
    if (part.kind == GrammarItem::Kind::same_word) {
      return memory_[index] >= 0 && words[static_cast<size_t>(memory_[index])][form] == token;
    }
    const auto word = std::find_if(words.begin(), words.end(), [&](const auto& forms) { return forms[form] == token; });
    if (word == words.end()) return false;
    if (part.kind == GrammarItem::Kind::new_word) memory_[index] = static_cast<int>(word - words.begin());
    nats_ += std::log(static_cast<double>(words.size()));
    return true;
  }

  const Grammar& grammar_;
  const std::string& text_;
  size_t at_ = 0;
  double nats_ = 0.0;
  std::vector<int> memory_;
  std::vector<std::vector<std::set<std::string>>> firsts_;  // [rule][alternative]
};

}  // namespace

TEST_CASE("the grammar is unambiguous: no list repeats a word, no choice has two ways with the same first token") {
  const Grammar& grammar = corpus_grammar();
  for (const WordList& list : grammar.lists()) {
    for (size_t form = 0; form < list.words.front().size(); ++form) {
      const bool she_or_he = list.words.front()[0] == "Ada" && form > 0;  // only ever said again, never drawn
      std::set<std::string> seen;
      for (const auto& word : list.words) {
        CAPTURE(word[form]);
        CHECK(std::all_of(word[form].begin(), word[form].end(), is_letter));
        CHECK((seen.insert(word[form]).second || she_or_he));
      }
    }
  }
  for (const GrammarRule& rule : grammar.rules()) {
    std::set<std::string> seen;
    for (const auto& alternative : rule.alternatives) {
      const auto firsts = first_tokens(grammar, alternative);
      CHECK(!firsts.empty());
      for (const std::string& token : firsts) {
        CAPTURE(rule.name);
        CAPTURE(token);
        CHECK(seen.insert(token).second);
      }
    }
  }
}

TEST_CASE("text parses back to choices whose information per character is the stated entropy") {
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
    // By the statement information - entropy * length has mean 0.
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

TEST_CASE("entropy of a grammar small enough to do by hand") {
  Grammar grammar;
  grammar.add_list("word", {"short", "long"}, {{"a", "aaa"}, {"b", "bbbbb"}});
  grammar.add_rule("inner", {{1, "x"}, {1, "y{word.long}"}, {2, "z"}});
  grammar.add_rule("outer", {{1, "{new word} {same word.long} {inner}."}, {3, "!"}});
  // inner: 1.5 bits + 1/4 of the 1 bit of a word; 1 + 1/4 of 4 characters. outer adds its own choice.
  const double inner_bits = 1.75, outer_bits = 0.25 * (2.0 + 1.0 + inner_bits) + 0.75 * std::log2(4.0 / 3.0);
  CHECK(grammar.sentence_nats() == doctest::Approx(outer_bits * std::log(2.0)));
  CHECK(grammar.sentence_length() == doctest::Approx(0.25 * (1 + 1 + 4 + 1 + 2 + 1) + 0.75));
}

TEST_CASE("the corpus is a function of its seed, however it is read") {
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

TEST_CASE("the corpus looks as it should: few characters, known from the start, and its entropy in a useful range") {
  const std::string text = corpus_text(1'000'000, 1);
  const std::set<char> characters(text.begin(), text.end());
  CHECK(characters.size() < 40);
  CHECK(std::set<char>(text.begin(), text.begin() + 20'000) == characters);
  CHECK(corpus_entropy() > 0.6);
  CHECK(corpus_entropy() < 1.0);
  CHECK(text.starts_with("Max spun the cold pad below the hotel. He loved the pad under that bank.\n"));
}
