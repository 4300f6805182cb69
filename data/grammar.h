// A probabilistic grammar whose entropy is a finite sum. A rule is a choice between alternatives with integer weights;
// each is written as a pattern, or as one pattern for each form of the rule (singular, plural). A pattern consists of
//   plain text
//   {rule} {rule.form}  an expansion of the rule, in its first or the named form
//   {new rule.form}     the same, and the choice is remembered
//   {same rule.form}    the remembered choice, of plain text: no information
//
// The grammar is LL(1), which tests/data/corpus_test.cpp checks: with text cut into tokens (words, and single other
// characters but spaces), no two alternatives of a choice begin with the same token, and none is empty. So the next
// token always determines the choice, and each text has one derivation. The information of a sentence, -log p, is
// then the sum over its choices, and the entropy per character of independent sentences is E[information of a sentence]
// / E[its characters] (renewal-reward theorem). Both are sums over the rules, since rules don't recur, choices are
// independent, and a remembered choice has the probabilities of its rule.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace glint {

struct GrammarItem {
  enum class Kind { text, draw, draw_new, repeat };
  Kind kind = Kind::text;
  std::string text;
  size_t rule = 0, form = 0;
};

struct GrammarAlternative {
  uint32_t weight;
  std::vector<std::vector<GrammarItem>> forms;
};

struct GrammarRule {
  std::string name;
  std::vector<std::string> forms;
  std::vector<GrammarAlternative> alternatives;
  uint32_t total_weight = 0;
  std::vector<double> nats, length;  // expected information and characters, by form
};

class Grammar {
 public:
  using Alternatives = std::vector<std::pair<uint32_t, std::vector<std::string>>>;  // weight, pattern of each form

  // A pattern may only name rules that have been added before; otherwise Error is thrown. The last rule is that of
  // sentences.
  void add(const std::string& name, const std::vector<std::string>& forms, const Alternatives& alternatives);

  // Appends one sentence. choose(n) returns a number below n, each equally likely.
  using Choose = std::function<uint32_t(uint32_t n)>;
  void append_sentence(std::string& out, const Choose& choose) const;

  double sentence_nats() const { return rules_.back().nats[0]; }          // expected information of a sentence
  double sentence_length() const { return rules_.back().length[0]; }      // expected characters of a sentence
  double entropy() const { return sentence_nats() / sentence_length(); }  // nats per character
  const std::vector<GrammarRule>& rules() const { return rules_; }

 private:
  std::vector<GrammarItem> parse(const std::string& pattern) const;
  void append(std::string& out, const std::vector<GrammarItem>& items, const Choose& choose,
              std::vector<size_t>& chosen) const;

  std::vector<GrammarRule> rules_;
};

}  // namespace glint
