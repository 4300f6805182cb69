// A probabilistic grammar over word lists, with memory: a word once drawn can be said again. Its entropy is a finite
// sum.
//
// Text is written as rules; a rule is a choice of alternatives with integer weights; an alternative is a pattern:
//   plain text          as it stands
//   {list} {list.form}  a word of the list, each equally likely, in its first or the named form
//   {new list.form}     the same, and remembered
//   {same list.form}    the word of the list remembered last: no choice, no information
//   {rule}              what the rule yields
//
// Unambiguous by construction, which tests/data/corpus_test.cpp checks on the corpus: cut text into tokens (words, and
// single other characters; spaces only separate). In every choice each alternative begins with tokens that no other
// alternative of it begins with, no list has a word twice in a form that is drawn (forms that are only said again may
// coincide: "she"), and no pattern is empty. So a reader who has understood everything up to a choice knows from the
// next token alone which one was made (the grammar is LL(1)); by induction a text has one derivation, and the end of
// one sentence, hence the beginning of the next, is known too.
// Therefore -log p(text) is the sum of -log of its choices' probabilities, the information of a sentence is that of its
// derivation, and for independent sentences the entropy per character is
//   E[information of a sentence] / E[characters of a sentence]       (renewal-reward theorem).
// Both expectations are sums over the rules, as rules don't recur, choices are independent, and a remembered word is
// equally likely to be any of its list, whatever else was chosen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace glint {

struct WordList {
  std::vector<std::vector<std::string>> words;  // [word][form]
};

struct GrammarItem {
  enum class Kind { literal, word, new_word, same_word, rule };
  Kind kind = Kind::literal;
  int index = 0;  // of the list or the rule
  int form = 0;
  std::string text;  // literal
};

struct GrammarAlternative {
  uint32_t weight = 1;
  std::vector<GrammarItem> items;
};

struct GrammarRule {
  std::string name;
  uint32_t total_weight = 0;
  std::vector<GrammarAlternative> alternatives;
};

class Grammar {
 public:
  struct Alternative {
    uint32_t weight;
    const char* pattern;
  };

  // Lists first, then rules from the innermost out: a pattern may only name what is already there, so nothing recurs.
  // The last rule added is the one that sentences are drawn from.
  void add_list(const std::string& name, std::vector<std::string> form_names,
                std::vector<std::vector<std::string>> words);
  void add_rule(const std::string& name, const std::vector<Alternative>& alternatives);

  // Appends one sentence. choose(n) gives a number below n, each equally likely.
  using Choose = std::function<uint32_t(uint32_t n)>;
  void append_sentence(std::string& out, const Choose& choose) const;

  double sentence_nats() const { return expected_.back().nats; }          // expected information of a sentence
  double sentence_length() const { return expected_.back().length; }      // expected characters of a sentence
  double entropy() const { return sentence_nats() / sentence_length(); }  // nats per character

  const std::vector<WordList>& lists() const { return lists_; }
  const std::vector<GrammarRule>& rules() const { return rules_; }

 private:
  struct Expected {
    double nats = 0.0, length = 0.0;
  };
  std::vector<GrammarItem> parse_pattern(const std::string& pattern) const;
  GrammarItem parse_reference(const std::string& reference) const;
  Expected expected(const GrammarItem& item) const;
  void append_rule(std::string& out, size_t index, const Choose& choose, std::vector<int>& memory) const;

  std::map<std::string, int> list_names_, rule_names_;
  std::vector<std::map<std::string, int>> form_names_;  // by list
  std::vector<WordList> lists_;
  std::vector<GrammarRule> rules_;
  std::vector<Expected> expected_;  // by rule
};

}  // namespace glint
